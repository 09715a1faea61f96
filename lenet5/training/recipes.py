"""A run's settings, each a flag of train.py, and recipes: named sets of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from lenet5.data.datasets import DATASETS
from lenet5.runtime.cli import number


def setting(default, text: str, type=None, **options) -> Any:
    """A field of `Settings`: its default, and its flag's help and other options of argparse."""
    options = options | ({} if type is None else {"type": type})
    return field(default=default, metadata={"text": text, "options": options})


SWITCH = {"action": "store_true"}


@dataclass
class Settings:
    """The settings of a run. Their order is that in config.json."""

    arch: str = setting("lenet5", "the network; list tells of each")
    dataset: str = setting(
        "mnist", f"{', '.join(DATASETS)}, a folder of classes, or a file", metavar="NAME"
    )
    data_dir: str = setting("data", "where data sets are kept", metavar="DIR")
    epochs: int = setting(10, "passes over the images", number(int, 1, 100_000))
    batch_size: int = setting(256, "images of an optimiser step", number(int, 1, 60_000))
    lr: float = setting(8e-3, "peak learning rate", number(float, 1e-9, 1e6))
    optimizer: str = setting("adam", "")
    scheduler: str = setting("onecycle", "of the learning rate")
    augment: str = setting("affine", "how training images are distorted")
    fonts: str | None = setting(None, "learn digits in fonts too: fonts/digits.npz", metavar="FILE")
    pictures: int | None = setting(
        None, "learn digits of so many made-up pictures too", number(int, 1, 10_000_000), metavar="N"
    )
    few_pixels: bool | None = setting(None, "learn digits in 8 to 12 pixels a side too", **SWITCH)
    non_digits: bool | None = setting(None, "learn a uniform output for non-digits too", **SWITCH)
    val_size: int = setting(
        5000, "images held out to choose the epoch (0: last)", number(int, 0, 59_999)
    )
    seed: int = setting(0, "of weights, split, order, distortions", number(int, 0, 2**63 - 1))
    device: str = setting("auto", "auto: cuda, else mps, else cpu")
    init: str | None = setting(None, "initial weights (the network's own choice)")
    init_from: str | None = setting(None, "start from these weights", metavar="WEIGHTS")
    teacher: str | None = setting(
        None, "learn this network's probabilities, not labels", metavar="WEIGHTS"
    )
    temperature: float | None = setting(None, "of the teacher's softmax (1)", number(float, 0.01, 100.0))
    average: float | None = setting(None, "decay of averaged weights", number(float, 0.0, 0.999999))
    weight_decay: float | None = setting(None, "(0.01 with adamw, decoupled)", number(float, 0.0, 1.0))
    label_smoothing: float | None = setting(None, "(0)", number(float, 0.0, 0.9))
    precision: str | None = setting(None, "of products (float32); auto: bfloat16 where CPUs have it")
    output: str = setting("lenet5_model.pth", "the trained weights", metavar="FILE")
    plot: str = setting("training_results.png", "the training curves", metavar="FILE")
    tensorboard: bool | None = setting(None, "write TensorBoard's event file", **SWITCH)
    max_steps: int | None = setting(None, "end after so many optimiser steps", number(int, 1))
    dry_run: bool = setting(False, "a few steps; no weights are written", **SWITCH)
    recipe: str = setting("default", "a named set of defaults for the other flags")


DEFAULTS = asdict(Settings())
# What each recipe changes; "default" holds every setting but the recipe's own name.
RECIPES = {
    "default": {name: value for name, value in DEFAULTS.items() if name != "recipe"},
    # A constant rate of 0.001 ends lower and jumps by half a point from epoch to epoch:
    # table in docs/results.md.
    "lenet-gap": {
        "arch": "lenet-gap",
        "epochs": 30,
        "batch_size": 64,
        "lr": 2e-3,
        "scheduler": "cosine",
        "augment": "none",
    },
    # 99 % in seconds. Chosen on held-out images (benchmarks/tune.py quick); holds out none.
    "quick": {
        "epochs": 2,
        "max_steps": 352,  # an epoch and a half of MNIST
        "batch_size": 256,
        "lr": 0.05,
        "optimizer": "muon",
        "augment": "none",
        "label_smoothing": 0.1,
        "precision": "auto",
        "init": "xavier",
        "val_size": 0,
    },
    # For a few own pictures with --init-from; a low rate keeps what was learned before.
    "fine-tune": {"lr": 5e-4, "scheduler": "cosine"},
    # Section III of the paper: 20 passes, one pattern at a time, no image held out.
    "1998": {
        "arch": "lenet5-1998",
        "epochs": 20,
        "batch_size": 100,  # learned one by one
        "lr": 1e-4,  # a fifth of the paper's: see DiagonalLevenbergMarquardt
        "optimizer": "sdlm",
        "scheduler": "1998",
        "augment": "none",
        "val_size": 0,
    },
    # A larger network for --teacher to name.
    "teacher": {
        "arch": "teacher",
        "epochs": 25,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "elastic",
        "average": 0.999,
        "val_size": 10_000,
        "output": "teacher.pth",
    },
    # Reads digits from any picture and rejects non-digits: trials in benchmarks/choose_anybody.py.
    "anybody": {
        "epochs": 100,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "pens",
        "average": 0.999,
        "fonts": "fonts/digits.npz",
        "pictures": 100_000,
        "few_pixels": True,
        "non_digits": True,
    },
    # The best accuracy of lenet5: trials in docs/experiments.md.
    "record": {
        "teacher": "pretrained/teacher.pth",
        "epochs": 100,
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "augment": "elastic-mild",
        "average": 0.999,
        "val_size": 0,
    },
}
RECIPES["1998-distorted"] = {**RECIPES["1998"], "augment": "1998"}

DRY_STEPS, DRY_EPOCHS, DRY_IMAGES = 5, 2, 1000  # what --dry-run leaves of a run
