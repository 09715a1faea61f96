"""Every architecture at its own document's setting, three seeds each, test accuracy and time.

    python benchmarks/architectures.py          # most of an hour on 2 cores, two runs at a time
    python benchmarks/architectures.py --time   # an epoch of each in turns, on a quiet machine
    python benchmarks/architectures.py --table  # print what was measured

The setting is the default recipe (10 epochs), but for lenet-gap, whose document
names its own: 30 epochs, batches of 64, Adam at 0.001, no distortions. Our
--recipe lenet-gap has the same with a schedule. What lenet5-1998 does in the
paper's own training is in benchmarks/paper.py. A run that is in the results
already is not made again, so the script can be interrupted.
"""

import shutil
import sys
import time
from statistics import median

import torch
from common import ROOT, best_row, flags, load, run_training, save, spread, two_at_a_time, work_folder

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import load_mnist
from lenet5.imaging.inputs import to_input
from lenet5.networks.registry import NETWORKS
from lenet5.training.epoch import TrainingStep, train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.optimizers import make_optimizer
from lenet5.training.recipes import RECIPES
from model import build

SEEDS = (0, 1, 2)
SETTINGS = {
    "lenet5": ["--arch", "lenet5"],
    "lenet5-padded": ["--arch", "lenet5-padded"],
    "lenet5-padded, Xavier": ["--arch", "lenet5-padded", "--init", "xavier"],
    "lenet5-conv": ["--arch", "lenet5-conv"],
    "lenet-gap": ["--recipe", "lenet-gap"],
    "lenet-gap, no schedule": ["--recipe", "lenet-gap", "--lr", "0.001", "--scheduler", "constant"],
    "lenet5-tanh": ["--arch", "lenet5-tanh"],
    "lenet5-1998": ["--arch", "lenet5-1998"],
}
TIMED = 12_800  # images of the 55,000 that an epoch has, each time
TURNS = 5  # after one to warm up
# The weights in pretrained/ are those of seed 0; of these two, another command's.
MADE_ELSEWHERE = ("lenet5", "lenet5-1998")


def recipe_of(setting: str) -> str:
    return "lenet-gap" if "lenet-gap" in SETTINGS[setting] else "default"


def measure(setting: str, seed: int) -> dict:
    folder = work_folder(setting, seed, recipe_of(setting))
    rows, _ = run_training([*SETTINGS[setting], "--seed", str(seed)], folder)
    if seed == 0 and setting in NETWORKS and setting not in MADE_ELSEWHERE:
        shutil.copy(folder / "lenet5_model.pth", ROOT / "pretrained" / f"{setting}.pth")
    return {"setting": setting, "seed": seed, **best_row(rows)}


def seconds_an_epoch(name: str, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Of training a network at its recipe's setting, extrapolated from some images."""
    recipe = RECIPES["default"] | RECIPES[recipe_of(name)]
    net = build(name)
    optimizer = make_optimizer(net, recipe["optimizer"], recipe["lr"])
    inputs = to_input(images, net.mean, net.std)
    start = time.perf_counter()
    plan = EpochPlan(TrainingPool(inputs, labels), AUGMENTATIONS[recipe["augment"]], torch.Generator())
    train_epoch(TrainingStep(net, optimizer), plan, recipe["batch_size"])
    return (time.perf_counter() - start) * 55_000 / len(images)


def measure_times() -> dict[str, list[float]]:
    """Seconds an epoch of each network, in turns, since a machine has good and bad minutes."""
    mnist = load_mnist(ROOT / "data")
    images, labels = mnist.train_images[:TIMED], mnist.train_labels[:TIMED]
    names = [name for name in SETTINGS if name in NETWORKS]
    turns = [[seconds_an_epoch(name, images, labels) for name in names] for _ in range(1 + TURNS)]
    return {name: [turn[i] for turn in turns[1:]] for i, name in enumerate(names)}


def main() -> int:
    given = flags(__doc__, "--table", "--time")
    results = load("architectures")
    done = {(row["setting"], row["seed"]) for row in results["rows"]}
    wanted = [(setting, seed) for seed in SEEDS for setting in SETTINGS if (setting, seed) not in done]
    if "--time" in given:
        results["seconds_an_epoch"] = measure_times()
        save("architectures", results)
    elif "--table" not in given:
        two_at_a_time("architectures", results, measure, wanted)
    times = results.get("seconds_an_epoch", {})
    for setting in SETTINGS:
        rows = [row for row in results["rows"] if row["setting"] == setting]
        if rows:
            line = f"{setting:22} {len(rows)} seeds  test {spread([r['test_accuracy'] for r in rows])}"
            if setting in times:
                ratio = median(a / b for a, b in zip(times[setting], times["lenet5"], strict=True))
                line += f"  {median(times[setting]):5.1f} s an epoch, {ratio:.1f} times lenet5's"
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
