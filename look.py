"""What is inside a network, and what its answers withstand: the numbers behind the figures.

    >>> from look import kernels
    >>> from model import load_weights
    >>> [(k.layer, tuple(k.weight.shape)) for k in kernels(load_weights("pretrained/lenet5.pth")[0])]
    [('C1', (6, 1, 5, 5)), ('C3', (16, 6, 5, 5))]

    kernels     what C1 and C3 have learned to look for
    stages      in words, what each layer does
    features    the numbers that the outputs are made of: F6
    plane       F6 in two dimensions
    robustness  accuracy against rotation, shift, scale and noise

`plots.py` draws all of these, and `inference.py` has the flags.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from evaluate import BATCH_SIZE, evaluate
from lenet5.data.augmentation import warp
from lenet5.networks.operations import apply, operations

IN_WORDS = {
    "convolution": "convolution",
    "largest": "largest of 2×2",
    "mean": "mean of 2×2",
    "mean-of-map": "mean of each map",
    "scale": "scaled",
    "relu": "ReLU",
    "squash": "1.7159·tanh(2x/3)",
    "full": "full connection",
    "distance": "distance to bitmaps",
}


class Kernels(NamedTuple):
    """The kernels of a convolution, maps×maps below×k×k."""

    layer: str
    below: str  # the layer that it reads
    weight: torch.Tensor


def kernels(net: nn.Module) -> list[Kernels]:
    """The kernels of C1 and C3; of a connection that does not exist all numbers are 0."""
    found, below, weight = [], "input", None
    for operation in operations(net):
        weight = operation.weight if operation.kind == "convolution" else weight
        if operation.name:
            if operation.name in ("C1", "C3"):
                found.append(Kernels(operation.name, below, weight))
            below = operation.name
    return found


def stages(net: nn.Module) -> dict[str, str]:
    """What each layer does with the one before, in words: {"C1": "convolution, ReLU", …}."""
    found, words = {}, []
    for operation in operations(net):
        if operation.kind != "crop":
            words.append(IN_WORDS.get(operation.kind, operation.kind))
        if operation.name:
            found[operation.name], words = ", ".join(words), []
    return found


# ---------------------------------------------------------------- F6 in two dimensions


@torch.inference_mode()
def features(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What the outputs are made of, for N×1×32×32 inputs: N×84, the states of F6; on the CPU.

    Of `teacher`, which has no F6, the means of C4's 128 maps.
    """
    found, all_but_outputs = [], operations(net)[:-1]
    for x in inputs.split(BATCH_SIZE):
        for operation in all_but_outputs:
            x = apply(operation, x)
        found.append(x.flatten(1).cpu())
    return torch.cat(found)


def plane(points: torch.Tensor, labels: torch.Tensor, steps: int = 300) -> torch.Tensor:
    """N×D points seen in that plane in which their classes are best told apart: N×2.

    A linear discriminant projection: the points, divided by their lengths, are
    scaled so that each class spreads alike in all directions on the average
    (Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936).
    Fisher's own plane is the one in which the sum of the squared distances
    between the classes' centres is largest, which a few far classes decide, with
    the others on one heap. Here it is the one in which the nearest centres are
    far from each other, found by gradient descent on a soft minimum of the
    distances. No random number is used.

    Raises ValueError unless there are points of two classes at least.
    """
    present, labels = labels.unique(return_inverse=True)
    if len(present) < 2:
        raise ValueError("a plane in which classes are told apart needs two of them")
    points = points.double()
    points = points / points.norm(dim=1, keepdim=True).clamp(min=1e-9)
    points = points - points.mean(dim=0)
    centres = torch.stack([points[labels == label].mean(dim=0) for label in range(len(present))])
    rest = points - centres[labels]
    scatter = rest.T @ rest / len(points)
    # Classes of one picture have no spread of their own: a thousandth of that of all keeps it above 0.
    floor = 1e-3 * points.square().sum(dim=1).mean() / len(scatter) + 1e-12
    scatter += floor * torch.eye(len(scatter))
    triangle = torch.linalg.cholesky(scatter)
    points, centres = (
        torch.linalg.solve_triangular(triangle, x.T, upper=False).T for x in (points, centres)
    )
    # All differences between the centres lie in the directions that they span.
    spanned = torch.linalg.svd(centres, full_matrices=False).Vh.T
    return points @ spanned @ best_directions(centres @ spanned, steps)


