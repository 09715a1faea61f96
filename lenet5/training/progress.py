"""What a run prints."""

import math
import time

import torch

from lenet5.evaluation.metrics import evaluate
from lenet5.networks.definition import count_parameters
from lenet5.runtime import distributed
from lenet5.training.checkpoint import Run, best_network
from lenet5.training.epoch_end import PARTS
from lenet5.training.recipes import RECIPES
from lenet5.training.settings import precision_of
from lenet5.training.training_pool import Data

RECENT = 5  # epochs, of which the median tells how long the others will take


def percent(share: float | None) -> str:
    return "  -  %" if share is None else f"{100 * share:5.2f} %"


def columns(epochs: int) -> str:
    """What stands in the columns of `epoch_line`."""
    names = f"{'loss':>8}{'train':>8}{'val':>8}{'test':>8}{'lr':>7}{'time':>8}"
    return " " * len(f"epoch {epochs}/{epochs}") + names


def epoch_line(row: dict, epochs: int, left: float) -> str:
    """One epoch in at most 80 columns, and how many seconds are `left` after it, if any are."""
    width = len(str(epochs))
    accuracy = [percent(row[f"{part}_accuracy"]).replace(" %", "%") for part in PARTS]
    return (
        f"epoch {row['epoch']:{width}}/{epochs}{row['train_loss']:8.4f}"
        + "".join(f"{share:>8}" for share in accuracy)
        + f"{row['lr']:7.0e}{row['seconds']:7.1f}s"
        + (f"  {duration(left)} left" if left else "")
    )


def duration(seconds: float) -> str:
    """A time in its two largest units: 47s, 3m 20s, 1h 05m, 2d 03h."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"


def print_start(run: Run, data: Data) -> None:
    counts = [f"{len(images):,}" for images, _ in (data.train, data.val, data.test)]
    shared = f" in {distributed.count()} processes" if distributed.count() > 1 else ""
    rounded = precision_of(run.settings, run.device) == torch.bfloat16
    print(
        f"{run.settings.arch}: {count_parameters(run.net):,} parameters, on {run.device}{shared}"
        + (", in bfloat16" if rounded else "")
    )
    print("images: {} to train on, {} to validate, {} to test".format(*counts), flush=True)
    if data.pool.epoch_size > len(data.train[0]):
        print(f"an epoch shows {data.pool.epoch_size:,} images", flush=True)


def print_summary(run: Run, data: Data, started: float) -> None:
    """What came out, where it is, and what to do next."""
    net = best_network(run).to(run.device)
    row = run.history[run.best["epoch"] - 1]
    training = evaluate(net, *data.train, together=True)
    chosen = "by validation accuracy" if row["val_accuracy"] is not None else "the last one"
    print(f"kept epoch         {row['epoch']}, {chosen}")
    print(f"test accuracy      {percent(row['test_accuracy'])} of {len(data.test[0]):,} images")
    print(f"training accuracy  {percent(training.accuracy)} of {len(data.train[0]):,} images")
    print(f"time               {time.perf_counter() - started:.1f} s")
    if run.settings.dry_run:
        print("weights            none: this was a dry run")
    else:
        print(f"weights            {run.settings.output}")
    print(f"curves             {run.settings.plot}")
    print(f"run                {run.folder}")
    if run.settings.dry_run:
        print("next               python train.py")
    elif run.settings.output == RECIPES["default"]["output"]:
        print("next               python inference.py")
    else:
        print(f"next               python inference.py --weights {run.settings.output}")
