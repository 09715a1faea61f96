"""Optimisers by name, and what a run has to know about each."""

from typing import NamedTuple

import torch
from torch import nn

from lenet5.runtime.errors import UserError
from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt
from lenet5.training.muon import Muon
from lenet5.training.recipes import Settings


class OptimizerSpec(NamedTuple):
    """How an optimiser is made, and its limits. Those of PyTorch need the defaults only.

    An optimiser with a method `step_batch(plan, rows)` makes its own training step
    (`TrainingStep.learn`); others get a gradient and `step()`.
    """

    kind: type
    options: dict  # beside parameters and learning rate
    takes_net: bool = False  # made from the network, not from its parameters
    counters: tuple[str, ...] = ()  # numbers in its parameter groups that a checkpoint restores
    arch: str | None = None  # the only network that it trains
    is_sequential: bool = False  # one pattern after the other: one process, the CPU, float32


OPTIMIZERS = {
    # fused: one pass over all parameters in place of several for each tensor.
    "adam": OptimizerSpec(torch.optim.Adam, {"fused": True}),
    "adamw": OptimizerSpec(torch.optim.AdamW, {"weight_decay": 0.01, "fused": True}),
    "sgd": OptimizerSpec(torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
    "muon": OptimizerSpec(Muon, {}, takes_net=True),
    "sdlm": OptimizerSpec(
        DiagonalLevenbergMarquardt,
        {},
        takes_net=True,
        counters=("learned", "measured_at"),
        arch=DiagonalLevenbergMarquardt.ARCH,
        is_sequential=True,
    ),
}


def make_optimizer(
    net: nn.Module, name: str, lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """An optimiser of a network by its `--optimizer` name."""
    spec = OPTIMIZERS[name]
    options = spec.options if weight_decay is None else {**spec.options, "weight_decay": weight_decay}
    return spec.kind(net if spec.takes_net else net.parameters(), lr, **options)


def check_optimizer(settings: Settings) -> None:
    """Raise UserError for flags that do not go with a run's optimiser."""
    name, spec = f"--optimizer {settings.optimizer}", OPTIMIZERS[settings.optimizer]
    if spec.arch not in (None, settings.arch):
        raise UserError(f"{name} needs second derivatives, which only {spec.arch} has")
    if not spec.is_sequential:
        return
    if settings.device not in ("auto", "cpu"):
        raise UserError(f"{name} learns one pattern at a time, on the CPU: leave --device out")
    if settings.weight_decay is not None:
        raise UserError(f"{name} knows no --weight-decay: leave it out")
    if settings.precision == "bfloat16":
        raise UserError(f"{name} learns in float32: leave --precision out")


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of the next steps, also of those recorded in a CUDA graph."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):  # which a CUDA graph reads
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
