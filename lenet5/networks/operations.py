"""A network as a plain list of operations: for figures, and for programs in other languages.

    >>> from model import LeNet5
    >>> [operation.kind for operation in operations(LeNet5())][:4]
    ['convolution', 'relu', 'largest', 'convolution']

Figures, the ONNX export and the page take from it what a network does and with which
numbers. There are ten kinds of operations, each on N×maps×H×W or N×units:

    crop         leave out `amount` pixels on each side
    convolution  `weight` maps×maps below×k×k, `bias` maps; `amount` pixels of 0 around
    largest      the largest of each 2×2
    mean         the mean of each 2×2
    mean-of-map  the mean of each map: N×maps×H×W to N×maps
    scale        times `weight`, plus `bias`, one of each a map
    relu, tanh, squash (1.7159·tanh(2x/3), equation 6 of the paper)
    full         flattened; `weight` units×inputs, `bias` units
    distance     the squared distance to each row of `weight`, negated (equation 7)

An operation that finishes a layer of the paper has its `name`: C1, S2, C3, S4,
C5, F6, output.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks.definition import LeNet5, LeNet5Conv, LeNet5Padded, LeNet5Tanh, LeNetGAP
from lenet5.networks.lenet1998 import LeNet1998, squash
from lenet5.networks.teacher import Teacher


class Operation(NamedTuple):
    """One step of a network; the module's text says what each kind does."""

    kind: str
    name: str = ""  # of the layer whose states these are
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    amount: int = 0


def operations(net: nn.Module) -> list[Operation]:
    """What a network of the family does, in order, with detached copies of its numbers."""
    return LISTS[type(net)](net.eval())


def apply(operation: Operation, x: torch.Tensor) -> torch.Tensor:
    """The result of one operation."""
    kind, _, weight, bias, amount = operation
    if kind == "crop":
        return x[:, :, amount:-amount, amount:-amount]
    if kind == "convolution":
        return F.conv2d(x, weight, bias, padding=amount)
    if kind == "largest":
        return F.max_pool2d(x, 2)
    if kind == "mean":
        return F.avg_pool2d(x, 2)
    if kind == "mean-of-map":
        return x.mean(dim=(2, 3))
    if kind == "scale":
        return x * weight[:, None, None] + bias[:, None, None]
    if kind == "full":
        return F.linear(x.flatten(1), weight, bias)
    if kind == "distance":
        return -(x.flatten(1)[:, None] - weight).square().sum(2)
    return {"relu": F.relu, "tanh": torch.tanh, "squash": squash}[kind](x)


@torch.inference_mode()
def feature_maps(net: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The states of each layer, by its name, for N×1×32×32 inputs; "input" comes first."""
    states, x = {"input": inputs}, inputs
    for operation in operations(net):
        x = apply(operation, x)
        if operation.name:
            states[operation.name] = x
    return states


def convolution(layer: nn.Conv2d, *activation: str, name: str) -> list[Operation]:
    """A convolution, and the activation that finishes it."""
    numbers = Operation("convolution", "", *copies(layer.weight, layer.bias), layer.padding[0])
    return finished([numbers, *(Operation(kind) for kind in activation)], name)


def full(layer: nn.Linear, *activation: str, name: str) -> list[Operation]:
    """A full connection, and the activation that finishes it."""
    numbers = Operation("full", "", *copies(layer.weight, layer.bias))
    return finished([numbers, *(Operation(kind) for kind in activation)], name)


def finished(steps: list[Operation], name: str) -> list[Operation]:
    """The steps of a layer, the last of which has its name."""
    return [*steps[:-1], steps[-1]._replace(name=name)]


def copies(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def of_pooled(net: LeNet5 | LeNet5Padded | LeNet5Conv) -> list[Operation]:
    c5 = convolution if isinstance(net.c5, nn.Conv2d) else full
    return [
        *convolution(net.c1, "relu", name="C1"),
        Operation("largest", "S2"),
        *convolution(net.c3, "relu", name="C3"),
        Operation("largest", "S4"),
        *c5(net.c5, "relu", name="C5"),
        *full(net.f6, "relu", name="F6"),
        *full(net.output, name="output"),
    ]


def of_gap(net: LeNetGAP) -> list[Operation]:
    return [
        Operation("crop", amount=2),
        *convolution(net.c1, "relu", name="C1"),
        Operation("mean", "S2"),
        *convolution(net.c3, "relu", name="C3"),
        Operation("mean", "S4"),
        Operation("mean-of-map"),
        *full(net.c5, "relu", name="C5"),
        *full(net.f6, "relu", name="F6"),
        *full(net.output, name="output"),
    ]


def of_tanh(net: LeNet5Tanh) -> list[Operation]:
    return [
        *convolution(net.c1.conv, "tanh", name="C1"),
        Operation("mean", "S2"),
        *convolution(net.c3.conv, "tanh", name="C3"),
        Operation("mean", "S4"),
        *convolution(net.c5.conv, "tanh", name="C5"),
        *full(net.f6, "tanh", name="F6"),
        *full(net.output, name="output"),
    ]


def of_1998(net: LeNet1998) -> list[Operation]:
    def subsampling(layer, name: str) -> list[Operation]:
        # The paper's coefficient is of the sum of 2×2, four times their mean.
        coefficient, bias = copies(layer.coefficient, layer.bias)
        scale = Operation("scale", "", 4 * coefficient, bias)
        return finished([Operation("mean"), scale, Operation("squash")], name)

    kernels, biases = copies(net.c3.dense(net.c3.weight), net.c3.bias)
    return [
        *convolution(net.c1, "squash", name="C1"),
        *subsampling(net.s2, "S2"),
        Operation("convolution", "", kernels, biases),
        Operation("squash", "C3"),
        *subsampling(net.s4, "S4"),
        *convolution(net.c5, "squash", name="C5"),
        *full(net.f6, "squash", name="F6"),
        Operation("distance", "output", *copies(net.output.bitmaps)),
    ]


def of_teacher(net: Teacher) -> list[Operation]:
    def normalised(layer: nn.BatchNorm2d, name: str) -> list[Operation]:
        mean, variance, weight, bias = copies(
            layer.running_mean, layer.running_var, layer.weight, layer.bias
        )
        factor = weight / (variance + layer.eps).sqrt()
        return finished([Operation("scale", "", factor, bias - mean * factor), Operation("relu")], name)

    def unbiased(layer: nn.Conv2d) -> Operation:
        (weight,) = copies(layer.weight)
        return Operation("convolution", "", weight, weight.new_zeros(len(weight)), layer.padding[0])

    return [
        Operation("crop", amount=2),
        *convolution(net.c1, name=""),
        Operation("largest"),
        *normalised(net.n1, "C1"),
        unbiased(net.c2),
        *normalised(net.n2, "C2"),
        unbiased(net.c3),
        Operation("largest"),
        *normalised(net.n3, "C3"),
        unbiased(net.c4),
        Operation("largest"),
        *normalised(net.n4, "C4"),
        Operation("mean-of-map"),
        *full(net.output, name="output"),
    ]


LISTS = {
    LeNet5: of_pooled,
    LeNet5Padded: of_pooled,
    LeNet5Conv: of_pooled,
    LeNetGAP: of_gap,
    LeNet5Tanh: of_tanh,
    LeNet1998: of_1998,
    Teacher: of_teacher,
}
