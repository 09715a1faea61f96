"""A run's flags and its settings: flags over recipe over defaults, validated."""

import argparse
import contextlib
import io
from dataclasses import fields
from pathlib import Path

import torch
from torch import nn

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import check_dataset
from lenet5.networks.definition import INITIALISATIONS
from lenet5.networks.devices import PRECISIONS, pick_device, pick_precision
from lenet5.networks.lenet1998 import LeNet1998
from lenet5.networks.registry import NETWORKS, build
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import read_json
from lenet5.runtime.cli import DEVICES, ArgumentParser
from lenet5.runtime.errors import UserError
from lenet5.runtime.project_files import find_file
from lenet5.training.optimizers import OPTIMIZERS, check_optimizer
from lenet5.training.recipes import DEFAULTS, RECIPES, Settings
from lenet5.training.schedules import SCHEDULES

CHOICES = {
    "arch": [*NETWORKS, "list"],
    "recipe": list(RECIPES),
    "optimizer": list(OPTIMIZERS),
    "scheduler": list(SCHEDULES),
    "augment": list(AUGMENTATIONS),
    "device": DEVICES,
    "init": list(INITIALISATIONS),
    "precision": [*PRECISIONS, "auto"],
}
# Flags that invalidate a recipe's `max_steps`.
MAKE_OTHER_STEPS = {"epochs", "batch_size", "dataset", "fonts", "few_pixels", "pictures", "non_digits"}
MADE_BY = {
    "teacher": "make one with: python train.py --recipe teacher, and name it with --teacher",
    "fonts": "make it with: python fonts/render.py",
}


def flag(name: str) -> str:
    """The flag of a setting: --batch-size for batch_size."""
    return "--" + name.replace("_", "-")


def make_parser() -> ArgumentParser:
    """The flags of train.py. Only those that are given appear in what it parses."""
    parser = ArgumentParser(
        prog="train.py",
        description="Train LeNet-5; without flags: 10 epochs on MNIST.",
        argument_default=argparse.SUPPRESS,
    )
    for setting in fields(Settings):
        options = dict(setting.metadata["options"])
        if setting.name in CHOICES:
            options["choices"] = CHOICES[setting.name]
        text = setting.metadata["text"]
        if setting.default is not None and setting.default is not False:
            text = f"{text} ({setting.default})".strip()
        parser.add_argument(flag(setting.name), help=text, **options)
    parser.add_argument("--resume", metavar="RUN", help="resume a run, by its folder or name")
    parser.add_argument(
        "--compare", nargs="*", metavar="RUN", help="compare finished runs instead (all in runs/)"
    )
    return parser


def resolve_settings(given: dict) -> Settings:
    """All settings of a run from the flags that were given."""
    recipe = given.get("recipe", "default")
    settings = Settings(**{**RECIPES[recipe], "recipe": recipe, **given})
    if "max_steps" not in given and given.keys() & MAKE_OTHER_STEPS:
        settings.max_steps = None
    if "init_from" in given and "arch" not in given:
        settings.arch = load_weights(given["init_from"])[1]["arch"]
    check_together(settings)
    return settings


def check_together(settings: Settings) -> None:
    """Refuse flags that make no sense, alone or with each other."""
    check_dataset(settings.dataset)
    check_optimizer(settings)
    arch, teacher, smoothing = settings.arch, settings.teacher, settings.label_smoothing
    init, is_paper = settings.init, arch == LeNet1998.arch
    is_plain = AUGMENTATIONS[settings.augment] is None
    has_own_init = is_paper or arch == "lenet5-tanh"
    refusals = [
        (
            is_paper and (teacher or smoothing),
            f"the loss of {arch} is equation 9, of labels as they are: "
            "leave --teacher and --label-smoothing out, or choose another --recipe",
        ),
        (teacher and is_plain, "--teacher needs distorted images: name an --augment"),
        (settings.temperature and not teacher, "--temperature is a teacher's: name a --teacher"),
        (
            settings.non_digits and (teacher or is_paper),
            "--non-digits needs the cross-entropy: leave --teacher and lenet5-1998 out, "
            "or choose another --recipe",
        ),
        (smoothing and teacher, "--label-smoothing is for labels, and a teacher stands for them"),
        (init and settings.init_from, "--init and --init-from are two ways to begin: leave one out"),
        (init and has_own_init, f"--init is for ReLU; {arch} has an initialisation of its own"),
    ]
    for applies, why in refusals:
        if applies:
            raise UserError(why)


def settings_of(folder: Path, given: dict) -> Settings:
    """The settings in a run's config.json, checked as if they had been typed as flags.

    Raises UserError where `given` has another value.
    """
    path = folder / "config.json"
    config = read_json(path)
    typed = []
    for name, default in DEFAULTS.items():
        value = config.get(name)
        if value is None or value is False:
            if default is not None and default is not False:
                raise UserError(f"{path} lacks {name!r}; it was not written by train.py")
        else:
            typed.append(flag(name) if value is True else f"{flag(name)}={value}")
    try:
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            settings = Settings(**vars(make_parser().parse_args(typed)))
    except SystemExit:
        raise UserError(f"{path} was changed: {complaint.getvalue().strip()}") from None
    if settings.arch not in NETWORKS:  # "list", which --arch takes too
        raise UserError(f"{path} was changed: no network is called {settings.arch}")
    check_together(settings)
    for name, value in given.items():
        if getattr(settings, name) != value:
            raise UserError(
                f"{flag(name)} {value} differs from the run's own: {getattr(settings, name)}; "
                f"leave it out, or start a new run"
            )
    return settings


def file_of(settings: Settings, name: str) -> Path | None:
    """The file of --teacher or --fonts; None without the flag."""
    value = getattr(settings, name)
    return None if value is None else find_file(value, MADE_BY[name])


def device_of(settings: Settings) -> torch.device:
    """The device of this process."""
    name = "cpu" if OPTIMIZERS[settings.optimizer].is_sequential else settings.device
    return distributed.own_device(pick_device(name))


def precision_of(settings: Settings, device: torch.device) -> torch.dtype:
    """The precision of a run's matrix products."""
    name = "float32" if OPTIMIZERS[settings.optimizer].is_sequential else settings.precision
    return pick_precision(name or "float32", device)


def check_shareable(settings: Settings) -> None:
    """Raise UserError for a run that several processes cannot train as one does."""
    if distributed.count() == 1:
        return
    why = None
    if OPTIMIZERS[settings.optimizer].is_sequential:
        why = f"--optimizer {settings.optimizer} learns one pattern after the other"
    elif any(isinstance(layer, nn.BatchNorm2d) for layer in build(settings.arch).modules()):
        why = f"{settings.arch} normalises over all images of a batch"
    if why is not None:
        raise UserError(f"{why}, which cannot be shared out: train it without torchrun")
