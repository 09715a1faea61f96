"""The end of an epoch: evaluation, history, the best weights."""

import functools
import math
import time

import torch
import torch.nn.functional as F

from lenet5.evaluation.confidence import rejection_limits
from lenet5.evaluation.metrics import Evaluation, evaluate, fit_temperature, loss_function
from lenet5.networks.weights import weights_with_metadata
from lenet5.runtime.errors import UserError
from lenet5.training.checkpoint import Run
from lenet5.training.epoch import RunningMetrics, TrainingStep
from lenet5.training.losses import outlier_exposure, soft_cross_entropy
from lenet5.training.run_folder import is_better
from lenet5.training.settings import precision_of
from lenet5.training.training_pool import Data

LEAST_TO_CALIBRATE = 500  # validation images


def loss_of_run(run: Run):
    """The run's loss function, of logits and targets."""
    smoothing, temperature = run.settings.label_smoothing, run.settings.temperature
    if temperature is not None:
        return soft_cross_entropy(temperature)
    if run.settings.non_digits:
        return outlier_exposure(smoothing or 0.0)
    if smoothing:
        return functools.partial(F.cross_entropy, label_smoothing=smoothing)
    return loss_function(run.net)


def training_step(run: Run) -> TrainingStep:
    """What the optimiser steps of a run need."""
    training = TrainingStep(
        run.net, run.optimizer, loss_of_run(run), precision_of(run.settings, run.device)
    )
    if run.average:
        training.after_step = functools.partial(run.average.add, run.net)
    return training


class DivergedError(UserError):
    """The loss is infinite or not a number, and so are the weights."""


def finish_epoch(run: Run, data: Data, epoch: int, metrics: RunningMetrics, started: float) -> None:
    """Evaluate, add a row to the history, and keep the weights if they are the best so far."""
    train_loss, train_accuracy = metrics.result()
    check_finite(train_loss, run, f"epoch {epoch}, step {metrics.finite_steps() + 1}")
    val = evaluate(run.eval_net, *data.val, together=True) if len(data.val[0]) else None
    if val is not None:
        check_finite(val.loss, run, f"the validation after epoch {epoch}")
    test = evaluate(run.eval_net, *data.test, together=True)
    check_finite(test.loss, run, f"the test after epoch {epoch}")
    row = {
        "epoch": epoch,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "val_loss": val and val.loss,
        "val_accuracy": val and val.accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "lr": float(run.optimizer.param_groups[0]["lr"]),
        "seconds": time.perf_counter() - started,
    }
    run.history.append(row)
    if is_better(row, run.best and run.history[run.best["epoch"] - 1]):
        run.best = {
            "epoch": epoch,
            "weights": weights_with_metadata(run.eval_net),
            "metadata": describe(run, data, row, val),
        }


def check_finite(loss: float, run: Run, where: str) -> None:
    """Raise DivergedError for a loss that is infinite or not a number."""
    if math.isfinite(loss):
        return
    kept = f"the weights of epoch {run.best['epoch']} are kept" if run.best else "nothing is kept"
    raise DivergedError(
        f"the loss is no longer a finite number in {where}; {kept}; "
        f"try a smaller --lr than {run.settings.lr:g}",
        status=1,
    )


def describe(run: Run, data: Data, row: dict, val: Evaluation | None) -> dict:
    """The metadata of the weights: plain numbers, strings and lists."""
    settings = run.settings
    metadata = {
        "classes": data.classes,
        "test_accuracy": row["test_accuracy"],
        "epoch": row["epoch"],
        "torch": str(torch.__version__),  # a subclass of str, which weights_only refuses
        **{name: getattr(settings, name) for name in ("dataset", "recipe", "epochs", "seed")},
        "val_size": data.own_val,
    }
    if settings.non_digits:
        metadata["non_digits"] = True
    if val is not None:
        # Few images or no mistakes cannot calibrate the confidence.
        can_calibrate = len(val.labels) >= LEAST_TO_CALIBRATE and val.accuracy < 1
        temperature = fit_temperature(val.logits, val.labels) if can_calibrate else 1.0
        metadata |= {"val_accuracy": val.accuracy, "temperature": temperature}
        # Of made-up pictures some are hopeless, and none is accepted for their sake.
        limits = rejection_limits(val.logits[: data.own_val] / temperature)
        metadata["reject_below"], metadata["least_evidence"] = limits
    return metadata
