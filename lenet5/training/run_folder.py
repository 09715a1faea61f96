"""The folder of a run: config.json, metrics.csv, and TensorBoard's event files."""

import csv
import io
import json
import os
import platform
import reprlib
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lenet5.data.fonts import LARGEST_FONTS
from lenet5.networks.weights import LARGEST_WEIGHTS
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import (
    make_folder,
    make_folder_with,
    md5,
    read_file,
    read_json,
    write_file,
)
from lenet5.runtime.errors import UserError, reason, say
from lenet5.training.recipes import Settings
from lenet5.training.settings import file_of, flag, precision_of
from lenet5.training.training_pool import Data

RUNS = "runs"
FIRST_WEIGHTS = "first_weights.pth"  # a copy of those of --init-from, in the run's folder
PARTS = ("train", "val", "test")
FIGURES = tuple(f"{part}_{figure}" for part in PARTS for figure in ("loss", "accuracy"))
COLUMNS = ("epoch", *FIGURES, "lr", "seconds")


def run_folder(name: str) -> Path:
    """The folder of a run given by its folder or its name. Raises UserError if it is no run."""
    for folder in (Path(name), Path(RUNS, name)):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(f"{name} is no run: no config.json in it, nor in {Path(RUNS, name)}")


def is_better(row: dict, best: dict | None) -> bool:
    """Whether an epoch's weights are to be kept: by validation accuracy, then validation loss.

    Without validation images the last epoch's are. The test set decides nothing.
    """
    if best is None or row["val_accuracy"] is None:
        return True
    return (row["val_accuracy"], -row["val_loss"]) > (best["val_accuracy"], -best["val_loss"])


def best_row(history: list[dict]) -> dict:
    """The row of the epoch whose weights are kept."""
    best = None
    for row in history:
        best = row if is_better(row, best) else best
    assert best is not None, "the run has no epoch"
    return best


def as_published(history: list[dict]) -> list[dict]:
    """The history as metrics.csv and the event file tell it: seconds to a thousandth."""
    return [{**row, "seconds": round(row["seconds"], 3)} for row in history]


def csv_text(rows: list[dict], columns) -> str:
    """Rows as CSV below a line of column names; None is left empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def metrics_csv(history: list[dict]) -> str:
    """A row an epoch; accuracies from 0 to 1."""
    return csv_text(as_published(history), COLUMNS)


def check_history(history: list[dict]) -> None:
    """Raise ValueError unless rows of numbers are those of epochs 1, 2, 3 and so on.

    The figures of the validation are numbers in every row, or None in every row.
    """
    for epoch, row in enumerate(history, 1):
        if row["epoch"] != epoch:
            raise ValueError(f"row {epoch} is of epoch {row['epoch']}")
        for name, value in row.items():
            if name.startswith("val_") and history[0]["val_loss"] is None:
                is_right = value is None
            else:
                most = 1 if name.endswith("accuracy") else sys.float_info.max
                least = 0 if name.endswith("accuracy") else -most
                is_right = value is not None and least <= value <= most  # not NaN either
            if not is_right:
                raise ValueError(f"the {name} of epoch {epoch} cannot be {value}")


def read_metrics(folder: Path) -> list[dict]:
    """The rows of a run's metrics.csv as numbers, None where a field is empty."""
    path = folder / "metrics.csv"
    try:
        rows = list(csv.DictReader(io.StringIO(read_file(path, 1 << 26).decode())))
        history = [{c: float(row[c]) if row[c] else None for c in COLUMNS} for row in rows]
        check_history(history)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a metrics file: {reason(error)}") from error
    if not history:
        raise UserError(f"{path} has no epochs in it")
    return history


class EventWriter:
    """Writes a run's history as TensorBoard scalars, an event file for each process that trained.

    The figures are those of metrics.csv as float32, such as loss/train, with the epoch as the
    step. A file begins with the whole history and with `purge_step=1`, by which TensorBoard
    ignores earlier files: a resumed run shows each epoch once.
    """

    def __init__(self) -> None:
        self.writer: Any = None  # a SummaryWriter, whose package is optional
        self.written = 0  # epochs

    def write(self, folder: Path, history: list[dict]) -> None:
        """Add the epochs that are not written yet. Raises UserError if the file cannot be written."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = self.writer or SummaryWriter(folder, purge_step=1)
        for row in as_published(history[self.written :]):
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    tag = "/".join(reversed(name.split("_")))  # loss/train; loss is the panel
                    self.writer.add_scalar(tag, value, row["epoch"])
        try:
            self.writer.flush()
        except OSError as error:
            raise UserError(f"cannot write an event file in {folder}: {reason(error)}") from error
        self.written = len(history)


def new_folder(settings: Settings, device: torch.device, data: Data) -> Path:
    """A new folder for a run, with its config.json from the first moment.

    Runs that start in the same second get different folders.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{settings.arch}-seed{settings.seed}"
    redraw_elsewhere = settings.dry_run and os.path.exists(settings.plot)
    make_folder(RUNS)
    for i in range(1, 1000):
        folder = Path(RUNS, name if i == 1 else f"{name}-{i}")
        if redraw_elsewhere:
            settings.plot = str(folder / "training_results.png")
        if make_folder_with(folder, "config.json", config_json(settings, device, data)):
            if settings.init_from:  # which the run may overwrite by its own
                write_file(folder / FIRST_WEIGHTS, read_file(settings.init_from, LARGEST_WEIGHTS))
            return folder
    raise UserError(f"there are a thousand runs called {name} already")


def conditions(settings: Settings, device: torch.device, data: Data) -> dict:
    """What a run's numbers depend on beside its settings."""
    teacher, fonts, start = file_of(settings, "teacher"), file_of(settings, "fonts"), settings.init_from
    return {
        "device_used": str(device),
        "precision_used": str(precision_of(settings, device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": distributed.count(),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "machine": platform.platform(),
        "teacher_md5": teacher and md5(read_file(teacher, LARGEST_WEIGHTS)),
        "fonts_md5": fonts and md5(read_file(fonts, LARGEST_FONTS)),
        "init_from_md5": start and md5(read_file(start, LARGEST_WEIGHTS)),
        "dataset_md5": data.md5,
    }


def config_json(settings: Settings, device: torch.device, data: Data) -> bytes:
    """The content of config.json."""
    config = asdict(settings) | conditions(settings, device, data)
    return (json.dumps(config, indent=2) + "\n").encode()


def compare_conditions(settings: Settings, folder: Path, device: torch.device, data: Data) -> None:
    """Warn where a resumed run has other conditions than at its start.

    Raises UserError if its teacher, fonts, first weights or own pictures changed: with another
    split, training images would become test images.
    """
    older = {"processes": 1, "precision_used": "float32"}  # what older config.json files leave out
    config = older | read_json(folder / "config.json")
    for name, now in conditions(settings, device, data).items():
        before = config.get(name)
        if before == now:
            continue
        if name.endswith("_md5") and name in config:
            kind = name.removesuffix("_md5")
            raise UserError(
                f"{flag(kind)} {getattr(settings, kind)} is not that with which {folder} began"
            )
        say(
            f"{name.replace('_', ' ')}: {now}, and the run began with {reprlib.repr(before)}; "
            "it will not be the same to the bit"
        )
