"""LeNet-5 and its family in PyTorch.

    >>> import torch
    >>> from model import LeNet5
    >>> net = LeNet5()
    >>> net(torch.zeros(1, 1, 32, 32)).shape
    torch.Size([1, 10])
    >>> count_parameters(net)
    61706

Every network takes N×1×32×32 float32 and gives N×10 scores, of which the largest wins.
The layers carry the paper's names: C is a convolution, S a subsampling, F a full
connection, and the number counts the layers (LeCun, Bottou, Bengio, Haffner,
"Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998,
section II.B). This file needs torch alone; `build` finds the paper's own network in the
package `lenet5`.
"""

import copy
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import nn


class LeNet5(nn.Module):
    """LeNet-5 as it is taught today: ReLU, max pooling, linear outputs.

    N×1×32×32 float32 to N×10 logits; 61,706 trainable parameters.

    Differences from the paper's network: ReLU for 1.7159·tanh(2x/3); max pooling for
    trainable subsampling; C3 reads all six maps of S2 (2,416 parameters, the paper's 1,516);
    C5 is a full connection, the same function on 32×32; linear outputs for distances to
    bitmaps.

    The input is (pixel - mean) / std, with the mean and standard deviation of the pixels of
    MNIST's 60,000 training images, scaled to [0, 1].
    """

    arch = "lenet5"
    reads, special = "32×32", "ReLU, max pooling"
    mean, std = 0.1307, 0.3081

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.c1(x))  # C1: N×6×28×28
        x = F.max_pool2d(x, 2)  # S2: N×6×14×14
        x = F.relu(self.c3(x))  # C3: N×16×10×10
        x = F.max_pool2d(x, 2)  # S4: N×16×5×5
        x = x.flatten(1)  # N×400
        x = F.relu(self.c5(x))  # C5: N×120
        x = F.relu(self.f6(x))  # F6: N×84
        return self.output(x)  # N×10


def init_he(module: nn.Module) -> None:
    """He initialisation: weights from N(0, 2 / fan-in), biases 0.

    A ReLU halves the mean square of the signal, and the factor 2 makes up for it: the signal
    keeps its size from layer to layer (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers",
    2015, equation 10). With PyTorch's default, a sixth of that variance, it fades.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_xavier(module: nn.Module, gain: float = 1.0) -> None:
    """Xavier initialisation: weights from U(-b, b), b² = gain² · 6 / (fan-in + fan-out), biases 0.

    It keeps the size of signals and gradients where the activation is nearly linear around 0
    (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, equation 16).
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight, gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_tanh_xavier(module: nn.Module) -> None:
    """Xavier initialisation with tanh's gain of 5/3, which makes up for what tanh flattens."""
    init_xavier(module, gain=nn.init.calculate_gain("tanh"))


INITIALISATIONS = {"he": init_he, "xavier": init_xavier}


class LeNet5Padded(nn.Module):
    """LeNet-5 with 16×6×6 numbers before the full connections.

    N×1×32×32 to N×10 logits; 82,826 parameters. C1 pads its input by 2. `init` is "he" or "xavier".
    """

    arch = "lenet5-padded"
    reads, special = "32×32", "C1 padded: 16×6×6 go to C5"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10, init: str = "he"):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Linear(16 * 6 * 6, 120)  # 69,240
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(INITIALISATIONS[init])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.c1(x)), 2)  # C1 N×6×32×32, S2 N×6×16×16
        x = F.max_pool2d(F.relu(self.c3(x)), 2)  # C3 N×16×12×12, S4 N×16×6×6
        x = x.flatten(1)  # N×576
        x = F.relu(self.c5(x))  # N×120
        x = F.relu(self.f6(x))  # N×84
        return self.output(x)  # N×10


class LeNet5Conv(nn.Module):
    """LeNet-5 whose C5 is a convolution, as in the paper.

    N×1×32×32 to N×10 logits; 61,706 parameters. A larger picture, N×1×H×W, gives N×10×h×w:
    logits of each 32×32 window, four pixels apart (the paper's section VII, space
    displacement network).
    """

    arch = "lenet5-conv"
    reads, special = "32×32", "C5 a convolution; or larger"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.c1(x)), 2)  # C1 N×6×28×28, S2 N×6×14×14
        x = F.max_pool2d(F.relu(self.c3(x)), 2)  # C3 N×16×10×10, S4 N×16×5×5
        x = F.relu(self.c5(x))  # N×120×1×1, or N×120×h×w
        x = x.permute(0, 2, 3, 1)  # full connections read the last axis: N×h×w×120
        x = F.relu(self.f6(x))  # N×h×w×84
        x = self.output(x).permute(0, 3, 1, 2)  # N×10×h×w
        return x.flatten(1) if x.shape[2:] == (1, 1) else x


