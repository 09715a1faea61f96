"""Optimisers by name."""

import torch
from torch import nn

from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt
from lenet5.training.muon import Muon

# Each optimiser's class and what it is made with beside parameters and learning rate.
OPTIMIZERS = {
    # fused: one pass over all parameters in place of several for each tensor.
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.01, "fused": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
    "muon": (Muon, {}),
    "sdlm": (DiagonalLevenbergMarquardt, {}),  # stochastic, for lenet5-1998 alone
}


def make_optimizer(
    net: nn.Module, name: str, lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """An optimiser of a network by its `--optimizer` name."""
    kind, options = OPTIMIZERS[name]
    if weight_decay is not None:
        options = {**options, "weight_decay": weight_decay}
    # Two of them go by the network's layers.
    by_layers = kind in (Muon, DiagonalLevenbergMarquardt)
    return kind(net if by_layers else net.parameters(), lr, **options)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Have the next steps made at this learning rate, also those that were recorded before."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):  # which a recording looks at: captured.py
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
