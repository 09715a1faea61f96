"""A training run: its network, optimiser and history, and the checkpoint it resumes from.

Checkpoints are untrusted: every field is validated before a run resumes, so that a damaged
or edited file is refused with the reason.
"""

import copy
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lenet5.networks.definition import INITIALISATIONS
from lenet5.networks.registry import build
from lenet5.networks.weights import check_metadata, deserialize, load_weights, serialize
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import read_file, write_file
from lenet5.runtime.errors import UserError, reason, say
from lenet5.training.distillation import SoftTargets
from lenet5.training.ema import EMA
from lenet5.training.epoch import RunningMetrics
from lenet5.training.optimizers import OPTIMIZERS, make_optimizer
from lenet5.training.recipes import DRY_EPOCHS, Settings
from lenet5.training.run_folder import check_history
from lenet5.training.tensorboard import EventWriter

LARGEST_CHECKPOINT = 1 << 30  # bytes


def write_checkpoint(path: Path, state: dict) -> None:
    write_file(path, serialize(state))


def read_checkpoint(
    path: Path, restore: Callable[[dict], None], device: torch.device | str = "cpu"
) -> bool:
    """Call `restore` with the state in a checkpoint; False if there is no file.

    `restore` may raise any error. Raises UserError for a damaged file. Of several processes
    the first one reads.
    """
    data = distributed.broadcast(lambda: read_file(path, LARGEST_CHECKPOINT) if path.exists() else None)
    if data is None:
        return False
    try:
        state = deserialize(path, data, LARGEST_CHECKPOINT, device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about values of odd kinds
            restore(state)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"{path} is damaged ({reason(error)}); delete it to start the run over"
        ) from error
    return True


class Run:
    """A training run: its settings, its folder, and its state."""

    def __init__(
        self, settings: Settings, folder: Path | None, device: torch.device, classes: list[str]
    ):
        self.settings, self.folder, self.device = settings, folder, device
        torch.manual_seed(settings.seed)
        self.net = first_weights(settings, classes).to(device)
        self.optimizer = make_optimizer(self.net, settings.optimizer, settings.lr, settings.weight_decay)
        self.average = EMA(self.net, settings.average) if settings.average else None
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.soft_targets: SoftTargets | None = None
        self.events = EventWriter() if settings.tensorboard else None
        self.history: list[dict] = []
        self.best: dict | None = None  # epoch, weights and metadata of the best epoch so far
        self.step = 0  # optimiser steps done in all
        self.step_in_epoch = 0
        self.tally: list[float] | None = None  # of an epoch that was interrupted
        self.seconds = 0.0  # of an epoch that was interrupted
        self.finished = False

    @property
    def eval_net(self) -> nn.Module:
        """The network that is evaluated and saved: the averaged one, if the run has one."""
        return self.average.net if self.average else self.net

    # What a checkpoint holds besides the states of network, optimiser and generators.
    PLAIN = ("history", "best", "step", "step_in_epoch", "tally", "seconds", "finished")

    def save_checkpoint(self, generator_state: torch.Tensor) -> None:
        """Write all that --resume needs; `generator_state` is from before the epoch was drawn.

        Of several processes, which all have the same state, the first one writes.
        """
        if not distributed.is_first():
            return
        state = {name: getattr(self, name) for name in self.PLAIN}
        state["net"] = self.net.state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        if self.average:
            state["average"] = {"net": self.average.net.state_dict(), "steps": self.average.steps}
        state["generator"] = generator_state
        state["torch_generator"] = torch.get_rng_state()
        write_checkpoint(self.folder / "checkpoint.pth", state)

    def load_checkpoint(self) -> bool:
        """Restore the run from its checkpoint; False if none was written yet."""
        return read_checkpoint(self.folder / "checkpoint.pth", self.restore, self.device)

    def restore(self, state: dict) -> None:
        """Restore a validated state. Raises an error of any kind if it is not of such a run."""
        self.net.load_state_dict(tensors_like(self.net.state_dict(), state["net"]))
        self.optimizer.load_state_dict(optimizer_state(self, state["optimizer"]))
        if self.average:
            average = tensors_like(self.net.state_dict(), state["average"]["net"])
            self.average.net.load_state_dict(average)
            self.average.steps = number_of_steps(state["average"]["steps"])
        self.generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["torch_generator"].cpu())
        check_progress(self, state)
        for name in self.PLAIN:
            setattr(self, name, state[name])

    def steps_per_epoch(self, epoch_size: int) -> int:
        """Optimiser steps of an epoch of so many images."""
        return math.ceil(epoch_size / self.settings.batch_size)

    def total_steps(self, epoch_size: int) -> int:
        epochs = self.settings.epochs
        epochs = min(epochs, DRY_EPOCHS) if self.settings.dry_run else epochs
        return min(epochs * self.steps_per_epoch(epoch_size), self.settings.max_steps or sys.maxsize)


