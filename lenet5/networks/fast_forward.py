"""A forward that computes a network's scores in less time on a CPU.

    >>> scores = forward(net, inputs)

It gives the numbers of `net(inputs)`, but for the rounding of sums in another order.
Training, evaluation and reading call it. `fast_convolution.py` says what is gained.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks.definition import LeNet5, LeNet5Conv, LeNet5Padded
from lenet5.networks.fast_convolution import convolve_and_pool


def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The scores of a network for N×1×32×32 inputs on its device, as `net(x)` gives them."""
    fast = FORWARDS.get(type(net)) if x.device.type == "cpu" else None
    return net(x) if fast is None else fast(net, x)


# ReLU follows the pooling, where it has a quarter of the work. Both keep the order of
# numbers, so max(relu(a), relu(b)) = relu(max(a, b)) exactly.


def lenet5(net: LeNet5, x: torch.Tensor) -> torch.Tensor:
    x = F.relu(convolve_and_pool(net.c1, x))  # S2: N×6×14×14
    x = F.relu(convolve_and_pool(net.c3, x))  # S4: N×16×5×5
    x = F.relu(net.c5(x.flatten(1)))  # N×120
    x = F.relu(net.f6(x))  # N×84
    return net.output(x)  # N×10


def lenet5_padded(net: LeNet5Padded, x: torch.Tensor) -> torch.Tensor:
    x = F.relu(F.max_pool2d(net.c1(x), 2))  # S2: N×6×16×16
    x = F.relu(F.max_pool2d(net.c3(x), 2))  # S4: N×16×6×6
    x = F.relu(net.c5(x.flatten(1)))  # N×120
    x = F.relu(net.f6(x))  # N×84
    return net.output(x)  # N×10


def lenet5_conv(net: LeNet5Conv, x: torch.Tensor) -> torch.Tensor:
    x = F.relu(convolve_and_pool(net.c1, x))  # S2: N×6×14×14
    x = F.relu(convolve_and_pool(net.c3, x))  # S4: N×16×5×5
    x = F.relu(net.c5(x)).movedim(1, -1)  # N×h×w×120
    x = F.relu(net.f6(x))  # N×h×w×84
    x = net.output(x).movedim(-1, 1)  # N×10×h×w
    return x.flatten(1) if x.shape[2:] == (1, 1) else x


FORWARDS = {LeNet5: lenet5, LeNet5Padded: lenet5_padded, LeNet5Conv: lenet5_conv}
