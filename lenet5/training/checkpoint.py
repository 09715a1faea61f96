"""A training run: its network and optimiser, its history, and the checkpoint it goes on from.

    Run             all that changes while a run goes on; saves and loads its checkpoint
    run_folder      where a run is, by its folder or its name
    read_metrics    the history that metrics.csv tells
    is_better       which epoch's weights are kept

A checkpoint is nobody's word: it may be damaged, of another run, or changed by hand. All
that stands in it is checked before a run goes on from it, so that it is refused with the
reason and not obeyed into nonsense.
"""

import copy
import math
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

from lenet5.networks.definition import INITIALISATIONS
from lenet5.networks.registry import build
from lenet5.networks.weights import check_metadata, load_weights, to_bytes, unpickled
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import read_file, write_file
from lenet5.runtime.errors import UserError, reason, say
from lenet5.training.distillation import Lessons
from lenet5.training.ema import Average
from lenet5.training.epoch import Tally
from lenet5.training.epoch_plan import epoch_size
from lenet5.training.optimizers import make_optimizer
from lenet5.training.recipes import DRY_EPOCHS
from lenet5.training.run_folder import check_history
from lenet5.training.tensorboard import EventFile

LARGEST_CHECKPOINT = 1 << 30  # bytes


class Run:
    """A training run: its settings, its folder, and all that changes while it goes on."""

    def __init__(self, settings: dict, folder: Path | None, device: torch.device, classes: list[str]):
        self.settings, self.folder, self.device = settings, folder, device
        torch.manual_seed(settings["seed"])
        self.net = first_weights(settings, classes).to(device)
        self.optimizer = make_optimizer(
            self.net, settings["optimizer"], settings["lr"], settings["weight_decay"]
        )
        self.average = Average(self.net, settings["average"]) if settings["average"] else None
        self.generator = torch.Generator().manual_seed(settings["seed"])
        self.lessons: Lessons | None = None
        self.events = EventFile() if settings["tensorboard"] else None
        self.history: list[dict] = []
        self.best: dict | None = None  # epoch, weights and metadata of the best epoch so far
        self.step = 0  # optimiser steps done in all
        self.step_in_epoch = 0
        self.tally: list[float] | None = None  # of an epoch that was interrupted
        self.seconds = 0.0  # of an epoch that was interrupted
        self.finished = False

    @property
    def judged(self) -> nn.Module:
        """The network that is evaluated and saved: the averaged one, where there is one."""
        return self.average.net if self.average else self.net

    # What a checkpoint holds beside the states of network, optimiser and generators.
    PLAIN = ("history", "best", "step", "step_in_epoch", "tally", "seconds", "finished")

    def save_checkpoint(self, generator_state: torch.Tensor) -> None:
        """Write all that --resume needs. `generator_state` is that before the epoch was drawn.

        Of several processes the first one writes; all have the same.
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
        write_file(self.folder / "checkpoint.pth", to_bytes(state))

    def load_checkpoint(self) -> bool:
        """Take up the run where its checkpoint is; False if none was written yet."""
        path = self.folder / "checkpoint.pth"
        data = distributed.broadcast(
            lambda: read_file(path, LARGEST_CHECKPOINT) if path.exists() else None
        )
        if data is None:
            return False
        try:
            state = unpickled(path, data, LARGEST_CHECKPOINT, self.device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, about what stands in the place of something
                self.take_up(state)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise UserError(
                f"{path} is damaged ({reason(error)}); delete it to start the run over"
            ) from error
        return True

    def take_up(self, state: dict) -> None:
        """Go on from a checkpoint. Raises an error of any kind if it is not that of such a run."""
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

    def steps_per_epoch(self, parts: list) -> int:
        return math.ceil(epoch_size(parts) / self.settings["batch_size"])

    def total_steps(self, parts: list) -> int:
        epochs = self.settings["epochs"]
        epochs = min(epochs, DRY_EPOCHS) if self.settings["dry_run"] else epochs
        return min(epochs * self.steps_per_epoch(parts), self.settings["max_steps"] or sys.maxsize)


def tensors_like(wanted: dict, found: dict) -> dict:
    """`found`, if its tensors have the names, shapes and kinds of those in `wanted`, else ValueError.

    PyTorch takes much of what is otherwise, and computes with it until something breaks.
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
    """The state of a run's optimiser from that in a checkpoint, of which only what changes is taken."""
    net = copy.deepcopy(run.net)
    other = make_optimizer(net, *(run.settings[name] for name in ("optimizer", "lr", "weight_decay")))
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
        for name in group.keys() & {"learned", "measured_at"}:  # of sdlm; the rest is in the settings
            group[name] = number_of_steps(theirs[name])
    return {"state": found["state"], "param_groups": wanted["param_groups"]}


def check_progress(run: Run, state: dict) -> None:
    """Raise an error unless a checkpoint says of a run what train.py would."""
    history, best, tally = (state[name] for name in ("history", "best", "tally"))
    check_history(history)
    if number_of_steps(state["step_in_epoch"]) > number_of_steps(state["step"]):
        raise ValueError("its epoch has more steps than it has")
    empty = Tally(run.device).values.tolist()
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
    metadata = {"arch": run.settings["arch"], **best["metadata"]}
    check_metadata("its best epoch", metadata)
    if len(metadata["classes"]) != len(list(weights.values())[-1]):
        raise ValueError("its best epoch has other classes")


def check_steps(run: Run, parts: list) -> None:
    """Raise UserError where a run that is resumed has done other steps than its history has epochs."""
    whole, size = run.step - run.step_in_epoch, run.steps_per_epoch(parts)
    if run.step_in_epoch >= size or math.ceil(whole / size) != len(run.history):
        path = run.folder / "checkpoint.pth"
        raise UserError(f"{path} is damaged (its steps); delete it to start the run over")


def first_weights(settings: dict, classes: list[str]) -> nn.Module:
    """The network that a run starts from: freshly initialised, or from `--init-from`.

    Weights that know other classes keep all their layers but the outputs.
    """
    net = build(settings["arch"], len(classes))
    if settings["init"] is not None:
        net.apply(INITIALISATIONS[settings["init"]])
    if settings["init_from"] is None:
        return net
    start, metadata = load_weights(settings["init_from"], settings["arch"])
    if metadata["classes"] == classes:
        return start
    say(f"{settings['init_from']} knows other classes: its output layer begins anew")
    output = list(net.state_dict())[-2:]  # weights and biases
    kept = {name: value for name, value in start.state_dict().items() if name not in output}
    net.load_state_dict(kept, strict=False)
    return net


def best_network(run: Run) -> nn.Module:
    """The network with the best weights so far, on the CPU."""
    net = build(run.settings["arch"], len(run.best["metadata"]["classes"]))
    net.load_state_dict(run.best["weights"])
    return net
