"""What a training step costs, and what the model's own layers and the distortions do to it.

    python benchmarks/step.py            # half a minute
    python benchmarks/step.py --table    # print what was measured

`convolve_and_pool` is there for speed alone, so this is where it has to show
it: the whole network's step of 256 images and evaluation of 500, with it and
with PyTorch's convolution and pooling in its place, taking turns; and the step once
more in bfloat16 (`--precision`). The affine distortion of a batch and the pens of
`--augment pens` are timed beside them, and so are the slices of
`neighbourhood_max` beside PyTorch's pooling.
"""

import sys
import time
from pathlib import Path
from statistics import median
from unittest import mock

from common import flags, load, median_and_range, save  # sets the path for what follows

REPEATS, STEPS = 7, 20


def milliseconds(work) -> float:
    """Time of one call, the mean of STEPS."""
    work()
    start = time.perf_counter()
    for _ in range(STEPS):
        work()
    return 1000 * (time.perf_counter() - start) / STEPS


def measure() -> list[dict]:
    import torch
    import torch.nn.functional as F

    from lenet5.data.augmentation import (
        AUGMENTATIONS,
        neighbourhood_max,
        random_strokes,
        random_warps,
        vary_strokes,
        warp,
    )
    from lenet5.networks import fast_forward
    from lenet5.training.epoch import backpropagate
    from model import LeNet5

    torch.manual_seed(0)
    net = LeNet5()
    inputs, labels = torch.randn(256, 1, 32, 32), torch.randint(10, (256,))
    many = torch.randn(500, 1, 32, 32)
    maps = random_warps(256, AUGMENTATIONS["affine"], 32, torch.Generator())
    pens = random_strokes(256, AUGMENTATIONS["pens"], torch.Generator())

    def step(precision=torch.float32):
        backpropagate(net, inputs, labels, F.cross_entropy, precision)

    def evaluation():
        with torch.inference_mode():
            fast_forward.forward(net, many)

    def plain(convolution, x):
        return F.max_pool2d(convolution(x), 2)

    rows = []
    for _ in range(REPEATS):
        row = {"step": milliseconds(step), "evaluation": milliseconds(evaluation)}
        row["rounded_step"] = milliseconds(lambda: step(torch.bfloat16))
        row["distortion"] = milliseconds(lambda: warp(inputs, maps))
        row["pens"] = milliseconds(lambda: vary_strokes(inputs, pens))
        row["neighbours"] = milliseconds(lambda: neighbourhood_max(inputs))
        row["pooled"] = milliseconds(lambda: F.max_pool2d(inputs, 3, stride=1, padding=1))
        with mock.patch.object(fast_forward, "convolve_and_pool", plain):
            row["plain_step"] = milliseconds(step)
            row["plain_evaluation"] = milliseconds(evaluation)
            row["plain_rounded_step"] = milliseconds(lambda: step(torch.bfloat16))
        rows.append(row)
    return rows


def main() -> int:
    given = flags(__doc__, "--table")
    results = load(Path(__file__).stem)
    if "--table" not in given:
        results["rows"] = measure()
        save(Path(__file__).stem, results)

    def times(name: str) -> str:
        return f"{median(row[name] for row in results['rows']):5.1f} ms"

    def ratio(name: str, other: str) -> str:
        return median_and_range([row[name] / row[other] for row in results["rows"]])

    for what in ("step", "evaluation"):
        plain = f"plain_{what}"
        print(
            f"{what:10}  PyTorch's layers {times(plain)}  ours {times(what)}  ratio {ratio(what, plain)}"
        )
    print(
        f"in bfloat16  PyTorch's layers {times('plain_rounded_step')}  ours {times('rounded_step')}"
        f"  of a step {ratio('rounded_step', 'step')}"
    )
    print(f"distortion  {times('distortion')}, of a step {ratio('distortion', 'step')}")
    print(f"pens        {times('pens')}, of a step {ratio('pens', 'step')}")
    print(
        f"largest of 3×3  by slices {times('neighbours')}  by pooling {times('pooled')}"
        f"  ratio {ratio('neighbours', 'pooled')}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
