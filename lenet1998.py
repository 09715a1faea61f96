"""The LeNet-5 of 1998, with its loss and its way to learn; nothing modernised.

LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 86(11), November 1998: the network is that
of section II.B, the loss that of section II.C (equation 9), the learning that of
section III.C and appendix C.

    $ python train.py --recipe 1998

trains it as the paper did; where that was not possible, the docstrings of
LeNet1998 and DiagonalLevenbergMarquardt say so.

The derivatives are written out by hand. The paper's second derivatives need
that: they take the same way back through the network as the gradient, with
every factor squared. tests/test_lenet1998.py judges them by autograd.
"""

import math

import numpy as np
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


# ---------------------------------------------------------------- the network


class Convolution(nn.Conv2d):
    """C1 and C5: each map reads all maps below through 5×5 kernels of its own."""

    def fan_in(self) -> torch.Tensor:
        """How many numbers a unit reads, for each map."""
        return torch.full((self.out_channels,), self.in_channels * 25.0)

    def initialise(self) -> None:
        uniform_(self.weight, 2.4 / self.fan_in()[:, None, None, None])
        uniform_(self.bias, 2.4 / self.fan_in())


class TableConvolution(nn.Module):
    """C3: each map reads some of the maps below, as a table says, which breaks their symmetry.

    `weight` holds the 60 kernels that exist, 60×5×5, in the order of the table.
    """

    def __init__(self, maps_below: int, table: tuple[tuple[int, ...], ...]):
        super().__init__()
        self.table, self.maps_below = table, maps_below
        pairs = [i * maps_below + j for i, row in enumerate(table) for j in row]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(table)))

    def fan_in(self) -> torch.Tensor:
        return torch.tensor([len(row) * 25.0 for row in self.table])

    def initialise(self) -> None:
        kernels = torch.tensor([len(row) for row in self.table])
        uniform_(self.weight, (2.4 / self.fan_in()).repeat_interleave(kernels)[:, None, None])
        uniform_(self.bias, 2.4 / self.fan_in())

    def dense(self, weight: torch.Tensor) -> torch.Tensor:
        """60×5×5 numbers at their places among 16×6×5×5, with zeros between."""
        everywhere = weight.new_zeros(len(self.table) * self.maps_below, 5, 5)
        everywhere = everywhere.index_copy(0, self.pairs, weight)
        return everywhere.view(len(self.table), self.maps_below, 5, 5)

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

    def fan_in(self) -> torch.Tensor:
        return torch.full((len(self.bias),), 4.0)

    def initialise(self) -> None:
        uniform_(self.coefficient, 2.4 / self.fan_in())
        uniform_(self.bias, 2.4 / self.fan_in())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = F.avg_pool2d(x, 2, divisor_override=1)
        return sums * self.coefficient[:, None, None] + self.bias[:, None, None]


class FullConnection(nn.Linear):
    """F6: each unit reads all states below."""

    def fan_in(self) -> torch.Tensor:
        return torch.full((self.out_features,), float(self.in_features))

    def initialise(self) -> None:
        uniform_(self.weight, 2.4 / self.fan_in()[:, None])
        uniform_(self.bias, 2.4 / self.fan_in())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


def uniform_(parameter: nn.Parameter, bound: torch.Tensor) -> None:
    """Fill with numbers from -bound to bound; `bound` has a number for each or broadcasts."""
    with torch.no_grad():
        parameter.uniform_(-1, 1).mul_(bound)


