"""The LeNet-5 of 1998: the paper's own network with its loss.

LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 86(11), November 1998: the network is that of
section II.B, the loss that of section II.C (equation 9).

    $ python train.py --recipe 1998

trains it as the paper did, with the optimiser of appendix C
(`lenet5/training/levenberg_marquardt.py`).
"""

import torch
import torch.nn.functional as F
from torch import nn

# Table I: the maps of S2 that each map of C3 reads.
TABLE_I = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip
# What F6 is to show for each digit: 7×12 pixels, as in figure 3, but drawn by us.
BITMAPS = """
..###..  ...#...  .#####.  .#####.  ....##.  #######  ...###.  #######  .#####.  .#####.
.#...#.  ..##...  ##...##  ##...##  ....##.  #######  ..##...  #######  ##...##  ##...##
##...##  .###...  ##...##  .....##  ...###.  ##.....  .##....  .....##  ##...##  ##...##
##...##  ####...  .....##  .....##  ...###.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ..##...  .....##  .....##  ..#.##.  ##.....  ##.....  ....##.  .##.##.  ##...##
##...##  ..##...  ....##.  ..####.  ..#.##.  ######.  ######.  ....##.  ..###..  .######
##...##  ..##...  ...##..  ..####.  .#..##.  .....##  ##...##  ...##..  .##.##.  .....##
##...##  ..##...  ..##...  .....##  .#..##.  .....##  ##...##  ...##..  ##...##  .....##
##...##  ..##...  .##....  .....##  #######  .....##  ##...##  ..##...  ##...##  .....##
##...##  ..##...  ##.....  ##...##  #######  ##...##  ##...##  ..##...  ##...##  ....##.
.#...#.  ..##...  #######  ##...##  ....##.  ##...##  .##.##.  .##....  ##...##  ...##..
..###..  ######.  #######  .#####.  ....##.  .#####.  ..###..  .##....  .#####.  .###...
"""
AMPLITUDE, STEEPNESS = 1.7159, 2 / 3  # of the squashing function: f(1) = 1 and f(-1) = -1
RUBBISH = 0.1  # j of equation 9, for which the paper gives no number


def digit_bitmaps() -> torch.Tensor:
    """10×84 float32 of -1 (background) and 1 (ink): what F6 is to show for each digit."""
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    pixels = ["".join(row[digit] for row in rows) for digit in range(10)]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in digit] for digit in pixels])


def squash(a: torch.Tensor) -> torch.Tensor:
    """A·tanh(S·a), the squashing function of equation 6 and appendix A."""
    return AMPLITUDE * torch.tanh(STEEPNESS * a)


def slope(x):
    """The derivative of the squashing function where its value is x: S·(A - x²/A)."""
    return STEEPNESS * AMPLITUDE - STEEPNESS / AMPLITUDE * x * x


class TableConvolution(nn.Module):
    """C3: each map reads some of the maps below, as Table I says, which breaks their symmetry.

    N×6×14×14 to N×16×10×10. `weight` holds the 60 kernels that exist, 60×5×5, in the order of
    the table.
    """

    pairs: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        pairs = [6 * i + j for i, row in enumerate(TABLE_I) for j in row]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(TABLE_I)))

    def dense(self, kernels: torch.Tensor) -> torch.Tensor:
        """60×5×5 numbers at their places among 16×6×5×5, with zeros between."""
        everywhere = kernels.new_zeros(len(TABLE_I) * 6, 5, 5)
        return everywhere.index_copy(0, self.pairs, kernels).view(len(TABLE_I), 6, 5, 5)

    def kernels(self, dense: torch.Tensor) -> torch.Tensor:
        """The inverse of `dense`, also of 16×150 numbers."""
        return dense.view(-1, 5, 5)[self.pairs]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.dense(self.weight), self.bias)


