"""What a run prints, and finished runs side by side."""

import math
import time
from pathlib import Path

import torch

from lenet5.evaluation.metrics import evaluate
from lenet5.networks.definition import count_parameters
from lenet5.runtime import distributed
from lenet5.runtime.errors import UserError, say
from lenet5.training.checkpoint import Run, best_network
from lenet5.training.recipes import DEFAULTS
from lenet5.training.run_folder import PARTS, RUNS, best_row, read_metrics, run_folder
from lenet5.training.settings import precision_of
from lenet5.training.training_pool import Data


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
        f"epoch {row['epoch']:{width}}/{epochs} {short(row['train_loss'])}"
        + "".join(f"{share:>8}" for share in accuracy)
        + f"{row['lr']:7.0e}{row['seconds']:7.1f}s"
        + (f"  {duration(left)} left" if left else "")
    )


def short(loss: float) -> str:
    """A loss in seven columns."""
    return f"{loss:7.4f}" if loss < 99.9999 else f"{loss:7.2f}" if loss < 9999.99 else f"{loss:7.1e}"


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
    """The network, the device and the images."""
    shared = f" in {distributed.count()} processes" if distributed.count() > 1 else ""
    rounded = ", in bfloat16" if precision_of(run.settings, run.device) == torch.bfloat16 else ""
    parameters = count_parameters(run.net)
    print(f"{run.settings.arch}: {parameters:,} parameters, on {run.device}{shared}{rounded}")
    train, val, test = (len(labels) for _, labels in (data.train, data.val, data.test))
    print(f"images: {train:,} to train on, {val:,} to validate, {test:,} to test", flush=True)
    if data.pool.epoch_size > train:
        print(f"an epoch shows {data.pool.epoch_size:,} images", flush=True)


def print_summary(run: Run, data: Data, started: float) -> None:
    """What came out, where it is, and what to do next."""
    settings = run.settings
    net = best_network(run).to(run.device)
    row = run.history[run.kept["epoch"] - 1]
    training = evaluate(net, *data.train, together=True)
    chosen = "by validation accuracy" if row["val_accuracy"] is not None else "the last one"
    weights, following = settings.output, f"python inference.py --weights {settings.output}"
    if settings.dry_run:
        weights, following = "none: this was a dry run", "python train.py"
    elif settings.output == DEFAULTS["output"]:
        following = "python inference.py"
    print(f"kept epoch         {row['epoch']}, {chosen}")
    print(f"test accuracy      {percent(row['test_accuracy'])} of {len(data.test[0]):,} images")
    print(f"training accuracy  {percent(training.accuracy)} of {len(data.train[0]):,} images")
    print(f"time               {time.perf_counter() - started:.1f} s")
    print(f"weights            {weights}")
    print(f"curves             {settings.plot}")
    print(f"run                {run.folder}")
    print(f"next               {following}")


def compare_runs(names: list[str], plot: str) -> int:
    """Print the best figures of several runs side by side and draw their curves over each other."""
    from lenet5.evaluation.training_figures import run_comparison

    folders = [run_folder(name) for name in names]
    if not names:
        folders = sorted(path.parent for path in Path(RUNS).glob("*/config.json"))
    runs = {}
    for folder in folders:
        if (folder / "metrics.csv").exists():
            runs[folder.name] = read_metrics(folder)
        else:
            say(f"left out: {folder} has finished no epoch")
    if not runs:
        raise UserError(f"there is no run with metrics to compare in {RUNS}/; make one: python train.py")
    width = max(len("run"), *map(len, runs))
    print(f"{'run':{width}}  epochs  best  {'val':>7}  {'test':>7}  {'train':>7}  seconds")
    for name, history in runs.items():
        best = best_row(history)
        print(
            f"{name:{width}}  {len(history):6}  {best['epoch']:4.0f}  {percent(best['val_accuracy'])}"
            f"  {percent(best['test_accuracy'])}  {percent(best['train_accuracy'])}"
            f"  {sum(row['seconds'] for row in history):7.1f}"
        )
    run_comparison(runs, plot)
    print(f"curves: {plot}")
    return 0
