"""Every architecture at its own setting, three seeds each: test accuracy and time.

    python benchmarks/architectures.py          # most of an hour on 2 cores, two runs at a time
    python benchmarks/architectures.py --time   # an epoch of each in turns, on a quiet machine
    python benchmarks/architectures.py --table  # print what was measured

Prints mean and deviation of the test accuracy and, where --time has measured them, the
seconds of an epoch. The setting is the default recipe (10 epochs), except for lenet-gap: 30
epochs, batches of 64, Adam at 0.001, no distortions, once with a schedule (--recipe
lenet-gap) and once without. paper.py has the paper's own training of lenet5-1998. A run that
is in the results is not repeated.
"""

import shutil
import sys
from statistics import median

import torch
from common import (
    ROOT,
    flags,
    in_turns,
    load,
    measure_missing,
    run_training,
    save,
    seconds_of,
    spread,
    work_folder,
)

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import load_mnist
from lenet5.imaging.inputs import to_input
from lenet5.networks.registry import NETWORKS
from lenet5.training.epoch import TrainingStep, train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.optimizers import make_optimizer
from lenet5.training.recipes import RECIPES
from lenet5.training.run_folder import best_row
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
TURNS = 5
# The weights in pretrained/ are those of seed 0, except for these two.
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
    pool = TrainingPool(to_input(images, net.mean, net.std), labels)

    def epoch() -> None:
        plan = EpochPlan(pool, AUGMENTATIONS[recipe["augment"]], torch.Generator())
        train_epoch(TrainingStep(net, optimizer), plan, recipe["batch_size"])

    return seconds_of(epoch) * 55_000 / len(images)


def measure_times() -> dict[str, list[float]]:
    """Seconds an epoch of each network, in turns."""
    mnist = load_mnist(ROOT / "data")
    part = mnist.train_images[:TIMED], mnist.train_labels[:TIMED]
    names = [name for name in SETTINGS if name in NETWORKS]
    turns = in_turns({name: lambda name=name: seconds_an_epoch(name, *part) for name in names}, TURNS)
    return {name: [turn[name] for turn in turns] for name in names}


def main() -> int:
    given = flags(__doc__, "--table", "--time")
    wanted = [(setting, seed) for seed in SEEDS for setting in SETTINGS]
    if "--time" in given:
        save("architectures", load("architectures") | {"seconds_an_epoch": measure_times()})
    found = measure_missing(
        "architectures", measure, wanted, lambda r: (r["setting"], r["seed"]), table=bool(given)
    )
    times = load("architectures").get("seconds_an_epoch", {})
    for setting in SETTINGS:
        rows = [row for row in found if row["setting"] == setting]
        if rows:
            line = f"{setting:22} {len(rows)} seeds  test {spread([r['test_accuracy'] for r in rows])}"
            if setting in times:
                ratio = median(a / b for a, b in zip(times[setting], times["lenet5"], strict=True))
                line += f"  {median(times[setting]):5.1f} s an epoch, {ratio:.1f} times lenet5's"
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
