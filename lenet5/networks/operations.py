"""A network as a plain description, for figures and for programs in other languages.

    >>> from model import LeNet5
    >>> {name: [step.kind for step in steps] for name, steps in operations(LeNet5()).items()}["C1"]
    ['convolution', 'relu']

The ONNX export and the page take from it what each layer does and with which numbers. The
kinds of operations, each on N×maps×H×W or N×units:

    crop             leave out `amount` pixels on each side
    convolution      `weight` maps×maps below×k×k, `bias` maps; padded by `amount` pixels of 0
    max_pool         the largest of each 2×2
    avg_pool         the mean of each 2×2
    global_avg_pool  the mean of each map: N×maps
    scale            times `weight`, plus `bias`, one of each a map
    relu, tanh, scaled_tanh (1.7159·tanh(2x/3), equation 6 of the paper)
    linear           flattened; `weight` units×inputs, `bias` units
    rbf              the squared distance to each row of `weight`, negated (equation 7)
"""

from typing import NamedTuple

import torch
from torch import nn

from lenet5.networks.definition import LeNet5, LeNet5Conv, LeNet5Padded, LeNet5Tanh, LeNetGAP
from lenet5.networks.lenet1998 import EuclideanRBF, LeNet1998, Subsampling, TableConvolution, squash
from lenet5.networks.teacher import Teacher
from lenet5.runtime.errors import UserError


class Operation(NamedTuple):
    """One step of a layer; the module's text says what each kind does."""

    kind: str
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    amount: int = 0


class ScaledTanh(nn.Module):
    """The squashing function of the paper, as a module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return squash(x)


RELU, TANH, SCALED_TANH = nn.ReLU(), nn.Tanh(), ScaledTanh()
MAX_POOL, AVG_POOL, GLOBAL_AVG_POOL = nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)
CROP = nn.ZeroPad2d(-2)  # a padding below 0 leaves pixels out
KINDS = {
    RELU: "relu",
    TANH: "tanh",
    SCALED_TANH: "scaled_tanh",
    MAX_POOL: "max_pool",
    AVG_POOL: "avg_pool",
    GLOBAL_AVG_POOL: "global_avg_pool",
}


def layers(net: nn.Module) -> dict[str, list[nn.Module]]:
    """The layers of a network by their names in the paper: the modules that compute each.

    What has parameters is the network's own module.
    """
    if isinstance(net, LeNet5 | LeNet5Padded | LeNet5Conv):
        return {
            "C1": [net.c1, RELU],
            "S2": [MAX_POOL],
            "C3": [net.c3, RELU],
            "S4": [MAX_POOL],
            "C5": [net.c5, RELU],
            "F6": [net.f6, RELU],
            "output": [net.output],
        }
    if isinstance(net, LeNetGAP):
        return {
            "C1": [CROP, net.c1, RELU],
            "S2": [AVG_POOL],
            "C3": [net.c3, RELU],
            "S4": [AVG_POOL],
            "C5": [GLOBAL_AVG_POOL, net.c5, RELU],
            "F6": [net.f6, RELU],
            "output": [net.output],
        }
    if isinstance(net, LeNet5Tanh):
        return {
            "C1": [net.c1.conv, TANH],
            "S2": [AVG_POOL],
            "C3": [net.c3.conv, TANH],
            "S4": [AVG_POOL],
            "C5": [net.c5.conv, TANH],
            "F6": [net.f6, TANH],
            "output": [net.output],
        }
    if isinstance(net, LeNet1998):
        names = ("C1", "S2", "C3", "S4", "C5", "F6")
        squashed = {name: [layer, SCALED_TANH] for name, layer in zip(names, net.layers(), strict=True)}
        return {**squashed, "output": [net.output]}
    if not isinstance(net, Teacher):
        raise UserError(f"operations.py has no list for {type(net).__name__}: add its layers there")
    return {
        "C1": [CROP, net.c1, MAX_POOL, net.n1, RELU],
        "C2": [net.c2, net.n2, RELU],
        "C3": [net.c3, MAX_POOL, net.n3, RELU],
        "C4": [net.c4, MAX_POOL, net.n4, RELU],
        "output": [GLOBAL_AVG_POOL, net.output],
    }


@torch.inference_mode()
def feature_maps(net: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The states of each layer, by its name, for N×1×32×32 inputs; "input" comes first."""
    states, x = {"input": inputs}, inputs
    for name, modules in layers(net.eval()).items():
        for module in modules:
            x = module(x.flatten(1) if isinstance(module, nn.Linear) else x)
        states[name] = x
    return states


@torch.no_grad()
def operations(net: nn.Module) -> dict[str, list[Operation]]:
    """What each layer of a network does, in order, with copies of its numbers."""
    return {
        name: [step for module in modules for step in operations_of(module)]
        for name, modules in layers(net).items()
    }


def operations_of(module: nn.Module) -> list[Operation]:
    """The operations that a module of a network stands for."""
    if module is CROP:
        return [Operation("crop", amount=2)]
    if isinstance(module, nn.Conv2d):
        weight = module.weight.clone()
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.clone()
        return [Operation("convolution", weight, bias, int(module.padding[0]))]
    if isinstance(module, TableConvolution):
        return [Operation("convolution", module.dense(module.weight), module.bias.clone())]
    if isinstance(module, Subsampling):
        # The paper's coefficient is of the sum of 2×2, four times their mean.
        scale = Operation("scale", 4 * module.coefficient, module.bias.clone())
        return [Operation("avg_pool"), scale]
    if isinstance(module, nn.BatchNorm2d):
        mean, variance = module.get_buffer("running_mean"), module.get_buffer("running_var")
        factor = module.weight / (variance + module.eps).sqrt()
        return [Operation("scale", factor, module.bias - mean * factor)]
    if isinstance(module, nn.Linear):
        return [Operation("linear", module.weight.clone(), module.bias.clone())]
    if isinstance(module, EuclideanRBF):
        return [Operation("rbf", module.get_buffer("bitmaps").clone())]
    return [Operation(KINDS[module])]
