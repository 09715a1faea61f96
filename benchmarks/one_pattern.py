"""A step with one pattern of lenet5-1998, in NumPy and with PyTorch's autograd, taking turns.

    python benchmarks/one_pattern.py            # a quarter of a minute
    python benchmarks/one_pattern.py --table    # print what was measured

Prints microseconds a pattern of both and the ratio. `DiagonalLevenbergMarquardt` writes the
derivatives out for speed; this is what it gains.
"""

import sys
from statistics import median

import torch
from common import flags, in_turns, measure_anew, median_and_range, seconds_of

from lenet5.networks.lenet1998 import LeNet1998
from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt

TURNS, PATTERNS = 7, 300


def measure() -> list[dict]:
    torch.set_num_threads(1)  # one pattern has no work for two
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

    def microseconds(work) -> float:
        return seconds_of(work) / PATTERNS * 1e6

    return in_turns(
        {
            "by_hand": lambda: microseconds(lambda: ours.learn(patterns, labels)),
            "autograd": lambda: microseconds(with_autograd),
        },
        TURNS,
    )


def main() -> int:
    rows = measure_anew("one_pattern", measure, table=bool(flags(__doc__, "--table")))
    by_hand, autograd = (median(row[name] for row in rows) for name in ("by_hand", "autograd"))
    ratios = [row["autograd"] / row["by_hand"] for row in rows]
    print(
        f"microseconds a pattern: by hand {by_hand:.0f}  autograd {autograd:.0f}"
        f"  ratio {median_and_range(ratios)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
