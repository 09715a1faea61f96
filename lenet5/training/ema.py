"""Exponential moving average of weights."""

import copy

import torch
from torch import nn


class EMA:
    """A copy of a network whose weights are an exponential moving average of the other's.

    The mean of the steps around a minimum lies nearer to it than any of them
    (Polyak and Juditsky, 1992; Izmailov et al., "Averaging Weights Leads to
    Wider Optima", 2018). `decay` is the share that the mean keeps in a step:
    0.999 averages over about 1,000 steps. Early on it keeps less, so that the
    first weights are soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.net, self.decay, self.steps = copy.deepcopy(net), decay, 0

    @torch.no_grad()
    def add(self, net: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for mine, theirs in zip(self.net.parameters(), net.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)
        for mine, theirs in zip(self.net.buffers(), net.buffers(), strict=True):
            mine.copy_(theirs)
