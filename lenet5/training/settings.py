"""A run's settings: flags over recipe over defaults, validated."""

import contextlib
import io
from pathlib import Path
from types import NoneType

import torch
from torch import nn

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import check_dataset
from lenet5.networks.devices import pick_device, pick_precision
from lenet5.networks.lenet1998 import LeNet1998
from lenet5.networks.registry import build
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import read_json
from lenet5.runtime.errors import UserError
from lenet5.runtime.project_files import find_file
from lenet5.training.arguments import make_parser
from lenet5.training.optimizers import OPTIMIZERS, check_optimizer
from lenet5.training.recipes import DEFAULTS, RECIPES, Settings

# Flags that invalidate a recipe's `max_steps`.
MAKE_OTHER_STEPS = {"epochs", "batch_size", "dataset", "fonts", "few_pixels", "non_digits"}


def resolve_settings(given: dict) -> Settings:
    """All settings of a run from the flags that were given."""
    recipe = given.get("recipe", "default")
    settings = Settings(**{**RECIPES[recipe], "recipe": recipe, **given})
    if "max_steps" not in given and given.keys() & MAKE_OTHER_STEPS:
        settings.max_steps = None
    if "init_from" in given and "arch" not in given:
        settings.arch = load_weights(given["init_from"])[0].arch
    check_together(settings)
    return settings


def check_together(settings: Settings) -> None:
    """Refuse flags that make no sense, alone or with each other."""
    arch = settings.arch
    check_dataset(settings.dataset)
    check_optimizer(settings)
    if arch == LeNet1998.arch and (settings.teacher or settings.label_smoothing):
        raise UserError(
            f"the loss of {arch} is equation 9, of labels as they are: "
            "leave --teacher and --label-smoothing out, or choose another --recipe"
        )
    if settings.teacher and AUGMENTATIONS[settings.augment] is None:
        raise UserError("--teacher needs distorted images to answer for: name an --augment")
    if settings.temperature and not settings.teacher:
        raise UserError("--temperature softens a teacher's answers: name a --teacher, or leave it out")
    if settings.non_digits and (settings.teacher or arch == LeNet1998.arch):
        raise UserError(
            "--non-digits needs the cross-entropy: leave --teacher and lenet5-1998 out, "
            "or choose another --recipe"
        )
    if settings.label_smoothing and settings.teacher:
        raise UserError("--label-smoothing is for labels, and a teacher stands for them: leave one out")
    if settings.init and settings.init_from:
        raise UserError("--init and --init-from are two ways to begin: leave one out")
    if settings.init and arch in (LeNet1998.arch, "lenet5-tanh"):
        raise UserError(f"--init is for networks with ReLU; {arch} has an initialisation of its own")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def settings_of(folder: Path, given: dict) -> Settings:
    """The settings in a run's config.json, checked as if they had been typed as flags.

    Raises UserError where `given` has another value.
    """
    path = folder / "config.json"
    config = read_json(path)
    typed = []
    for name, default in DEFAULTS.items():
        value = config.get(name)
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
    settings = Settings(**{name: parsed[name] for name in DEFAULTS})
    settings.dry_run = bool(settings.dry_run)
    check_together(settings)
    for name, value in given.items():
        if getattr(settings, name) != value:
            raise UserError(
                f"{flag(name)} {value} differs from the run's own: {getattr(settings, name)}; "
                f"leave it out, or start a new run"
            )
    return settings


def teacher_file(settings: Settings) -> Path | None:
    if settings.teacher is None:
        return None
    make = "make one with: python train.py --recipe teacher, and name it with --teacher"
    return find_file(settings.teacher, make)


def fonts_file(settings: Settings) -> Path | None:
    if settings.fonts is None:
        return None
    return find_file(settings.fonts, "make it with: python fonts/render.py")


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
