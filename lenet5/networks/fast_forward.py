"""A forward that computes a network's scores in less time on a CPU.

    >>> scores = forward(net, inputs)

It gives the numbers of `net(inputs)`, but for the rounding of sums in another order.
Training, evaluation and reading call it. On 2 cores a training step takes 0.75 (0.70 to 0.96
in 7 turns) of its time with the textbook forward of model.py, and an evaluation 0.51
(python benchmarks/step.py, an AMD EPYC).
"""

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks.definition import LeNet5, LeNet5Conv, LeNet5Padded


def forward(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The scores of a network for N×1×32×32 inputs on its device, as `net(x)` gives them.

    ReLU follows the pooling, where it has a quarter of the work. Both keep the order of
    numbers, so max(relu(a), relu(b)) = relu(max(a, b)) exactly.
    """
    if x.device.type != "cpu" or type(net) not in (LeNet5, LeNet5Padded, LeNet5Conv):
        return net(x)  # also a subclass, whose forward may be another
    assert isinstance(net, LeNet5 | LeNet5Padded | LeNet5Conv)
    x = F.relu(convolve_and_pool(net.c1, x))  # S2: N×6×14×14
    x = F.relu(convolve_and_pool(net.c3, x))  # S4: N×16×5×5
    if isinstance(net, LeNet5Conv):
        x = F.relu(net.c5(x)).movedim(1, -1)  # N×h×w×120
        x = net.output(F.relu(net.f6(x))).movedim(-1, 1)  # N×10×h×w
        return x.flatten(1) if x.shape[2:] == (1, 1) else x
    x = F.relu(net.c5(x.flatten(1)))  # N×120
    return net.output(F.relu(net.f6(x)))  # N×10


def convolve_and_pool(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """`F.max_pool2d(convolution(x), 2)` for 5×5 kernels, in less time on a CPU.

    A CPU wastes most of its vector width on a convolution that makes six maps out of one.
    So we cut the pictures into windows of 8×8, four pixels apart. A 5×5 kernel has 4×4
    places in a window, which gives 4×4 neighbouring numbers of a map, and all maps of all
    windows are one product of two matrices: 49 windows of 64 pixels a picture by 64 × 96
    weights. That is 2.6 times the multiplications. Where there are several maps below, as
    for C3, the convolution is PyTorch's own.
    """
    maps, channels = convolution.weight.shape[:2]
    height, width = x.shape[2:]
    bias = convolution.bias
    is_plain = x.device.type != "cpu" or torch.jit.is_tracing()  # which keeps a batch's size otherwise
    if is_plain or bias is None or convolution.padding != (0, 0):
        return F.max_pool2d(convolution(x), 2)
    if channels > 1 or height % 4 or width % 4 or min(height, width) < 8:
        # The pooling takes a tenth of the time where the maps of a place lie side by side.
        return F.max_pool2d(convolution(x).contiguous(memory_format=torch.channels_last), 2)
    windows = x.unfold(2, 8, 4).unfold(3, 8, 4)  # N×1×H×W×8×8, H and W counting windows
    count, _, height, width, _, _ = windows.shape
    windows = windows.reshape(count * height * width, 64)
    # The pooling first: of each 2×2 places, which lie a row of 4·maps numbers apart.
    x = largest_of_four((windows @ kernel_at_all_places(convolution.weight)).view(-1, 4, 1, 4 * maps))
    # What is left are 2×2 numbers of each map in each window: put them where they belong.
    x = x.reshape(count, height, width, 2, 2, maps)
    if x.dtype == torch.bfloat16:  # from which the next convolution learns faster map by map
        x = x.permute(0, 5, 1, 3, 2, 4).reshape(count, maps, 2 * height, 2 * width)
        return x + bias.to(x.dtype)[:, None, None]
    # And in float32 faster where the maps of a place lie side by side.
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, maps)
    return (x + bias).permute(0, 3, 1, 2)


def largest_of_four(rows: torch.Tensor) -> torch.Tensor:
    """The largest of each four rows of numbers: N×4×1×M to N×1×1×M.

    Where a gradient is wanted, PyTorch's pooling remembers which one it was, and of equal
    ones the first gets it all. Where none is, two comparisons take less time.
    """
    if torch.is_grad_enabled():
        return F.max_pool2d(rows.permute(0, 3, 1, 2), (4, 1)).permute(0, 2, 3, 1)
    rows = torch.maximum(rows[:, :2], rows[:, 2:])
    return torch.maximum(rows[:, :1], rows[:, 1:])


def kernel_at_all_places(kernels: torch.Tensor) -> torch.Tensor:
    """Maps×1×5×5 kernels as the matrix by which `convolve_and_pool` multiplies its windows.

    64×(4·4·maps): a column for each of the 4×4 places in a window of 8×8. Place
    (2i + a, 2j + b) is number (a, b) of the four that are pooled to (i, j); the
    columns are in the order a, b, i, j, map.
    """
    maps = len(kernels)
    # With 3 zeros around it, the 8×8 cut at (3 - y, 3 - x) holds the kernel at (y, x).
    cuts = F.pad(kernels, (3, 3, 3, 3)).unfold(2, 8, 1).unfold(3, 8, 1).flip(2, 3)
    cuts = cuts.reshape(maps, 2, 2, 2, 2, 64)  # axes: map, i, a, j, b, pixel
    return cuts.permute(5, 2, 4, 1, 3, 0).reshape(64, 16 * maps)