def tensors_like(wanted: dict, found: dict) -> dict:
    """`found`, if its tensors have the names, shapes and dtypes of `wanted`; else ValueError.

    PyTorch accepts other tensors and computes with them until something breaks.
    """
    if found.keys() != wanted.keys():
        raise ValueError("its tensors have other names")
    for name, tensor in wanted.items():
        other = found[name]
        if not isinstance(other, torch.Tensor) or other.is_meta or other.layout != tensor.layout:
            raise ValueError(f"{name} is not a tensor of plain numbers")
        if (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} is {tuple(other.shape)} of {other.dtype}")
    return found


def number_of_steps(value) -> int:
    if type(value) is not int or not 0 <= value < sys.maxsize:
        raise ValueError("its number of steps is none")
    return value


def optimizer_state(run: Run, found: dict) -> dict:
    """An optimiser state: tensors and counters from a checkpoint, options from the settings."""
    net, settings = copy.deepcopy(run.net), run.settings
    other = make_optimizer(net, settings.optimizer, settings.lr, settings.weight_decay)
    if not other.state:  # it begins with the first step
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        other.step()
    wanted = other.state_dict()
    if found["state"] != {}:  # as it is before the first step
        if found["state"].keys() != wanted["state"].keys():
            raise ValueError("its optimizer is of another network")
        for place, tensors in wanted["state"].items():
            tensors_like(tensors, found["state"][place])
    for group, theirs in zip(wanted["param_groups"], found["param_groups"], strict=True):
        for name in OPTIMIZERS[settings.optimizer].counters:
            group[name] = number_of_steps(theirs[name])
    return {"state": found["state"], "param_groups": wanted["param_groups"]}


def check_progress(run: Run, state: dict) -> None:
    """Raise an error unless a checkpoint's history and counters are such as train.py writes."""
    history, best, tally = (state[name] for name in ("history", "best", "tally"))
    check_history(history)
    if number_of_steps(state["step_in_epoch"]) > number_of_steps(state["step"]):
        raise ValueError("its epoch has more steps than it has")
    empty = RunningMetrics(run.device).values.tolist()
    tally = empty if tally is None else tally
    if len(tally) != len(empty) or not all(type(value) is float for value in (state["seconds"], *tally)):
        raise ValueError("its seconds and its tally are not numbers")
    if type(state["finished"]) is not bool:
        raise ValueError("it does not say whether it is finished")
    if best is None and not history:
        return
    if type(best["epoch"]) is not int or not 1 <= best["epoch"] <= len(history):
        raise ValueError(f"its best epoch is none of {len(history)}")
    weights = tensors_like(run.net.state_dict(), best["weights"])
    metadata = {"arch": run.settings.arch, **best["metadata"]}
    check_metadata("its best epoch", metadata)
    if len(metadata["classes"]) != len(list(weights.values())[-1]):
        raise ValueError("its best epoch has other classes")


def check_steps(run: Run, epoch_size: int) -> None:
    """Raise UserError if a resumed run's steps do not agree with the epochs in its history."""
    whole, size = run.step - run.step_in_epoch, run.steps_per_epoch(epoch_size)
    if run.step_in_epoch >= size or math.ceil(whole / size) != len(run.history):
        path = run.folder / "checkpoint.pth"
        raise UserError(f"{path} is damaged (its steps); delete it to start the run over")


def first_weights(settings: Settings, classes: list[str]) -> nn.Module:
    """The network that a run starts from: freshly initialised, or from `--init-from`.

    Weights that know other classes keep all their layers but the outputs.
    """
    net = build(settings.arch, len(classes))
    if settings.init is not None:
        net.apply(INITIALISATIONS[settings.init])
    if settings.init_from is None:
        return net
    start, metadata = load_weights(settings.init_from, settings.arch)
    if metadata["classes"] == classes:
        return start
    say(f"{settings.init_from} knows other classes: its output layer begins anew")
    output = list(net.state_dict())[-2:]  # weights and biases
    kept = {name: value for name, value in start.state_dict().items() if name not in output}
    net.load_state_dict(kept, strict=False)
    return net


def best_network(run: Run) -> nn.Module:
    """The network with the best weights so far, on the CPU."""
    net = build(run.settings.arch, len(run.best["metadata"]["classes"]))
    net.load_state_dict(run.best["weights"])
    return net
