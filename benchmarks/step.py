"""A training step with the faster forward and with the one of model.py, taking turns.

    python benchmarks/step.py            # half a minute
    python benchmarks/step.py --table    # print what was measured

Prints the milliseconds of both and their ratio, for a training step of 256 images, an
evaluation of 500, and a step in bfloat16 (`--precision`). "Textbook" is `LeNet5.forward` as
model.py has it, "ours" the forward of lenet5/networks/fast_forward.py. Below stand the cost
of the affine distortions and of `--augment pens` for a batch, beside a step, and
`neighbourhood_max` beside PyTorch's pooling.
"""

import functools
import sys
from statistics import median
from unittest import mock

import torch
import torch.nn.functional as F
from common import flags, in_turns, measure_anew, median_and_range, seconds_of

from lenet5.data.augmentation import (
    AUGMENTATIONS,
    neighbourhood_max,
    random_strokes,
    random_warps,
    vary_strokes,
    warp,
)
from lenet5.training import epoch
from model import LeNet5

TURNS, STEPS = 7, 20
# By their names in the result file, where "plain_" before a name is the textbook forward's.
BOTH = {"step": "step", "evaluation": "evaluation", "rounded_step": "in bfloat16"}


def textbook(net, x: torch.Tensor) -> torch.Tensor:
    """The forward of model.py."""
    return net(x)


def milliseconds(work, forward=epoch.forward) -> float:
    """Time of one call, the mean of STEPS, where `forward` computes the network's scores."""
    with mock.patch.object(epoch, "forward", forward):
        work()
        return 1000 * seconds_of(work, STEPS)


def measure() -> list[dict]:
    torch.manual_seed(0)
    net = LeNet5()
    inputs, labels = torch.randn(256, 1, 32, 32), torch.randint(10, (256,))
    many = torch.randn(500, 1, 32, 32)
    maps = random_warps(256, AUGMENTATIONS["affine"], 32, torch.Generator())
    pens = random_strokes(256, AUGMENTATIONS["pens"], torch.Generator())

    def step(precision=torch.float32):
        epoch.backpropagate(net, inputs, labels, F.cross_entropy, precision)

    def evaluation():
        with torch.inference_mode():
            epoch.forward(net, many)

    works = {
        "step": step,
        "evaluation": evaluation,
        "rounded_step": lambda: step(torch.bfloat16),
        "distortion": lambda: warp(inputs, maps),
        "pens": lambda: vary_strokes(inputs, pens),
        "neighbours": lambda: neighbourhood_max(inputs),
        "pooled": lambda: F.max_pool2d(inputs, 3, stride=1, padding=1),
    }
    turns = {name: functools.partial(milliseconds, work) for name, work in works.items()}
    turns |= {f"plain_{name}": functools.partial(milliseconds, works[name], textbook) for name in BOTH}
    return in_turns(turns, TURNS)


def main() -> int:
    rows = measure_anew("step", measure, table=bool(flags(__doc__, "--table")))

    def times(name: str) -> str:
        return f"{median(row[name] for row in rows):5.1f} ms"

    def ratio(name: str, other: str) -> str:
        return median_and_range([row[name] / row[other] for row in rows])

    for name, words in BOTH.items():
        plain = f"plain_{name}"
        print(f"{words:12}  textbook {times(plain)}  ours {times(name)}  ratio {ratio(name, plain)}")
    for name in ("rounded_step", "distortion", "pens"):
        print(f"{BOTH.get(name, name):12}  {times(name)}, of a step {ratio(name, 'step')}")
    print(
        f"largest of 3×3  by slices {times('neighbours')}  by pooling {times('pooled')}"
        f"  ratio {ratio('neighbours', 'pooled')}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
