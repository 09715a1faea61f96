"""Digits of made-up pictures as the finder gives them: what a reader of any picture learns from.

images, labels = found_digits(pool, 100_000, seed=0, folder="data")
"""

import numpy as np
import torch
from PIL import Image

from lenet5.data.finder_pictures import make_pictures, make_textures
from lenet5.data.glyphs import Pool
from lenet5.data.picture_workers import BATCH, kept_in, known_finder, known_pool
from lenet5.imaging.centring import centre_digit
from lenet5.imaging.mnist_format import SIDE
from lenet5.imaging.preprocess import find_ink, view_of

# Height and width of the pictures of one batch after the other.
SIZES = ((96, 96), (96, 64), (64, 96), (96, 96), (128, 128), (96, 48), (96, 96), (64, 64), (96, 64))
TEXTURES = 14  # one of so many batches has no writing; prime to the number of sizes
LEAST_OVERLAP = 0.5  # of what was found of a digit with all of its ink, both centred and coarse
COARSE = 4  # pixels a side of a coarse one: the stroke's width and a shift hardly count


def found_digits(pool: Pool, count: int, seed: int, folder) -> tuple[torch.Tensor, torch.Tensor]:
    """N×28×28 uint8 images and N labels, -1 for non-digits, of the ink found in `count` pictures.

    A digit of which hardly anything is found is none. `folder` keeps them (see `kept_in`).
    """
    found = kept_in(folder, "found-digits", make_batch, pool, count, seed)
    return torch.from_numpy(found["images"][:count]), torch.from_numpy(found["labels"][:count])


def make_batch(number: int, seed: int) -> dict[str, np.ndarray]:
    """The digits found in one batch of pictures, and their labels."""
    size = SIZES[number % len(SIZES)]
    if number % TEXTURES:
        pictures, masks, labels = make_pictures(known_pool(), BATCH, size, seed)
    else:
        pictures, labels = make_textures(BATCH, size, seed), torch.full((BATCH,), -1)
        masks = torch.zeros(BATCH, 1, *size)
    pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    views = [view_of(Image.fromarray(picture)) for picture in pixels]
    digits = np.stack([found.digit for found in find_ink(views, known_finder())])
    truth = np.stack([centre_digit(255 * mask) for mask in masks[:, 0].numpy()])
    lost = overlap(digits, truth) < LEAST_OVERLAP
    return {"images": digits, "labels": np.where(lost, -1, labels.numpy())}


def overlap(digits: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The Dice coefficients of N×28×28 uint8 digits and others, both coarse: N numbers from 0 to 1."""
    side = SIDE // COARSE
    one, other = (
        part.reshape(-1, side, COARSE, side, COARSE).sum(axis=(2, 4), dtype=np.float64)
        for part in (digits, others)
    )
    both = np.minimum(one, other).sum(axis=(1, 2))
    return 2 * both / np.maximum((one + other).sum(axis=(1, 2)), 1)