class Subsampling(nn.Module):
    """S2 and S4: the sum of 2×2 states of a map, times a coefficient, plus a bias.

    N×maps×H×W to N×maps×H/2×W/2, with one coefficient and one bias a map.
    """

    def __init__(self, maps: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps))
        self.bias = nn.Parameter(torch.empty(maps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = 4 * F.avg_pool2d(x, 2)  # exactly; exporters forget a divisor_override
        return sums * self.coefficient[:, None, None] + self.bias[:, None, None]


class FullConnection(nn.Linear):
    """F6: each unit reads all states below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


def fan_in(layer: nn.Module) -> torch.Tensor:
    """How many numbers a unit of each of a layer's maps reads."""
    if isinstance(layer, TableConvolution):
        return torch.tensor([25.0 * len(row) for row in TABLE_I])
    if isinstance(layer, Subsampling):
        return torch.full((len(layer.bias),), 4.0)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return torch.full((len(layer.weight),), float(layer.weight[0].numel()))


@torch.no_grad()
def initialise(layer: nn.Module) -> None:
    """Draw a layer's parameters uniformly from -2.4 / fan-in to 2.4 / fan-in of their unit."""
    for p in layer.parameters():
        bounds = 2.4 / fan_in(layer)
        if isinstance(layer, TableConvolution) and p is layer.weight:  # a kernel for each pair
            bounds = bounds.repeat_interleave(torch.tensor([len(row) for row in TABLE_I]))
        p.uniform_(-1, 1).mul_(bounds.view(-1, *[1] * (p.dim() - 1)))


class EuclideanRBF(nn.Module):
    """The outputs: how far F6 is from each digit's bitmap, negated, so that the largest wins.

    N×84 to N×10. y_i = Σ_j (x_j - w_ij)² (equation 7); this gives -y_i. The bitmaps are fixed.
    """

    bitmaps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bitmaps", digit_bitmaps())
        self.out_features = len(self.bitmaps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x[:, None] - self.bitmaps).square().sum(2)


class LeNet1998(nn.Module):
    """The network of section II.B: 60,000 trainable parameters, 340,908 connections.

    N×1×32×32 float32 to N×10 negated distances. Background comes in as -0.1 and ink as
    1.175, which gives the inputs a mean of about 0 and a variance of about 1.

    Where the paper leaves a choice: the fan-in that bounds a unit's initial weights counts its
    inputs without the bias, and the biases are drawn from the same interval; the coefficient of
    a subsampling unit has a fan-in of 4; the bitmaps are our drawing; j of equation 9 is RUBBISH.
    """

    arch = "lenet5-1998"
    reads, special = "32×32", "the paper's own"
    # (pixel - mean) / std is -0.1 for pixel 0 and 1.175 for pixel 1.
    std = 1 / 1.275
    mean = 0.1 * std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        if num_classes != 10:
            raise ValueError("the outputs of lenet5-1998 are the bitmaps of the ten digits")
        self.c1 = nn.Conv2d(1, 6, 5)  # 156 parameters
        self.s2 = Subsampling(6)  # 12
        self.c3 = TableConvolution()  # 1,516
        self.s4 = Subsampling(16)  # 32
        self.c5 = nn.Conv2d(16, 120, 5)  # 48,120
        self.f6 = FullConnection(120, 84)  # 10,164
        self.output = EuclideanRBF()  # none that are trained
        for layer in self.layers():
            initialise(layer)

    def layers(self) -> list[nn.Module]:
        """C1 to F6, each followed by the squashing function."""
        return [self.c1, self.s2, self.c3, self.s4, self.c5, self.f6]

    def states(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The input and the states of C1 to F6.

        N×1×32×32, 6×28×28, 6×14×14, 16×10×10, 16×5×5, 120×1×1, 84.
        """
        states = [x]
        for layer in self.layers():
            states.append(squash(layer(states[-1])))
        return states

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.states(x)[-1])

    @staticmethod
    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Equation 9, the mean over N patterns of y_D + log(e^-j + Σ_i e^-y_i).

        With -y_i as logits, that is the cross-entropy of one class more, the paper's rubbish
        class, whose logit is always -j.
        """
        return F.cross_entropy(F.pad(outputs, (0, 1), value=-RUBBISH), labels)


@torch.no_grad()
def connections(net: LeNet1998) -> dict[str, int]:
    """How many connections each layer has, counted as in the paper.

    A unit has one from each number that it reads, and one from its bias; the outputs have
    none of those.
    """
    names = ("C1", "S2", "C3", "S4", "C5", "F6")
    states = net.states(torch.zeros(1, 1, 32, 32, device=net.s2.bias.device))
    counts = {
        name: int(y[0, 0].numel() * (fan_in(layer) + 1).sum())
        for name, layer, y in zip(names, net.layers(), states[1:], strict=True)
    }
    return counts | {"output": net.output.bitmaps.numel()}
