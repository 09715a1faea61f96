"""Strips of made-up numbers as the finder gives them: what the network of numbers learns from.

strips = found_strips(pool, 100_000, seed=0, folder="data")
"""

from typing import NamedTuple

import numpy as np
import torch

from lenet5.data.finder_pictures import make_textures
from lenet5.data.glyphs import Pool
from lenet5.data.number_pictures import MOST_CHARACTERS, make_numbers
from lenet5.data.picture_workers import BATCH, kept_in, known_finder, known_pool
from lenet5.imaging.mnist_format import STRIP_HEIGHT
from lenet5.whole_numbers.strips import components, find_numbers, make_strip, writing_in

# Height and width of the pictures of one batch after the other.
SIZES = ((48, 144), (64, 256), (48, 192), (96, 320), (64, 160), (64, 384), (96, 192))
TEXTURES = 15  # one of so many batches has no writing; prime to the number of sizes
LEAST_FOUND = 0.7  # of a number's writing: a strip with less is not what is written


class Strips(NamedTuple):
    """N strips beside each other and the digits of each."""

    pixels: torch.Tensor  # 32×W uint8
    ends: torch.Tensor  # N: where in these each ends
    digits: torch.Tensor  # N×MOST_CHARACTERS, -1 after the last digit

    def widths(self) -> torch.Tensor:
        return torch.diff(self.ends, prepend=torch.zeros(1, dtype=torch.long))

    def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """N×32×W uint8 strips, zeros after each one's end; their N widths; their digits."""
        widths = self.widths()[places]
        starts = self.ends[places] - widths
        pictures = torch.zeros(len(places), STRIP_HEIGHT, int(widths.max()), dtype=torch.uint8)
        for picture, start, width in zip(pictures, starts.tolist(), widths.tolist(), strict=True):
            picture[:, :width] = self.pixels[:, start : start + width]
        return pictures, widths, self.digits[places]


def found_strips(pool: Pool, count: int, seed: int, folder) -> Strips:
    """The strips found in `count` pictures, less those of which the finder lost some writing.

    `folder` keeps them (see `kept_in`).
    """
    found = kept_in(folder, "found-strips", make_batch, pool, count, seed)
    pixels = torch.from_numpy(found["columns"].T.copy())
    return Strips(pixels, torch.from_numpy(found["widths"].cumsum()), torch.from_numpy(found["digits"]))


def make_batch(number: int, seed: int) -> dict[str, np.ndarray]:
    """The strips found in one batch of pictures."""
    size = SIZES[number % len(SIZES)]
    if number % TEXTURES:
        pictures, masks, texts = make_numbers(known_pool(), BATCH, size, seed)
    else:
        pictures, texts = make_textures(BATCH, size, seed), [""] * BATCH
        masks = torch.zeros(BATCH, 1, *size)
    pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    strips, digits = [], []
    for picture, mask, text in zip(pixels, masks[:, 0].numpy(), texts, strict=True):
        amount = writing_in(picture, known_finder(), "auto")
        labels, boxes = components(amount)
        found = find_numbers(boxes, one=True)
        if found and (not text or share_found(amount, mask) >= LEAST_FOUND):
            strips.append(make_strip(amount, labels, boxes, found[0], (1.0, 1.0)).picture)
            digits.append([int(digit) for digit in text] + [-1] * (MOST_CHARACTERS - len(text)))
    return {
        "columns": np.concatenate([strip.T for strip in strips]),
        "widths": np.array([strip.shape[1] for strip in strips]),
        "digits": np.array(digits),
    }


def share_found(amount: np.ndarray, mask: np.ndarray) -> float:
    """How much of an H×W mask from 0 to 1 is in an amount of ink from 0 to 255."""
    return float(mask[amount > 0].sum() / max(mask.sum(), 1.0))
