"""A training run: its network, optimiser and history, and the checkpoint it resumes from.

Checkpoints are untrusted: every field is validated before a run resumes.
"""

import copy
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import NoneType

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
from lenet5.training.run_folder import COLUMNS, EventWriter, check_history

LARGEST_CHECKPOINT = 1 << 30  # bytes


def write_checkpoint(path: Path, state: dict) -> None:
    """Write a state; of several processes, which all have the same, the first one does."""
    if distributed.is_first():
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
        restore(deserialize(path, data, LARGEST_CHECKPOINT, device))
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"{path} is damaged ({reason(error)}); delete it to start the run over"
        ) from error
    return True


def check_like(found, wanted, name: str = "its state") -> None:
    """Raise ValueError unless a value from a checkpoint is like `wanted`.

    Tensors are alike if shape and dtype are equal, dictionaries if their keys are equal and
    their values alike. A list [x] stands for any number of values like x, a tuple for a value
    of one of its types. Any other value stands for its type; int is a count.
    """
    if isinstance(wanted, torch.Tensor):
        if not isinstance(found, torch.Tensor) or found.is_meta or found.layout != wanted.layout:
            raise ValueError(f"{name} is not a tensor of plain numbers")
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(f"{name} is {tuple(found.shape)} of {found.dtype}")
    elif isinstance(wanted, dict):
        if not isinstance(found, dict) or found.keys() != wanted.keys():
            raise ValueError(f"{name} has other names")
        for key in wanted:
            check_like(found[key], wanted[key], key)
    elif isinstance(wanted, list):
        if type(found) is not list:
            raise ValueError(f"{name} is not a list")
        for value in found:
            check_like(value, wanted[0], name)
    else:
        types = wanted if isinstance(wanted, tuple) else (type(wanted),)
        if type(found) not in types:
            raise ValueError(f"{name} is a {type(found).__name__}")
        if type(found) is int and not 0 <= found < sys.maxsize:
            raise ValueError(f"{name} is no count")


class Run:
    """A training run: its settings, its folder, and its state."""

    def __init__(
        self, settings: Settings, folder: Path | None, device: torch.device, classes: list[str]
    ):
        self.settings, self.device, self.classes = settings, device, classes
        self.folder = folder or Path()  # a run without one writes nothing
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
        self.tally: list[float] | None = None  # running metrics of an interrupted epoch
        self.seconds = 0.0  # of an interrupted epoch
        self.finished = False

    @property
    def eval_net(self) -> nn.Module:
        """The network that is evaluated and saved: the averaged one, if the run has one."""
        return self.average.net if self.average else self.net

    @property
    def kept(self) -> dict:
        """`best`, once an epoch is finished."""
        assert self.best is not None
        return self.best

    # What a checkpoint holds besides the states of network, optimiser and generators.
    PLAIN = ("history", "best", "step", "step_in_epoch", "tally", "seconds", "finished")

    def state(self, generator_state: torch.Tensor) -> dict:
        """All that --resume needs; `generator_state` is from before the epoch was drawn."""
        state = {name: getattr(self, name) for name in self.PLAIN}
        state["net"], state["optimizer"] = self.net.state_dict(), self.optimizer.state_dict()
        if self.average:
            state["average"] = {"net": self.average.net.state_dict(), "steps": self.average.steps}
        return state | {"generator": generator_state, "torch_generator": torch.get_rng_state()}

    def save_checkpoint(self, generator_state: torch.Tensor) -> None:
        write_checkpoint(self.folder / "checkpoint.pth", self.state(generator_state))

    def load_checkpoint(self) -> bool:
        """Restore the run from its checkpoint; False if none was written yet."""
        return read_checkpoint(self.folder / "checkpoint.pth", self.restore, self.device)

    def restore(self, state: dict) -> None:
        """Restore a state. Raises an error of any kind if it is not of such a run."""
        check_state(self, state)
        self.net.load_state_dict(state["net"])
        given = self.settings
        self.optimizer.load_state_dict(
            optimizer_state(state["optimizer"], self.net, given.optimizer, given.lr, given.weight_decay)
        )
        if self.average:
            self.average.net.load_state_dict(state["average"]["net"])
            self.average.steps = state["average"]["steps"]
        self.generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["torch_generator"].cpu())
        for name in self.PLAIN:
            setattr(self, name, state[name])

    def steps_per_epoch(self, epoch_size: int) -> int:
        """Optimiser steps of an epoch of so many images."""
        return math.ceil(epoch_size / self.settings.batch_size)

    def total_steps(self, epoch_size: int) -> int:
        epochs = self.settings.epochs
        epochs = min(epochs, DRY_EPOCHS) if self.settings.dry_run else epochs
        return min(epochs * self.steps_per_epoch(epoch_size), self.settings.max_steps or sys.maxsize)


def check_state(run: Run, state: dict) -> None:
    """Raise an error unless a checkpoint's state is one that this run can have."""
    check_like(state, (dict,))
    history, best, tally = state["history"], state["best"], state["tally"]
    row = dict.fromkeys(COLUMNS, (int, float, NoneType))
    described = {"epoch": 0, "weights": run.net.state_dict(), "metadata": (dict,)}
    check_like(
        state,
        run.state(run.generator.get_state())
        | {
            "history": [row],
            "best": described if history else None,
            "optimizer": {"state": (dict,), "param_groups": (list,)},
            "tally": None if tally is None else [0.0],
        },
    )
    check_history(history)
    if state["step_in_epoch"] > state["step"]:
        raise ValueError("its epoch has more steps than it has")
    if tally is not None and len(tally) != len(RunningMetrics(run.device).values):
        raise ValueError("its tally has other numbers")
    if best is not None:
        if not 1 <= best["epoch"] <= len(history):
            raise ValueError(f"its best epoch is none of {len(history)}")
        check_metadata("its best epoch", {"arch": run.settings.arch, **best["metadata"]})
        if best["metadata"]["classes"] != run.classes:
            raise ValueError("its best epoch has other classes")


def optimizer_state(
    found: dict, net: nn.Module, name: str, lr: float, weight_decay: float | None = None
) -> dict:
    """An optimiser's state: tensors and counters as `found` in a checkpoint, options as given."""
    net = copy.deepcopy(net)
    other = make_optimizer(net, name, lr, weight_decay)
    if not other.state:  # it begins with the first step
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        other.step()
    wanted = other.state_dict()
    if found["state"] != {}:  # as it is before the first step
        check_like(found["state"], wanted["state"], "its optimizer")
    for group, theirs in zip(wanted["param_groups"], found["param_groups"], strict=True):
        counts = {counter: theirs[counter] for counter in OPTIMIZERS[name].counters}
        check_like(counts, dict.fromkeys(counts, 0))
        group |= counts
    return {"state": found["state"], "param_groups": wanted["param_groups"]}


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
    net = build(run.settings.arch, len(run.classes))
    net.load_state_dict(run.kept["weights"])
    return net