class LeNetGAP(nn.Module):
    """LeNet with average pooling, and global average pooling before C5.

    N×1×32×32 to N×10 logits; 15,626 parameters. It reads 28×28 pictures from -1 to 1:
    `forward` crops two pixels of background on each side.
    """

    arch = "lenet-gap"
    reads, special = "28×28", "average pooling, also before C5"
    mean, std = 0.5, 0.5

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)  # 156 parameters
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # 2,416
        self.c5 = nn.Linear(16, 120)  # 2,040
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, 2:-2, 2:-2]  # N×1×28×28
        x = F.avg_pool2d(F.relu(self.c1(x)), 2)  # C1 N×6×28×28, S2 N×6×14×14
        x = F.avg_pool2d(F.relu(self.c3(x)), 2)  # C3 N×16×10×10, S4 N×16×5×5
        x = x.mean(dim=(2, 3))  # global average pooling: N×16
        x = F.relu(self.c5(x))  # N×120
        x = F.relu(self.f6(x))  # N×84
        return self.output(x)  # N×10


class ConvTanh(nn.Module):
    """A convolution followed by tanh."""

    def __init__(self, maps_in: int, maps: int, kernel_size: int = 5):
        super().__init__()
        self.conv = nn.Conv2d(maps_in, maps, kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.conv(x))


class SubsampleAvgPool(nn.Module):
    """Subsampling by the mean of each 2×2, without parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)


class LeNet5Tanh(nn.Module):
    """The network of 1998 in today's modules: tanh, average pooling, linear outputs.

    N×1×32×32 to N×10 logits; 61,706 parameters. Differences from `lenet5-1998`: subsampling
    without parameters, tanh for 1.7159·tanh(2x/3), C3 reads all maps of S2, linear outputs.
    """

    arch = "lenet5-tanh"
    reads, special = "32×32", "tanh, average pooling"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1 = ConvTanh(1, 6)  # 156 parameters
        self.s2 = SubsampleAvgPool()
        self.c3 = ConvTanh(6, 16)  # 2,416
        self.s4 = SubsampleAvgPool()
        self.c5 = ConvTanh(16, 120)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.output = nn.Linear(84, num_classes)  # 850
        self.apply(init_tanh_xavier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.s2(self.c1(x))  # C1 N×6×28×28, S2 N×6×14×14
        x = self.s4(self.c3(x))  # C3 N×16×10×10, S4 N×16×5×5
        x = self.c5(x).flatten(1)  # N×120
        x = torch.tanh(self.f6(x))  # N×84
        return self.output(x)  # N×10


FAMILY = {net.arch: net for net in (LeNet5, LeNet5Padded, LeNet5Conv, LeNetGAP, LeNet5Tanh)}
# The paper's own network and the teacher of distillation: classes of the package, by module.
IN_PACKAGE = {
    "lenet5-1998": ("lenet5.networks.lenet1998", "LeNet1998"),
    "teacher": ("lenet5.networks.teacher", "Teacher"),
}
NAMES = (*FAMILY, *IN_PACKAGE)


def network_class(name: str) -> type[nn.Module]:
    """The class of a network by its name, one of `NAMES`. Raises ValueError for another name."""
    if name in FAMILY:
        return FAMILY[name]
    if name not in IN_PACKAGE:
        raise ValueError(f"unknown network {name!r}; choose from {', '.join(NAMES)}")
    module, attribute = IN_PACKAGE[name]
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name} is in the package lenet5, which is missing here") from error


def build(name: str, num_classes: int = 10) -> nn.Module:
    """A new network by its name, one of `NAMES`.

    Raises ValueError for an unknown name or a number of classes that it cannot have.
    """
    return network_class(name)(num_classes)


def count_parameters(net: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_multiply_adds(net: nn.Module) -> int:
    """Multiplications with a weight for one 32×32 picture, counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:  # the meta device computes nothing
        copy.deepcopy(net).to("meta")(torch.zeros(1, 1, 32, 32, device="meta"))
    return counter.get_total_flops() // 2
