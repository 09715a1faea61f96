"""A step with one pattern of lenet5-1998, in NumPy and with PyTorch's autograd, taking turns.

    python benchmarks/one_pattern.py            # a quarter of a minute
    python benchmarks/one_pattern.py --table    # print what was measured

`lenet1998.OnePattern` writes the derivatives out for speed; this is what it gains.
"""

import sys
import time
from pathlib import Path
from statistics import median

from common import flags, load, median_and_range, save  # sets the path for what follows

REPEATS, PATTERNS = 7, 300


def measure() -> list[dict]:
    import torch

    from lenet5.networks.lenet1998 import LeNet1998
    from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt

    torch.set_num_threads(1)  # there is no work for two in one pattern
    torch.manual_seed(0)
    patterns = torch.rand(PATTERNS, 1, 32, 32) * 1.275 - 0.1
    labels = torch.randint(10, (PATTERNS,))
    net = LeNet1998()
    ours = DiagonalLevenbergMarquardt(net, lr=1e-6)
    theirs = torch.optim.SGD(net.parameters(), lr=1e-6)

    def with_autograd():
        for n in range(PATTERNS):
            theirs.zero_grad()
            net.loss(net(patterns[n : n + 1]), labels[n : n + 1]).backward()
            theirs.step()

    rows = []
    for _ in range(REPEATS + 1):
        row = {}
        for name, work in (
            ("by_hand", lambda: ours.learn(patterns, labels)),
            ("autograd", with_autograd),
        ):
            start = time.perf_counter()
            work()
            row[name] = (time.perf_counter() - start) / PATTERNS * 1e6
        rows.append(row)
    return rows[1:]  # without the first, which warms up


def main() -> int:
    given = flags(__doc__, "--table")
    results = load(Path(__file__).stem)
    if "--table" not in given:
        results["rows"] = measure()
        save(Path(__file__).stem, results)
    by_hand, autograd = ([row[name] for row in results["rows"]] for name in ("by_hand", "autograd"))
    ratios = [b / a for a, b in zip(by_hand, autograd, strict=True)]
    print(
        f"microseconds a pattern: by hand {median(by_hand):.0f}  autograd {median(autograd):.0f}"
        f"  ratio {median_and_range(ratios)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
