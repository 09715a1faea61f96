"""Exponential moving average of weights."""

import copy

import torch
from torch import nn


class EMA:
    """A copy of a network whose weights are an exponential moving average of the other's.

    The mean of the steps around a minimum lies nearer to it than any of them (Polyak and
    Juditsky, 1992; Izmailov et al., "Averaging Weights Leads to Wider Optima", 2018). A
    `decay` of 0.999 averages over about 1,000 steps. It is smaller during the first steps,
    so that the initial weights are soon forgotten. Buffers are copied.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.net, self.decay, self.steps = copy.deepcopy(net), decay, 0

    @torch.no_grad()
    def add(self, net: nn.Module) -> None:
        """Add the weights after a step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for mean, weight in zip(self.net.parameters(), net.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for mine, theirs in zip(self.net.buffers(), net.buffers(), strict=True):
            mine.copy_(theirs)
