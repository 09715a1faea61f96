"""The most that lenet5 can do: `--recipe record` with five seeds; several views, and all five together.

    python benchmarks/record.py          # hours on 2 cores, two runs at a time
    python benchmarks/record.py --table  # evaluate and print what was trained

Each run's folder stays in benchmarks/work/ (not tracked) and its weights in
benchmarks/results/, so that a run which was interrupted goes on where it was.
The rows with several views and with the ensemble read each picture more than
once; the first row is the network as it is.
"""

import sys

import torch
from common import RESULTS, ROOT, flags, load, run_training, spread, two_at_a_time, work_folder

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


def measure(seed: int) -> dict:
    flags = ["--recipe", "record", "--seed", str(seed), "--output", str(weights_of(seed))]
    rows, _ = run_training(flags, work_folder("record", seed, "record"))
    return {
        "seed": seed,
        "recipe": RECIPES["record"],
        **rows[-1],
        "seconds": sum(row["seconds"] for row in rows),
    }


def probabilities(net, inputs: torch.Tensor, views: list) -> torch.Tensor:
    """N×10, the mean over the views."""
    maps = torch.tensor(views, dtype=torch.float32)
    logits = [compute_logits(net, warp(inputs, m.expand(len(inputs), 2, 3))) for m in maps]
    return torch.stack(logits).softmax(dim=2).mean(dim=0)


def print_table(results: dict) -> None:
    found = [row["seed"] for row in results["rows"]]
    mnist = load_mnist(ROOT / "data")
    one, many = [], []
    for seed in sorted(found):
        net, metadata = load_weights(weights_of(seed))
        inputs = to_input(mnist.test_images, metadata["mean"], metadata["std"])
        one.append(probabilities(net, inputs, MOVES[:1]))
        many.append(probabilities(net, inputs, MOVES))

    def accuracy(answers):
        return (answers.argmax(dim=1) == mnist.test_labels).double().mean().item()

    minutes = sum(row["seconds"] for row in results["rows"]) / len(found) / 60
    each = "  ".join(f"{100 * accuracy(answers):.2f}" for answers in one)
    print(f"one network               {spread([accuracy(a) for a in one])}  ({each})")
    print(f"one network, {len(MOVES)} views      {spread([accuracy(a) for a in many])}")
    print(f"{len(found)} networks                {100 * accuracy(sum(one)):.2f} %")
    print(f"{len(found)} networks, {len(MOVES)} views       {100 * accuracy(sum(many)):.2f} %")
    print(f"{minutes:.0f} minutes a seed, two at a time on 2 cores")


def main() -> int:
    given = flags(__doc__, "--table")
    results = load("record")
    results["rows"] = [row for row in results["rows"] if row["recipe"] == RECIPES["record"]]
    done = {row["seed"] for row in results["rows"]}
    if "--table" not in given:
        two_at_a_time("record", results, measure, [(seed,) for seed in SEEDS if seed not in done])
    if results["rows"]:
        print_table(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
