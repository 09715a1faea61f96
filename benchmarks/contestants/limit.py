"""The limit of an epoch: its floating-point operations at the speed of a matrix product.

    python benchmarks/contestants/limit.py

PyTorch's own counter counts the operations of one forward and backward pass of `LeNet5`:
two for each multiplication with a weight forward, two for its part in the weight's
gradient, and two in that of the layer's input, which C1's is spared. The speed is that
of the product of two 2048×2048 matrices in float32. Beside it, the bare forward and
backward pass on one batch that stays where it is, times the steps of an epoch: no
optimiser, no input, no evaluation.
"""

import copy
import json
import math
import sys
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from contest import clocked, make_parser, peak_mb
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the scripts are modules of no package

from lenet5.training.recipes import RECIPES
from model import LeNet5

IMAGES, SIDE, STEPS = 60_000, 2048, 20


def operations_of_an_image(net: nn.Module) -> int:
    """Floating-point operations of a forward and backward pass for one 32×32 picture."""
    # On the meta device nothing is computed, and no layer takes its fast way for CPUs.
    net = copy.deepcopy(net).to("meta")
    picture, label = torch.zeros(1, 1, 32, 32, device="meta"), torch.zeros(1, dtype=int, device="meta")
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(picture), label).backward()
    return counter.get_total_flops()


def mean_seconds(work, times: int) -> float:
    """Seconds of one call, the mean of some after one that warms up."""
    work()
    return clocked(lambda: [work() for _ in range(times)])[0] / times


def main(argv=None) -> int:
    options = make_parser(__doc__).parse_args(argv)
    torch.manual_seed(options.seed)
    net, images = LeNet5(), options.images or IMAGES
    batch_size = RECIPES["default"]["batch_size"]
    inputs, labels = torch.randn(batch_size, 1, 32, 32), torch.randint(10, (batch_size,))

    def forward_and_backward():
        net.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()

    matrix = torch.randn(SIDE, SIDE)
    product = mean_seconds(lambda: matrix @ matrix, STEPS)
    step = mean_seconds(forward_and_backward, STEPS)
    operations = operations_of_an_image(net) * images
    per_second = 2 * SIDE**3 / product
    found = {
        "gflop": operations / 1e9,
        "gflop_per_second": per_second / 1e9,
        "limit_seconds": operations / per_second,
        "bare_seconds": step * math.ceil(images / batch_size),
        "versions": {"torch": version("torch")},
        "peak_mb": peak_mb(),
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['gflop']:.0f} GFLOP an epoch at {found['gflop_per_second']:.0f} GFLOP a second:"
            f" {found['limit_seconds']:.2f} s; forward and backward alone {found['bare_seconds']:.2f} s"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
