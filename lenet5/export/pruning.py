"""Leave out the weights that a network can do without.

    >>> _, metadata = load_weights("lenet5_model.pth")
    >>> run = prune("lenet5_model.pth", keep=0.1)
    >>> save_weights("pruned.pth", run.net, **metadata_of(run, metadata))

Weights of small magnitude are set to 0, the smallest of all layers first (Han, Pool,
Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks",
2015), little by little while training goes on, so that the others take over their
work (Zhu and Gupta, "To prune, or not to prune", 2017, equation 1).

What is left is the same network with zeros in it: its weights load as before. A file of
them is smaller once it is compressed; reading takes as long as before, since PyTorch
multiplies by the zeros too.
"""

import os
import time
from collections.abc import Callable

import torch
from torch import nn

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.data.datasets import DATASETS
from lenet5.networks.definition import count_parameters
from lenet5.networks.weights import load_weights
from lenet5.runtime.errors import UserError
from lenet5.training.checkpoint import Run
from lenet5.training.epoch import TrainingStep, train_epoch
from lenet5.training.epoch_end import finish_epoch, loss_of_run
from lenet5.training.epoch_plan import EpochPlan
from lenet5.training.optimizers import set_rate
from lenet5.training.progress import columns, epoch_line
from lenet5.training.recipes import RECIPES, Settings
from lenet5.training.schedules import SCHEDULES
from lenet5.training.training_pool import Data

EPOCHS, RATE = 10, 4e-3  # chosen on validation images: benchmarks/tune.py prune
PICTURES = 3_000  # made-up ones: a few epochs learn little from each
CUTTING = 0.5  # of the steps, in which weights are left out; in the others the rest settles


class Pruning:
    """Which weights of a network are left, and how many of them are to be.

    Shares are of all parameters that training may change. Biases and what else has one
    number a map or unit always stay: they are few, and much hangs on each.
    """

    def __init__(self, net: nn.Module, keep: float, cutting: float = CUTTING):
        self.cutting = cutting
        self.all = count_parameters(net)
        self.weights = [p for p in net.parameters() if p.requires_grad and p.dim() > 1]
        self.others = self.all - sum(weight.numel() for weight in self.weights)
        self.keep, self.share = keep, self.parameters_left() / self.all
        if keep * self.all < self.others + 1:
            least = 100 * (self.others + 1) / self.all
            raise UserError(f"of {net.arch}, {least:.2f} % of the parameters at least have to stay")
        self.masks = [weight != 0 for weight in self.weights]

    def parameters_left(self) -> int:
        return self.others + sum(int((weight != 0).sum()) for weight in self.weights)

    @torch.no_grad()
    def cut(self, progress: float) -> None:
        """Mask as many weights as after `progress` (0 to 1) of all steps: most of them at first."""
        to_go = max(0.0, 1 - progress / self.cutting) ** 3
        share = self.keep + max(0.0, self.share - self.keep) * to_go
        sizes = torch.cat([weight.abs().flatten() for weight in self.weights])
        out = max(0, self.all - round(share * self.all))
        least = sizes.kthvalue(out + 1).values
        # What is out stays out, also if all that is left is 0.
        pairs = zip(self.masks, self.weights, strict=True)
        self.masks = [mask & (weight.abs() >= least) for mask, weight in pairs]

    @torch.no_grad()
    def apply(self) -> None:
        """Set to 0 what is left out: an optimiser moves it at every step."""
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)


def learned(weights, metadata: dict) -> dict:
    """What weights say that they were trained on: data set, seed, images held out, and recipe.

    Raises UserError if they say nothing that can be used, or the data is not here.
    """
    kinds = {"dataset": str, "recipe": str, "seed": int, "val_size": int}
    defaults = RECIPES["default"] | {"recipe": "default"}
    found = {name: metadata.get(name, defaults[name]) for name in kinds}
    for name, kind in kinds.items():
        if type(found[name]) is not kind:
            raise UserError(f"{weights} was changed: its {name} is not what train.py writes")
    if not 0 <= found["seed"] < 2**63:  # as --seed takes it
        raise UserError(f"{weights} was changed: its seed is {found['seed']}")
    if found["dataset"] not in DATASETS and not os.path.isdir(found["dataset"]):
        raise UserError(
            f"{weights} was trained on the folder {found['dataset']}, which is not here: "
            "run the command where it is"
        )
    return found


