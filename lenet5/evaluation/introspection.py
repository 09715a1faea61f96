"""A look inside a network: kernels, layers in words, features, and their plane.

>>> from lenet5.evaluation.introspection import kernels
>>> from lenet5.networks.weights import load_weights
>>> [(k.layer, tuple(k.weight.shape)) for k in kernels(load_weights("pretrained/lenet5.pth")[0])]
[('C1', (6, 1, 5, 5)), ('C3', (16, 6, 5, 5))]
"""

from typing import NamedTuple

import torch
from torch import nn

from lenet5.evaluation.metrics import BATCH_SIZE
from lenet5.networks.operations import operations

IN_WORDS = {
    "max_pool": "max pooling 2×2",
    "avg_pool": "average pooling 2×2",
    "global_avg_pool": "global average pooling",
    "scale": "scaled",
    "relu": "ReLU",
    "scaled_tanh": "1.7159·tanh(2x/3)",
    "linear": "full connection",
    "rbf": "distance to bitmaps",
}


class Kernels(NamedTuple):
    """The kernels of a convolution."""

    layer: str
    below: str  # the layer that it reads
    weight: torch.Tensor  # maps×maps below×k×k


def kernels(net: nn.Module) -> list[Kernels]:
    """The kernels of C1 and C3; a missing connection has zeros."""
    layers = operations(net)
    names = ["input", *layers]
    return [
        Kernels(name, names[names.index(name) - 1], step.weight)
        for name in ("C1", "C3")
        for step in layers[name]
        if step.kind == "convolution" and step.weight is not None
    ]


def stages(net: nn.Module) -> dict[str, str]:
    """What each layer does with the one before, in words: {"C1": "convolution, ReLU", …}."""
    return {
        name: ", ".join(IN_WORDS.get(step.kind, step.kind) for step in steps if step.kind != "crop")
        for name, steps in operations(net).items()
    }


@torch.inference_mode()
def features(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What the output layer reads for N×1×32×32 inputs: N×84 states of F6, on the CPU.

    `teacher` has no F6 and gives N×128, the means of C4's maps.
    """
    found: list[torch.Tensor] = []
    output = net.get_submodule("output")
    net.eval()
    with output.register_forward_pre_hook(lambda _, read: found.append(read[0].flatten(1).cpu())):
        for x in inputs.split(BATCH_SIZE):
            net(x)
    return torch.cat(found)


def plane(points: torch.Tensor, labels: torch.Tensor, steps: int = 300) -> torch.Tensor:
    """N×D points in the plane that separates their classes best: N×2, without random numbers.

    A linear discriminant projection (Fisher, "The Use of Multiple Measurements in Taxonomic
    Problems", 1936) of the points, scaled to length 1. Fisher's plane maximises the sum of the
    squared distances between the classes' centres, which a few far classes decide. This one
    maximises a soft minimum of the distances, by gradient descent.

    Raises ValueError unless there are points of at least two classes.
    """
    present, labels = labels.unique(return_inverse=True)
    if len(present) < 2:
        raise ValueError("a plane that separates classes needs at least two of them")
    points = points.double()
    points = points / points.norm(dim=1, keepdim=True).clamp(min=1e-9)
    points = points - points.mean(dim=0)
    centres = torch.stack([points[labels == label].mean(dim=0) for label in range(len(present))])
    rest = points - centres[labels]
    scatter = rest.T @ rest / len(points)
    # Classes of one picture have no spread; a thousandth of the total keeps the matrix regular.
    floor = 1e-3 * points.square().sum(dim=1).mean() / len(scatter) + 1e-12
    scatter += floor * torch.eye(len(scatter))
    triangle = torch.linalg.cholesky(scatter)
    points, centres = (
        torch.linalg.solve_triangular(triangle, x.T, upper=False).T for x in (points, centres)
    )
    # The centres span all their differences.
    spanned = torch.linalg.svd(centres, full_matrices=False).Vh.T
    return points @ spanned @ best_directions(centres @ spanned, steps)


def best_directions(centres: torch.Tensor, steps: int) -> torch.Tensor:
    """K×2 orthonormal directions in which the nearest of C×K centres are far apart."""
    first, second = torch.triu_indices(len(centres), len(centres), 1)
    directions = torch.eye(centres.shape[1], 2, dtype=centres.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([directions], lr=0.05)
    for _ in range(steps):
        distances = ((centres[first] - centres[second]) @ torch.linalg.qr(directions).Q).norm(dim=1)
        optimizer.zero_grad()
        torch.logsumexp(-distances / 2, dim=0).backward()
        optimizer.step()
    return torch.linalg.qr(directions.detach()).Q
