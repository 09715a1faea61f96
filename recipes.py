"""What a run of train.py is asked to do: its flags, the recipes that set them, and their checks.

A recipe is a named set of defaults; a flag on the command line wins. The settings of
a run are a dict with a value for every flag: those of `settle` for a new run, those of
`settings_of` for one that goes on.
"""

import contextlib
import io
from pathlib import Path
from types import NoneType

from epoch import OPTIMIZERS, SCHEDULES
from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import DATASETS, check_dataset
from lenet5.networks.devices import PRECISIONS
from lenet5.networks.lenet1998 import LeNet1998
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights
from lenet5.runtime.atomic_files import read_json
from lenet5.runtime.cli import ArgumentParser, number
from lenet5.runtime.errors import UserError
from model import INITIALISATIONS

RECIPES = {
    "default": {
        "arch": "lenet5",
        "dataset": "mnist",
        "data_dir": "data",
        "epochs": 10,
        "batch_size": 256,
        "lr": 8e-3,
        "optimizer": "adam",
        "scheduler": "onecycle",
        "augment": "affine",
        "fonts": None,
        "few_pixels": None,
        "non_digits": None,
        "val_size": 5000,
        "seed": 0,
        "device": "auto",
        "init": None,
        "init_from": None,
        "teacher": None,
        "temperature": None,
        "average": None,
        "weight_decay": None,
        "label_smoothing": None,
        "precision": None,
        "output": "lenet5_model.pth",
        "plot": "training_results.png",
        "tensorboard": None,
        "max_steps": None,
        "dry_run": False,
    },
}
RECIPES |= {
    # Seed document 003's epochs and batches. Its constant rate of 0.001 ends lower and
    # jumps by half a point from epoch to epoch: table in benchmarks/README.md.
    "lenet-gap": {
        "arch": "lenet-gap",
        "epochs": 30,
        "batch_size": 64,
        "lr": 2e-3,
        "scheduler": "cosine",
        "augment": "none",
    },
    # 99 % soon: chosen on held-out images (benchmarks/choose_recipe.py --quick), and none held out here.
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
    # A few own pictures with --init-from: little enough that the old ones are not forgotten.
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
}
RECIPES |= {
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
    # Reads anybody's digit, and knows what is none: benchmarks/choose_anybody.py has what was tried.
    "anybody": {
        "epochs": 150,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "pens",
        "average": 0.999,
        "fonts": "fonts/digits.npz",
        "few_pixels": True,
        "non_digits": True,
    },
    # The most that lenet5 can do: benchmarks/README.md has what was tried.
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
# Flags with which an epoch has other steps than the `max_steps` of a recipe was made for.
MAKE_OTHER_STEPS = {"epochs", "batch_size", "dataset", "fonts", "few_pixels", "non_digits"}


def make_parser() -> ArgumentParser:
    """Flags without defaults, so that those which were given can be told apart."""
    parser = ArgumentParser(
        prog="train.py",
        description="Train LeNet-5; without flags: 10 epochs on MNIST.",
        argument_default=None,
    )
    defaults = RECIPES["default"]
    add = parser.add_argument
    add("--arch", choices=[*NETWORKS, "list"], help="the network (lenet5); list tells of each")
    add("--recipe", choices=list(RECIPES), help="a named set of defaults for the flags below")
    add(
        "--dataset",
        metavar="NAME",
        help=f"what to learn (mnist): {', '.join(DATASETS)}, or a folder with a sub-folder a class",
    )
    add("--data-dir", metavar="DIR", help="where data sets are kept (data)")
    add("--epochs", type=number(int, 1, 100_000), help=f"({defaults['epochs']})")
    add("--batch-size", type=number(int, 1, 60_000), help=f"({defaults['batch_size']})")
    add("--lr", type=number(float, 1e-9, 1e6), help=f"peak learning rate ({defaults['lr']})")
    add("--optimizer", choices=list(OPTIMIZERS), help=f"({defaults['optimizer']})")
    add("--scheduler", choices=list(SCHEDULES), help=f"({defaults['scheduler']})")
    add("--augment", choices=list(AUGMENTATIONS), help=f"({defaults['augment']})")
    add("--fonts", metavar="FILE", help="digits in fonts to learn too, such as fonts/digits.npz")
    add(
        "--few-pixels",
        action="store_true",
        default=None,
        help="learn beside the data set what is left of its digits in 8 to 12 pixels a side",
    )
    add(
        "--non-digits",
        action="store_true",
        default=None,
        help="learn to be sure of nothing for scribbles, shapes, pairs of digits, letters in --fonts",
    )
    add(
        "--val-size",
        type=number(int, 0, 59_999),
        help="training images held out to choose the best epoch (5000); 0 keeps the last epoch",
    )
    add("--seed", type=number(int, 0, 2**63 - 1), help="of weights, split, order, distortions (0)")
    add("--device", choices=["auto", "cpu", "cuda", "mps"], help="(auto: cuda, else mps, else cpu)")
    add("--resume", metavar="RUN", help="go on with a run, by its folder or name")
    add("--init", choices=list(INITIALISATIONS), help="initial weights (the network's own choice)")
    add("--init-from", metavar="WEIGHTS", help="start from these weights")
    add("--teacher", metavar="WEIGHTS", help="learn from this network's answers, not from labels")
    add(
        "--temperature",
        type=number(float, 0.01, 100.0),
        help="soften the teacher's answers by dividing its logits (1)",
    )
    add(
        "--average",
        type=number(float, 0.0, 0.999999),
        help="keep averaged weights; the share of the mean that a step leaves, such as 0.999",
    )
    add(
        "--weight-decay",
        type=number(float, 0.0, 1.0),
        help="(0.01 with adamw, which takes it from the weights; else 0, added to the gradient)",
    )
    add("--label-smoothing", type=number(float, 0.0, 0.9), help="(0)")
    add(
        "--precision",
        choices=[*PRECISIONS, "auto"],
        help="of the products in training (float32); auto: bfloat16 on CPUs that multiply it",
    )
    add("--output", metavar="FILE", help="the trained weights (lenet5_model.pth)")
    add("--plot", metavar="FILE", help="the training curves (training_results.png)")
    add(
        "--tensorboard",
        action="store_true",
        default=None,
        help="write an event file for TensorBoard into the run's folder (its package is optional)",
    )
    add("--max-steps", type=number(int, 1), help="end after so many optimiser steps")
    add("--dry-run", action="store_true", default=None, help="a few steps; no weights are written")
    add("--compare", nargs="*", metavar="RUN", help="compare finished runs instead (all in runs/)")
    return parser


def settle(given: dict) -> dict:
    """All settings of a run from the flags that were given."""
    recipe = given.get("recipe", "default")
    settings = {**RECIPES["default"], **RECIPES[recipe], "recipe": recipe, **given}
    if "max_steps" not in given and given.keys() & MAKE_OTHER_STEPS:
        settings["max_steps"] = None
    if "init_from" in given and "arch" not in given:
        settings["arch"] = load_weights(given["init_from"])[0].arch
    check_together(settings)
    return settings


def check_together(settings: dict) -> None:
    """Refuse flags that make no sense, alone or with each other."""
    arch = settings["arch"]
    check_dataset(settings["dataset"])
    if settings["optimizer"] == "sdlm" and arch != LeNet1998.arch:
        raise UserError(f"--optimizer sdlm needs second derivatives, which only {LeNet1998.arch} has")
    if settings["optimizer"] == "sdlm" and settings["device"] not in ("auto", "cpu"):
        raise UserError("--optimizer sdlm learns one pattern at a time, on the CPU: leave --device out")
    if settings["optimizer"] == "sdlm" and settings["weight_decay"] is not None:
        raise UserError("--optimizer sdlm knows no --weight-decay: leave it out")
    if settings["optimizer"] == "sdlm" and settings["precision"] == "bfloat16":
        raise UserError("--optimizer sdlm learns in float32: leave --precision out")
    if arch == LeNet1998.arch and (settings["teacher"] or settings["label_smoothing"]):
        raise UserError(
            f"the loss of {arch} is equation 9, of labels as they are: "
            "leave --teacher and --label-smoothing out, or choose another --recipe"
        )
    if settings["teacher"] and AUGMENTATIONS[settings["augment"]] is None:
        raise UserError("--teacher needs distorted images to answer for: name an --augment")
    if settings["temperature"] and not settings["teacher"]:
        raise UserError("--temperature softens a teacher's answers: name a --teacher, or leave it out")
    if settings["non_digits"] and (settings["teacher"] or arch == LeNet1998.arch):
        raise UserError(
            "--non-digits needs the cross-entropy: leave --teacher and lenet5-1998 out, "
            "or choose another --recipe"
        )
    if settings["label_smoothing"] and settings["teacher"]:
        raise UserError("--label-smoothing is for labels, and a teacher stands for them: leave one out")
    if settings["init"] and settings["init_from"]:
        raise UserError("--init and --init-from are two ways to begin: leave one out")
    if settings["init"] and arch in (LeNet1998.arch, "lenet5-tanh"):
        raise UserError(f"--init is for networks with ReLU; {arch} has an initialisation of its own")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def settings_of(folder: Path, given: dict) -> dict:
    """The settings in a run's config.json, checked as if they had been typed as flags.

    Raises UserError where `given` has another value.
    """
    path = folder / "config.json"
    config = read_json(path)
    typed = []
    for name in (*RECIPES["default"], "recipe"):
        value, default = config.get(name), RECIPES["default"].get(name, "")
        nothing = (NoneType, bool)  # a flag without a value, or with none by default
        if not isinstance(default, nothing) and (value is None or value is False):
            raise UserError(f"{path} lacks {name!r}; it was not written by train.py")
        if isinstance(value, list | dict) or value == "list":  # which --arch takes and is no network
            raise UserError(f"{path} was changed: {name!r} has no value that {flag(name)} takes")
        if value is True:
            typed.append(flag(name))
        elif value is not None and value is not False:
            typed.append(f"{flag(name)}={value}")
    try:
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            parsed = vars(make_parser().parse_args(typed))
    except SystemExit:
        raise UserError(f"{path} was changed: {complaint.getvalue().strip()}") from None
    settings = {name: parsed[name] for name in (*RECIPES["default"], "recipe")}
    settings["dry_run"] = bool(settings["dry_run"])
    check_together(settings)
    for name, value in given.items():
        if settings[name] != value:
            raise UserError(
                f"{flag(name)} {value} differs from the run's own: {settings[name]}; "
                f"leave it out, or start a new run"
            )
    return settings
