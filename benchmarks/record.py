"""The most that lenet5 can do: `--recipe record` with five seeds; several views; all five together.

    python benchmarks/record.py          # hours on 2 cores, two runs at a time
    python benchmarks/record.py --table  # evaluate and print what was trained

Prints the test accuracy of one network, of one that reads nine views of each picture, and of
the five networks together. Runs stay in benchmarks/work/ (not tracked), where an interrupted
one continues, and their weights in benchmarks/results/.
"""

import sys

import torch
from common import RESULTS, ROOT, flags, measure_missing, run_training, spread, work_folder

from lenet5.data.augmentation import warp
from lenet5.data.datasets import load_mnist
from lenet5.evaluation.metrics import compute_logits
from lenet5.imaging.inputs import to_input
from lenet5.networks.weights import load_weights
from lenet5.training.recipes import RECIPES

SEEDS = (0, 1, 2, 3, 4)
SHIFT, SCALE = 2 / 32, 0.05  # one pixel of 32 where the image spans 2; 5 %
# The picture itself, and eight that are moved or scaled a little: rows of affine maps.
MOVES = [
    *([[1, 0, x * SHIFT], [0, 1, y * SHIFT]] for x, y in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))),
    *([[1 + s, 0, 0], [0, 1 + s, 0]] for s in (SCALE, -SCALE)),
    *([[1, s, 0], [-s, 1, 0]] for s in (SCALE, -SCALE)),  # turned by 3 degrees
]


def weights_of(seed: int):
    return RESULTS / f"record-seed{seed}.pth"


def measure(seed: int, recipe: dict) -> dict:
    flags = ["--recipe", "record", "--seed", str(seed), "--output", str(weights_of(seed))]
    rows, _ = run_training(flags, work_folder("record", seed, "record"))
    seconds = sum(row["seconds"] for row in rows)
    return {"seed": seed, "recipe": recipe, **rows[-1], "seconds": seconds}


def probabilities(net, inputs: torch.Tensor, views: list) -> torch.Tensor:
    """N×10, the mean over the views."""
    maps = torch.tensor(views, dtype=torch.float32)
    logits = [compute_logits(net, warp(inputs, m.expand(len(inputs), 2, 3))) for m in maps]
    return torch.stack(logits).softmax(dim=2).mean(dim=0)


def main() -> int:
    table, recipe = bool(flags(__doc__, "--table")), RECIPES["record"]
    wanted = [(seed, recipe) for seed in SEEDS]
    rows = measure_missing("record", measure, wanted, lambda r: (r["seed"], r["recipe"]), table)
    rows = [row for row in rows if row["recipe"] == recipe]
    mnist = load_mnist(ROOT / "data")
    one, many = [], []
    for row in sorted(rows, key=lambda row: row["seed"]):
        net, metadata = load_weights(weights_of(row["seed"]))
        inputs = to_input(mnist.test_images, metadata["mean"], metadata["std"])
        one.append(probabilities(net, inputs, MOVES[:1]))
        many.append(probabilities(net, inputs, MOVES))

    def accuracy(p: torch.Tensor) -> float:
        return (p.argmax(dim=1) == mnist.test_labels).double().mean().item()

    minutes = sum(row["seconds"] for row in rows) / len(rows) / 60
    each = "  ".join(f"{100 * accuracy(p):.2f}" for p in one)
    print(f"one network               {spread([accuracy(p) for p in one])}  ({each})")
    print(f"one network, {len(MOVES)} views      {spread([accuracy(p) for p in many])}")
    print(f"{len(rows)} networks                {100 * accuracy(sum(one)):.2f} %")
    print(f"{len(rows)} networks, {len(MOVES)} views       {100 * accuracy(sum(many)):.2f} %")
    print(f"{minutes:.0f} minutes a seed, two at a time on 2 cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
