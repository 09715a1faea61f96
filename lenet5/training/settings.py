"""A run's settings: flags over recipe over defaults, validated."""

import contextlib
import io
from pathlib import Path
from types import NoneType

import torch

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import check_dataset
from lenet5.networks.devices import pick_precision
from lenet5.networks.lenet1998 import LeNet1998
from lenet5.networks.weights import load_weights
from lenet5.runtime.atomic_files import read_json
from lenet5.runtime.errors import UserError
from lenet5.runtime.project_files import find_file
from lenet5.training.arguments import make_parser
from lenet5.training.recipes import RECIPES

# Flags with which an epoch has other steps than the `max_steps` of a recipe was made for.
MAKE_OTHER_STEPS = {"epochs", "batch_size", "dataset", "fonts", "few_pixels", "non_digits"}


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


def teacher_file(settings: dict) -> Path | None:
    if settings["teacher"] is None:
        return None
    make = "make one with: python train.py --recipe teacher, and name it with --teacher"
    return find_file(settings["teacher"], make)


def fonts_file(settings: dict) -> Path | None:
    if settings["fonts"] is None:
        return None
    return find_file(settings["fonts"], "make it with: python fonts/render.py")


def precision_of(settings: dict, device: torch.device) -> torch.dtype:
    """What the products of a run are rounded to: with --optimizer sdlm to float32, also by auto."""
    name = settings["precision"] or "float32"
    return pick_precision("float32" if settings["optimizer"] == "sdlm" else name, device)