def settings_for(weights, metadata: dict, epochs: int, lr: float) -> dict:
    """The settings with which a network goes on learning what its weights were trained on.

    Those of their own recipe, and above all its split, so that images that were held out
    stay so; but labels for a teacher, and Adam with a cosine schedule.
    """
    known = learned(weights, metadata)
    settings = RECIPES["default"] | RECIPES.get(known["recipe"], {})
    if known["dataset"] not in DATASETS:  # of a folder of pictures, train.py finds out the size itself
        known["val_size"] = settings["val_size"]
    own = {"arch": metadata["arch"], "init_from": str(weights), "epochs": epochs, "lr": lr}
    left_out = ("max_steps", "weight_decay", "average", "teacher", "temperature")
    plain = dict.fromkeys(left_out) | {"optimizer": "adam", "scheduler": "cosine"}
    if settings["pictures"]:
        plain["pictures"] = PICTURES
    return settings | known | own | plain


def show(line: str) -> None:
    """Print a line at once, into a pipe too."""
    print(line, flush=True)


def prune(
    weights,
    keep: float,
    *,
    arch: str | None = None,
    epochs: int = EPOCHS,
    lr: float = RATE,
    cutting: float = CUTTING,
    data_dir="data",
    say: Callable[[str], None] = show,
) -> Run:
    """Leave out all but a share `keep` of a network's parameters, and train the others on.

    The last step's weights are the result, in `run.net`, and `run.history` has a row an
    epoch; `say` gets a line of each. The same weights, machine and number of threads give
    the same result. Raises UserError for weights, data or a share that cannot be used.
    """
    net, metadata = load_weights(weights, arch)
    Pruning(net, keep)  # a share that is too small is refused before the data is read
    settings = Settings(**settings_for(weights, metadata, epochs, lr) | {"data_dir": data_dir})
    device = torch.device("cpu")
    data = Data(settings, device)
    if data.classes != metadata["classes"]:
        raise UserError(f"{weights} knows other classes than {settings.dataset} has")
    run = Run(settings, None, device, data.classes)
    pruning = Pruning(run.net, keep, cutting)
    say(columns(epochs))
    for epoch in range(1, epochs + 1):
        pruning_epoch(run, data, pruning, epoch)
        row = run.history[-1]
        line = epoch_line(row, epochs, (epochs - epoch) * row["seconds"])
        say(f"{line}  {pruning.parameters_left():,} parameters")
    return run


def pruning_epoch(run: Run, data: Data, pruning: Pruning, epoch: int) -> None:
    """An epoch of training in which weights are left out before each step."""
    settings, started = run.settings, time.perf_counter()
    steps, total = run.steps_per_epoch(data.pool.epoch_size), run.total_steps(data.pool.epoch_size)

    def before_step(step: int) -> bool:
        progress = ((epoch - 1) * steps + step) / total
        set_rate(run.optimizer, settings.lr * SCHEDULES[settings.scheduler](progress))
        pruning.cut(progress)
        pruning.apply()
        return True

    plan = EpochPlan(data.pool, AUGMENTATIONS[settings.augment], run.generator)
    training = TrainingStep(run.net, run.optimizer, loss_of_run(run), after_step=pruning.apply)
    _, metrics = train_epoch(training, plan, settings.batch_size, before_step=before_step)
    run.best = None  # the last epoch is kept: those before it have more parameters
    finish_epoch(run, data, epoch, metrics, started)


def metadata_of(run: Run, before: dict) -> dict:
    """What the pruned weights say of themselves: what they said `before`, measured anew."""
    assert run.best is not None, "the run has no epoch"
    measured = {k: v for k, v in run.best["metadata"].items() if k not in ("epoch", "epochs")}
    return before | measured | {"parameters_left": Pruning(run.net, 1.0).parameters_left()}
