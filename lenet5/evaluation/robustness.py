"""Accuracy under rotation, shift, scale and noise."""

import math
from typing import NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from lenet5.data.augmentation import warp
from lenet5.evaluation.metrics import evaluate


class Disturbance(NamedTuple):
    """A kind of disturbance and its amounts."""

    unit: str
    amounts: tuple[float, ...]
    shown: tuple[float, ...]  # amounts with an example picture
    none: float = 0.0  # the amount that changes nothing


TENTHS = tuple(i / 10 for i in range(11))
SIZES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
TURNS = (-60, -40, -20, 0, 20, 40, 60)
DISTURBANCES = {
    "rotation": Disturbance("degrees, to the left", tuple(range(-60, 61, 10)), TURNS),
    "shift": Disturbance("pixels, to the right", tuple(range(-10, 11, 2)), (-8, -4, 0, 4, 8)),
    "scale": Disturbance("times as large", SIZES, (0.4, 0.7, 1.0, 1.3, 1.6, 1.9), none=1.0),
    "noise": Disturbance("standard deviation, of 1 between paper and ink", TENTHS, TENTHS[::2]),
}


def disturbed(inputs: torch.Tensor, kind: str, amount: float, mean: float, std: float) -> torch.Tensor:
    """N×1×32×32 inputs, rotated, shifted or scaled about their centre, or with noise.

    `mean` and `std` are those of the inputs' normalisation. The normal noise is the same for
    every network and amount but for its size; sums are clipped to the range of a picture.
    """
    if kind == "noise":
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
        low, high = (0 - mean) / std, (1 - mean) / std
        return (inputs + noise.to(inputs.device) * (amount / std)).clamp(low, high)
    # As for F.affine_grid: from the output to the input, in half sides.
    if kind == "rotation":
        cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
        matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]])
    elif kind == "shift":
        matrix = torch.tensor([[1.0, 0.0, -2 * amount / inputs.shape[-1]], [0.0, 1.0, 0.0]])
    else:
        matrix = torch.tensor([[1 / amount, 0.0, 0.0], [0.0, 1 / amount, 0.0]])
    return warp(inputs, matrix.to(inputs.device).expand(len(inputs), 2, 3))


def robustness(
    net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, mean: float, std: float
) -> dict[str, list[tuple[float, float]]]:
    """A network's accuracy (0 to 1) at each amount of each disturbance."""
    measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in DISTURBANCES}
    todo = [(kind, amount) for kind, what in DISTURBANCES.items() for amount in what.amounts]
    for kind, amount in tqdm(todo, desc=net.arch, leave=False, disable=None):
        result = evaluate(net, disturbed(inputs, kind, amount, mean, std), labels)
        measured[kind].append((amount, result.accuracy))
    return measured
