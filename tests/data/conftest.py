"""Glyphs for tests of made-up pictures."""

import torch

from lenet5.data.glyphs import FIRST_SIGN, Pool
from lenet5.data.skeletons import BOX, SIGNS, sign_fields, skeleton_fields


def small_pool() -> Pool:
    """Digits as if of MNIST, of two hands, "letters" and the signs of one hand: all skeletons."""
    fields = torch.from_numpy(skeleton_fields(4, seed=0)).half()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    parts = [fields[:10][order], fields[10:30], fields[30:], torch.from_numpy(sign_fields(1, 0)).half()]
    names = [
        order,
        torch.arange(10).repeat(2),
        torch.full((10,), -1),
        FIRST_SIGN - torch.arange(len(SIGNS)),
    ]
    every = torch.cat(parts)
    widths = (every < 0.7).any(dim=1).sum(dim=1) / BOX
    return Pool(every, torch.cat(names), torch.ones(len(every), dtype=torch.bool), widths)