class EuclideanRBF(nn.Module):
    """The outputs: how far F6 is from each digit's bitmap, negated, so that the largest wins.

    N×84 to N×10. y_i = Σ_j (x_j - w_ij)² (equation 7); this gives -y_i. The
    bitmaps are fixed.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("bitmaps", digit_bitmaps())
        self.out_features = len(self.bitmaps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x[:, None] - self.bitmaps).square().sum(2)


class LeNet1998(nn.Module):
    """The network of section II.B: 60,000 trainable parameters, 340,908 connections.

    N×1×32×32 float32 to N×10 negated distances. Background comes in as -0.1 and
    ink as 1.175, which gives the inputs a mean of about 0 and a variance of
    about 1.

    Where the paper leaves a choice: the fan-in that bounds a unit's initial
    weights counts its inputs without the bias, and the biases are drawn from
    the same interval; the coefficient of a subsampling unit has a fan-in of 4;
    the bitmaps are our drawing; j of equation 9 is RUBBISH below.
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
        self.c1 = Convolution(1, 6, 5)  # 156 parameters
        self.s2 = Subsampling(6)  # 12
        self.c3 = TableConvolution(6, TABLE_I)  # 1,516
        self.s4 = Subsampling(16)  # 32
        self.c5 = Convolution(16, 120, 5)  # 48,120
        self.f6 = FullConnection(120, 84)  # 10,164
        self.output = EuclideanRBF()  # none that are trained
        for layer in self.layers():
            layer.initialise()

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

        With -y_i as logits, that is the cross-entropy of one class more, the
        paper's rubbish class, whose logit is always -j.
        """
        return F.cross_entropy(with_rubbish(outputs), labels)


def with_rubbish(outputs: torch.Tensor) -> torch.Tensor:
    """N×10 negated distances and, for any pattern, -j for what is no digit at all: N×11."""
    return F.pad(outputs, (0, 1), value=-RUBBISH)


def connections(net: LeNet1998) -> dict[str, int]:
    """How many connections each layer has, counted as in the paper.

    A unit has one from each number that it reads, and one from its bias; the
    outputs have none of those.
    """
    names = ("C1", "S2", "C3", "S4", "C5", "F6")
    with torch.no_grad():
        states = net.states(torch.zeros(1, 1, 32, 32, device=net.c1.bias.device))
    counts = {}
    for name, layer, y in zip(names, net.layers(), states[1:], strict=True):
        places = y[0, 0].numel()
        counts[name] = int(places * (layer.fan_in() + 1).sum())
    counts["output"] = net.output.bitmaps.numel()
    return counts


# ---------------------------------------------------------------- learning, one pattern at a time


class OnePattern:
    """The network and its derivatives for one pattern at a time, in NumPy.

    The parameters are those of a LeNet1998 on the CPU, in the same memory (but
    for C3's kernels, which `finish` gives back). Maps are rows: the states of
    C1 are 6×784, those of F6 84. With one pattern at a time PyTorch spends
    nearly all its time on getting into and out of its operations; this takes
    a seventh of the time (python benchmarks/one_pattern.py, an AMD EPYC).

    `backwards` takes derivatives from F6 back to every parameter. With power 1
    they are the gradient. With power 2 they are the second derivatives of
    appendix C, which take the same way with each factor squared; what couples
    two different units is left out.
    """

    def __init__(self, net: LeNet1998):
        self.net = net
        self.kernels3 = net.c3.dense(net.c3.weight.detach()).view(16, 150).numpy()
        views = {name: p.detach().numpy() for name, p in net.named_parameters()}
        self.parameters = {name: view.reshape(len(view), -1) for name, view in views.items()}
        for name in ("c1.bias", "s2.bias", "c3.bias", "s4.bias", "c5.bias", "f6.bias"):
            self.parameters[name] = views[name]
        self.parameters["c3.weight"] = self.kernels3
        self.exist3 = net.c3.dense(torch.ones_like(net.c3.weight)).detach().view(16, 150).numpy()
        self.bitmaps = net.output.bitmaps.numpy()
        # Where in the states below the units of C1 and C3 find their inputs: 25×784, 150×100.
        self.windows0, self.windows2 = windows(1, 32), windows(6, 14)

    def finish(self) -> None:
        """Write C3's kernels back to the network."""
        dense = torch.from_numpy(self.kernels3).view(-1, 5, 5)
        with torch.no_grad():
            self.net.c3.weight.copy_(dense[self.net.c3.pairs])

    def forwards(self, picture: np.ndarray) -> tuple:
        """States of C1 to F6, and the inputs of C1's and C3's units, for a 32×32 picture."""
        p = self.parameters
        inputs1 = picture.ravel().take(self.windows0)  # 25×784
        x1 = squash_(p["c1.weight"] @ inputs1 + p["c1.bias"][:, None])  # 6×784
        sums2 = sum_2x2(x1, 28)  # 6×196
        x2 = squash_(sums2 * p["s2.coefficient"] + p["s2.bias"][:, None])
        inputs3 = x2.ravel().take(self.windows2)  # 150×100
        x3 = squash_(p["c3.weight"] @ inputs3 + p["c3.bias"][:, None])  # 16×100
        sums4 = sum_2x2(x3, 10)  # 16×25
        x4 = squash_(sums4 * p["s4.coefficient"] + p["s4.bias"][:, None])
        x5 = squash_(p["c5.weight"] @ x4.ravel() + p["c5.bias"])  # 120
        x6 = squash_(p["f6.weight"] @ x5 + p["f6.bias"])  # 84
        return inputs1, x1, sums2, x2, inputs3, x3, sums4, x4, x5, x6

    def outputs(self, x6: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How far F6's states are from the bitmaps: 10×84 differences, 10 distances, 10 shares.

        The share of digit i is e^-y_i / (e^-j + Σ e^-y).
        """
        away = x6 - self.bitmaps
        distances = np.einsum("ij,ij->i", away, away)
        nearest = min(distances.min(), RUBBISH)  # keeps the exponentials from all being 0
        powers = np.exp(nearest - distances)
        return away, distances, powers / (powers.sum() + math.exp(nearest - RUBBISH))

    def gradient(self, states: tuple, label: int):
        """Loss, distances and, parameter by parameter, the gradient of equation 9."""
        away, distances, shares = self.outputs(states[-1])
        loss = distances[label] + np.logaddexp(-RUBBISH, np.logaddexp.reduce(-distances))
        # dE/dy_i = [i = D] - share_i, and dy_i/dx = 2·away_i.
        towards = -shares
        towards[label] += 1
        return loss, distances, self.backwards(states, 2 * (towards @ away), power=1)

    def curvature(self, states: tuple):
        """Parameter by parameter, the second derivatives of appendix C, none of them negative.

        At F6, where the way back begins, they are exact: d²/dx² of
        y_D + log(e^-j + Σ e^-y_i), where dy_i/dx = 2·away_i and d²y_i/dx² = 2.
        """
        away, _, shares = self.outputs(states[-1])
        spread = shares @ (away * away) - np.square(shares @ away)
        return self.backwards(states, 2 * (1 - shares.sum()) + 4 * spread, power=2)

    def backwards(self, states: tuple, delta: np.ndarray, power: int):
        """Yield (name, derivative) from those with respect to F6's states, the last layer first.

        All that comes back through the network is worked out before the first
        is given, so the receiver may change each parameter at once.
        """
        raised = np.square if power == 2 else lambda x: x
        p = self.parameters
        inputs1, x1, sums2, x2, inputs3, x3, sums4, x4, x5, x6 = states
        delta6 = delta * raised(slope(x6))
        delta5 = (delta6 @ raised(p["f6.weight"])) * raised(slope(x5))
        delta4 = (delta5 @ raised(p["c5.weight"])).reshape(16, 25) * raised(slope(x4))
        delta3 = to_2x2(delta4 * raised(p["s4.coefficient"]), raised(slope(x3)), 5)
        below3 = raised(p["c3.weight"]).T @ delta3  # 150×100: for each window's each number
        # The opposite of `take`: what comes back to a state from several windows is added up.
        below3 = np.bincount(self.windows2.ravel(), below3.ravel()).astype(np.float32)
        delta2 = below3.reshape(6, 196) * raised(slope(x2))
        delta1 = to_2x2(delta2 * raised(p["s2.coefficient"]), raised(slope(x1)), 14)
        yield "f6.weight", delta6[:, None] * raised(x5)
        yield "f6.bias", delta6
        yield "c5.weight", delta5[:, None] * raised(x4.ravel())
        yield "c5.bias", delta5
        yield "s4.coefficient", (delta4 * raised(sums4)).sum(1, keepdims=True)
        yield "s4.bias", delta4.sum(1)
        yield "c3.weight", (delta3 @ raised(inputs3).T) * self.exist3
        yield "c3.bias", delta3.sum(1)
        yield "s2.coefficient", (delta2 * raised(sums2)).sum(1, keepdims=True)
        yield "s2.bias", delta2.sum(1)
        yield "c1.weight", delta1 @ raised(inputs1).T
        yield "c1.bias", delta1.sum(1)


def squash_(a: np.ndarray) -> np.ndarray:
    """The squashing function, in the memory of its argument."""
    a *= STEEPNESS
    np.tanh(a, out=a)
    a *= AMPLITUDE
    return a


def windows(maps: int, side: int) -> np.ndarray:
    """Indices into maps×side×side numbers of every 5×5 window: maps·25 × (side-4)²."""
    numbers = np.arange(maps * side * side).reshape(maps, side, side)
    views = np.lib.stride_tricks.sliding_window_view(numbers, (5, 5), (1, 2))
    return views.transpose(0, 3, 4, 1, 2).reshape(maps * 25, -1)


def sum_2x2(x: np.ndarray, side: int) -> np.ndarray:
    """Sums of 2×2 neighbours: maps×side² to maps×(side/2)²."""
    x = x.reshape(len(x), side // 2, 2, side // 2, 2)
    rows = x[:, :, 0] + x[:, :, 1]
    return (rows[..., 0] + rows[..., 1]).reshape(len(x), -1)


def to_2x2(x: np.ndarray, factors: np.ndarray, side: int) -> np.ndarray:
    """Each of maps×side² numbers to 2×2 places, times the maps×(2·side)² factors there."""
    factors = factors.reshape(len(x), side, 2, side, 2)
    return (x.reshape(len(x), side, 1, side, 1) * factors).reshape(len(x), -1)


class DiagonalLevenbergMarquardt(torch.optim.Optimizer):
    """Stochastic diagonal Levenberg-Marquardt, section III.C and appendix C.

    Each parameter has a step size of its own, lr / (mu + h), where h is its
    second derivative, measured on PATTERNS patterns before each pass.

    Two things are not the paper's; benchmarks/README.md has the trials.

    The first weights make the states smaller from layer to layer, so that F6's
    are some thousandths, and second derivatives measured there are 100 and more
    times too small as soon as the network has begun to learn. So while the first
    EARLY patterns are learned, h is measured anew every 100 patterns.

    Even so, the published lr of 0.0005 to 0.00001 ends with saturated units.
    60,000 parameters that each correct the same error by a share of lr correct
    it by 30 times too much in all. --recipe 1998 takes a fifth of each.
    """

    PATTERNS, EARLY = 500, 3000

    def __init__(self, net: LeNet1998, lr: float, mu: float = 0.02):
        # How many patterns were learned, and how many when h was measured last.
        defaults = {"lr": lr, "mu": mu, "learned": 0, "measured_at": 0}
        super().__init__(net.parameters(), defaults)
        self.net = net
        for p in net.parameters():
            self.state[p]["curvature"] = torch.zeros_like(p)

    def is_due(self, begins_pass: bool) -> bool:
        """Whether second derivatives are to be measured before the next pattern is learned."""
        group = self.param_groups[0]
        early = group["learned"] <= self.EARLY
        return begins_pass or (early and group["learned"] >= group["measured_at"] + 100)

    def curvature(self) -> dict[str, np.ndarray]:
        """h for each parameter, in the shapes in which OnePattern holds them."""
        found = {}
        for name, p in self.net.named_parameters():
            h = self.state[p]["curvature"]
            if name == "c3.weight":
                h = self.net.c3.dense(h).view(16, 150)
            found[name] = h.numpy().reshape(len(h), -1) if h.dim() > 1 or "coef" in name else h.numpy()
        return found

    @torch.no_grad()
    def measure_curvature(self, patterns: torch.Tensor) -> None:
        """Set h to the mean second derivative over N×1×32×32 patterns."""
        one = OnePattern(self.net)
        sums = {name: np.zeros_like(h) for name, h in self.curvature().items()}
        for picture in patterns[:, 0].numpy():
            for name, h in one.curvature(one.forwards(picture)):
                sums[name] += h
        for name, p in self.net.named_parameters():
            h = torch.from_numpy(sums[name] / len(patterns))
            if name == "c3.weight":
                h = h.view(-1, 5, 5)[self.net.c3.pairs]
            self.state[p]["curvature"] = h.reshape(p.shape)
        self.param_groups[0]["measured_at"] = self.param_groups[0]["learned"]

    @torch.no_grad()
    def learn(self, patterns: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn N×1×32×32 patterns, one after the other.

        Returns the mean loss and the N×10 outputs, each from before its pattern
        was learned.
        """
        one = OnePattern(self.net)
        group = self.param_groups[0]
        steps = {name: group["lr"] / (group["mu"] + h) for name, h in self.curvature().items()}
        losses, outputs = [], np.empty((len(patterns), 10), np.float32)
        pairs = zip(patterns[:, 0].numpy(), labels.tolist(), strict=True)
        with np.errstate(all="ignore"):  # what diverges shows in the loss
            for n, (picture, label) in enumerate(pairs):
                loss, distances, gradient = one.gradient(one.forwards(picture), label)
                losses.append(loss)
                outputs[n] = -distances
                for name, derivative in gradient:
                    derivative *= steps[name]
                    one.parameters[name] -= derivative
        one.finish()
        group["learned"] += len(patterns)
        return torch.tensor(losses, dtype=torch.float32).mean(), torch.from_numpy(outputs)
