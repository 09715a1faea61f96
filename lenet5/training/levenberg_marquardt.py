"""Stochastic diagonal Levenberg-Marquardt, the paper's optimiser (appendix C).

The derivatives are written out by hand. The second derivatives take the same way
back through the network as the gradient, with every factor squared.
"""

import math

import numpy as np
import torch

from lenet5.networks.lenet1998 import AMPLITUDE, RUBBISH, STEEPNESS, LeNet1998, slope
from lenet5.training.epoch_plan import EpochPlan


def as_arrays(net: LeNet1998, tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """A tensor for each parameter as `OnePattern` has them, in the same memory but for C3's kernels.

    Biases have one dimension, all else two; C3's kernels are 16×150, with zeros between.
    """
    arrays = {}
    for name, tensor in tensors.items():
        array = (net.c3.dense(tensor) if name == "c3.weight" else tensor).detach().numpy()
        arrays[name] = array if name.endswith("bias") else array.reshape(len(array), -1)
    return arrays


class OnePattern:
    """The network and its derivatives for one pattern at a time, in NumPy.

    The parameters are those of a LeNet1998 on the CPU, in the same memory (but for C3's
    kernels, which `finish` gives back). Maps are rows: the states of C1 are 6×784, those of F6
    84. With one pattern at a time PyTorch spends nearly all its time on getting into and out
    of its operations; this takes a seventh of the time (python benchmarks/one_pattern.py, an
    AMD EPYC).

    `backward` takes derivatives from F6 back to every parameter. With power 1 they are the
    gradient. With power 2 they are the second derivatives of appendix C, which take the same
    way with each factor squared; what couples two different units is left out.
    """

    def __init__(self, net: LeNet1998):
        self.net = net
        self.parameters = as_arrays(net, dict(net.named_parameters()))
        self.exist3 = as_arrays(net, {"c3.weight": torch.ones_like(net.c3.weight)})["c3.weight"]
        self.bitmaps = net.output.bitmaps.numpy()
        # Where in the states below the units of C1 and C3 find their inputs: 25×784, 150×100.
        self.windows0, self.windows2 = windows(1, 32), windows(6, 14)

    def finish(self) -> None:
        """Write C3's kernels back to the network."""
        with torch.no_grad():
            dense = torch.from_numpy(self.parameters["c3.weight"])
            self.net.c3.weight.copy_(self.net.c3.kernels(dense))

    def forward(self, picture: np.ndarray) -> tuple:
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
        return loss, distances, self.backward(states, 2 * (towards @ away), power=1)

    def curvature(self, states: tuple):
        """Parameter by parameter, the second derivatives of appendix C, none of them negative.

        At F6, where the way back begins, they are exact: d²/dx² of
        y_D + log(e^-j + Σ e^-y_i), where dy_i/dx = 2·away_i and d²y_i/dx² = 2.
        """
        away, _, shares = self.outputs(states[-1])
        spread = shares @ (away * away) - np.square(shares @ away)
        return self.backward(states, 2 * (1 - shares.sum()) + 4 * spread, power=2)

    def backward(self, states: tuple, delta: np.ndarray, power: int):
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

    Each parameter has a step size of its own, lr / (mu + h), where h is its second derivative,
    the mean over PATTERNS patterns before each pass.

    Two things are not the paper's; docs/experiments.md has the trials. The initial weights make
    the states smaller from layer to layer, so that F6's are some thousandths, and second
    derivatives measured there are 100 and more times too small as soon as the network has
    begun to learn. So h is measured anew every 100 patterns while the first EARLY are learned.
    Even so, the published lr of 0.0005 to 0.00001 ends with saturated units: 60,000 parameters
    that each correct the same error by a share of lr correct it by 30 times too much in all.
    --recipe 1998 takes a fifth of each.
    """

    ARCH = LeNet1998.arch  # the network whose derivatives OnePattern has
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
        named = self.net.named_parameters()
        return as_arrays(self.net, {name: self.state[p]["curvature"] for name, p in named})

    def measure_curvature(self, patterns: torch.Tensor) -> None:
        """Set h to the mean second derivative over N×1×32×32 patterns."""
        one = OnePattern(self.net)
        sums = {name: np.zeros_like(array) for name, array in one.parameters.items()}
        for picture in patterns[:, 0].numpy():
            for name, h in one.curvature(one.forward(picture)):
                sums[name] += h
        for name, p in self.net.named_parameters():
            h = torch.from_numpy(sums[name] / len(patterns))
            h = self.net.c3.kernels(h) if name == "c3.weight" else h
            self.state[p]["curvature"] = h.reshape(p.shape)
        self.param_groups[0]["measured_at"] = self.param_groups[0]["learned"]

    def step_batch(self, plan: EpochPlan, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn the patterns at these rows of an epoch's order; measures h first where it is due.

        Returns the mean loss and the N×10 outputs.
        """
        if self.is_due(begins_pass=rows.start == 0):
            following = plan.order[rows.start : rows.start + self.PATTERNS]
            self.measure_curvature(plan.inputs[following])
        return self.learn(plan.batch(rows), plan.labels[plan.order[rows]])

    @torch.no_grad()
    def learn(self, patterns: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn N×1×32×32 patterns, one after the other.

        Returns the mean loss and the N×10 outputs, each from before its pattern was learned.
        """
        one = OnePattern(self.net)
        group = self.param_groups[0]
        steps = {name: group["lr"] / (group["mu"] + h) for name, h in self.curvature().items()}
        losses, outputs = [], np.empty((len(patterns), 10), np.float32)
        pairs = zip(patterns[:, 0].numpy(), labels.tolist(), strict=True)
        with np.errstate(all="ignore"):  # what diverges shows in the loss
            for n, (picture, label) in enumerate(pairs):
                loss, distances, gradient = one.gradient(one.forward(picture), label)
                losses.append(loss)
                outputs[n] = -distances
                for name, derivative in gradient:
                    derivative *= steps[name]
                    one.parameters[name] -= derivative
        one.finish()
        group["learned"] += len(patterns)
        return torch.tensor(losses, dtype=torch.float32).mean(), torch.from_numpy(outputs)
