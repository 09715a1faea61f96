"""Strips of made-up numbers as the finder gives them: what the network of numbers learns from.

strips = found_strips(pool, 100_000, seed=0, folder="data")
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch

from lenet5.data.finder_pictures import make_textures
from lenet5.data.glyphs import Pool
from lenet5.data.number_pictures import MOST_CHARACTERS, Mix, make_numbers
from lenet5.data.picture_workers import BATCH, kept_in, known_finder, known_pool
from lenet5.imaging.mnist_format import STRIP_HEIGHT
from lenet5.whole_numbers.strips import components, find_numbers, make_strip, writing_in

# Height and width of the pictures of one batch after the other.
SIZES = (
    *((48, 144), (64, 256), (32, 112), (48, 192)),
    *((96, 320), (32, 192), (64, 384), (96, 192)),
)
TEXTURES = 15  # one of so many batches has no writing; prime to the number of sizes
NEAR = np.ones((3, 3), np.uint8)  # a thin stroke may be found a pixel beside
LEAST_FOUND = 0.8  # of each digit's ink: a strip with less of one is not of that number
MIX = Mix(plain=0.4, mnist=0.6, digits=120, zeros=0.1)
GLYPHS = 40_000  # of MNIST's training images; the others are held out


class Strips(NamedTuple):
    """N strips beside each other, the digits of each and where they are."""

    pixels: torch.Tensor  # 32×W uint8
    ends: torch.Tensor  # N: where in these each ends
    digits: torch.Tensor  # N×MOST_CHARACTERS, -1 after the last digit
    middles: torch.Tensor  # the same: the pixel of the strip in the middle of each digit

    def widths(self) -> torch.Tensor:
        return torch.diff(self.ends, prepend=torch.zeros(1, dtype=torch.long))

    def batch(self, places: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """N×32×W uint8 strips, zeros after each one's end; their N widths, digits and middles."""
        widths = self.widths()[places]
        starts = self.ends[places] - widths
        pictures = torch.zeros(len(places), STRIP_HEIGHT, int(widths.max()), dtype=torch.uint8)
        for picture, start, width in zip(pictures, starts.tolist(), widths.tolist(), strict=True):
            picture[:, :width] = self.pixels[:, start : start + width]
        return pictures, widths, self.digits[places], self.middles[places]


def found_strips(pool: Pool, count: int, seed: int, folder) -> Strips:
    """The strips found in `count` pictures, less those that lack most of a digit.

    `folder` keeps them (see `kept_in`).
    """
    found = kept_in(folder, "found-strips", make_batch, pool, count, seed)
    pixels = torch.from_numpy(found["columns"].T.copy())
    ends, digits, middles = found["widths"].cumsum(), found["digits"], found["middles"]
    return Strips(pixels, *map(torch.from_numpy, (ends, digits, middles)))


def make_batch(number: int, seed: int) -> dict[str, np.ndarray]:
    """The strips found in one batch of pictures."""
    size = SIZES[number % len(SIZES)]
    if number % TEXTURES:
        pictures, _, texts, places = make_numbers(known_pool(), BATCH, size, seed, MIX)
    else:
        pictures, texts = make_textures(BATCH, size, seed), [""] * BATCH
        places = torch.zeros(BATCH, *size, dtype=torch.uint8)
    pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    strips = [np.zeros((STRIP_HEIGHT, 0), np.uint8)]  # there may be no other
    digits: list[list[int]] = []
    middles: list[list[int]] = []
    for picture, own, text in zip(pixels, places.numpy(), texts, strict=True):
        amount = writing_in(picture, known_finder(), "auto")
        labels, boxes = components(amount)
        found = find_numbers(boxes, one=True)
        ink = np.isin(labels, found[0] if found else []).astype(np.uint8)
        near = cv2.dilate(cv2.resize(ink, size[::-1], interpolation=cv2.INTER_NEAREST), NEAR)
        if found and has_digits(near > 0, own, len(text)):
            strip = make_strip(amount, labels, boxes, found[0], (1.0, 1.0))
            strips.append(strip.picture)
            rest = [-1] * (MOST_CHARACTERS - len(text))
            digits.append([int(digit) for digit in text] + rest)
            seen = middles_of(own, len(text)) * amount.shape[1] / size[1]
            middles.append(((seen - strip.left) / strip.scale[0]).round().astype(int).tolist() + rest)
    return {
        "columns": np.concatenate([strip.T for strip in strips]),
        "widths": np.array([strip.shape[1] for strip in strips[1:]], np.int64),
        "digits": np.array(digits, np.int64).reshape(-1, MOST_CHARACTERS),
        "middles": np.array(middles, np.int64).reshape(-1, MOST_CHARACTERS),
    }


def middles_of(places: np.ndarray, count: int) -> np.ndarray:
    """The middle column of each of `count` digits in H×W places (see `make_numbers`)."""
    columns = [np.flatnonzero((places == digit + 1).any(axis=0)) for digit in range(count)]
    return np.array([(own[0] + own[-1] + 1) / 2 for own in columns])


def has_digits(found: np.ndarray, places: np.ndarray, count: int) -> bool:
    """Whether H×W pixels that were found have enough of each of `count` digits (see `make_numbers`)."""
    whole, there = (np.bincount(some, minlength=count + 1) for some in (places.ravel(), places[found]))
    return bool((there[1:] >= np.maximum(1, LEAST_FOUND * whole[1:])).all())