def best_directions(centres: torch.Tensor, steps: int) -> torch.Tensor:
    """K×2 orthonormal directions in which the nearest of the centres, C×K, are far apart."""
    first, second = torch.triu_indices(len(centres), len(centres), 1)
    directions = torch.eye(centres.shape[1], 2, dtype=centres.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([directions], lr=0.05)
    for _ in range(steps):
        distances = ((centres[first] - centres[second]) @ orthonormal(directions)).norm(dim=1)
        optimiser.zero_grad()
        torch.logsumexp(-distances / 2, dim=0).backward()
        optimiser.step()
    return orthonormal(directions.detach())


def orthonormal(directions: torch.Tensor) -> torch.Tensor:
    return torch.linalg.qr(directions)[0]


# ---------------------------------------------------------------- what the answers withstand


class Disturbance(NamedTuple):
    """One thing that is done to all pictures, more and more of it."""

    unit: str
    amounts: tuple[float, ...]
    shown: tuple[float, ...]  # those of which a picture is shown
    none: float = 0.0  # the amount that leaves a picture as it is


DISTURBANCES = {
    "rotation": Disturbance(
        "degrees, to the left", tuple(range(-60, 61, 10)), (-60, -40, -20, 0, 20, 40, 60)
    ),
    "shift": Disturbance("pixels, to the right", tuple(range(-10, 11, 2)), (-8, -4, 0, 4, 8)),
    "scale": Disturbance(
        "times as large",
        (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
        (0.4, 0.7, 1.0, 1.3, 1.6, 1.9),
        1.0,
    ),
    "noise": Disturbance(
        "standard deviation, of 1 between paper and ink",
        (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    ),
}


def disturbed(inputs: torch.Tensor, kind: str, amount: float, mean: float, std: float) -> torch.Tensor:
    """N×1×32×32 inputs that were turned, moved or made larger about their middle, or noisy.

    `mean` and `std` are those of the inputs' normalisation. The noise is normal, the
    same for every network and every amount but for its size, and what gets
    darker than paper or brighter than ink is cut off, as in a picture.
    """
    if kind == "noise":
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0))
        low, high = (0 - mean) / std, (1 - mean) / std
        return (inputs + noise.to(inputs.device) * (amount / std)).clamp(low, high)
    # As for F.affine_grid: from where a pixel goes to where it comes from, in half sides.
    cos, sin, right, size = 1.0, 0.0, 0.0, 1.0
    if kind == "rotation":
        cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    elif kind == "shift":
        right = 2 * amount / inputs.shape[-1]
    else:
        size = amount
    there = torch.tensor([[cos / size, -sin / size, -right], [sin / size, cos / size, 0.0]])
    return warp(inputs, there.to(inputs.device).expand(len(inputs), 2, 3))


def robustness(
    net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, mean: float, std: float
) -> dict[str, list[tuple[float, float]]]:
    """For each kind of disturbance its amounts, and the network's accuracy (0 to 1) at each."""
    measured = {kind: [] for kind in DISTURBANCES}
    todo = [(kind, amount) for kind, what in DISTURBANCES.items() for amount in what.amounts]
    for kind, amount in tqdm(todo, desc=net.arch, leave=False, disable=None):
        result = evaluate(net, disturbed(inputs, kind, amount, mean, std), labels)
        measured[kind].append((amount, result.accuracy))
    return measured
