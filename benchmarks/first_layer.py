"""A training step and an evaluation with and without the model's own first layer.

    python benchmarks/first_layer.py            # half a minute
    python benchmarks/first_layer.py --table    # print what was measured

`convolve_and_pool` is there for speed alone, so this is where it has to show
it: the whole network's step of 256 images and evaluation of 500, with it and
with PyTorch's convolution and pooling in its place, taking turns.
"""

import sys
import time
from pathlib import Path
from statistics import median
from unittest import mock

from common import ROOT, load, save  # noqa: F401  (common sets the path for what follows)

REPEATS, STEPS = 7, 20


def seconds(work) -> float:
    """Time of one call, the mean of STEPS."""
    work()
    start = time.perf_counter()
    for _ in range(STEPS):
        work()
    return (time.perf_counter() - start) / STEPS


def measure() -> list[dict]:
    import torch
    import torch.nn.functional as F

    import model

    torch.manual_seed(0)
    net = model.LeNet5()
    inputs, labels = torch.randn(256, 1, 32, 32), torch.randint(10, (256,))
    many = torch.randn(500, 1, 32, 32)

    def step():
        net.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()

    def evaluation():
        with torch.inference_mode():
            net(many)

    def plain(convolution, x):
        return F.max_pool2d(convolution(x), 2)

    rows = []
    for _ in range(REPEATS):
        row = {"step": seconds(step), "evaluation": seconds(evaluation)}
        with mock.patch.object(model, "convolve_and_pool", plain):
            row |= {"plain_step": seconds(step), "plain_evaluation": seconds(evaluation)}
        rows.append(row)
    return rows


def main() -> int:
    results = load(Path(__file__).stem)
    if "--table" not in sys.argv:
        results["rows"] = measure()
        save(Path(__file__).stem, results)
    for what in ("step", "evaluation"):
        ours = [row[what] * 1000 for row in results["rows"]]
        plain = [row[f"plain_{what}"] * 1000 for row in results["rows"]]
        ratios = [a / b for a, b in zip(ours, plain, strict=True)]
        print(
            f"{what:10}  PyTorch's {median(plain):5.1f} ms  ours {median(ours):5.1f} ms"
            f"  ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
