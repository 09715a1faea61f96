"""Glyphs as fields of signed distances: MNIST's digits, digits and letters in fonts, skeletons.

    pool = load_pool(load_mnist("data"), seed=0)

A field of signed distances to a glyph's outline (Green, "Improved Alpha-Tested Magnification for
Vector Textures and Special Effects", 2007) gives thin and broad strokes, outlines and sharp edges
at any size.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from lenet5.data.fonts import load_font_digits, load_letters
from lenet5.data.skeletons import BOX, FIELD, SIGNS, sign_fields, skeleton_fields
from lenet5.runtime.project_files import project_file

FONTS = project_file("fonts/glyphs.npz")
MNIST_GLYPHS = 12_000  # in the finder's pool
SKELETON_HANDS, SIGN_HANDS = 900, 40  # that write all ten digits, all signs
REACH = 10  # pixels of a field: distances are exact up to here
FIRST_SIGN = -2  # the label of the first of the SIGNS; the others have lower ones
CHUNK = 2000  # glyphs whose fields are made together


class Pool(NamedTuple):
    """Glyphs to draw: digits in the first places, then letters, scribbles and signs."""

    fields: torch.Tensor  # N×FIELD×FIELD float16, signed distances in pixels, below 0 inside
    labels: torch.Tensor  # N: 0 to 9, -1 for what is no digit, FIRST_SIGN and below for the SIGNS
    is_skeleton: torch.Tensor  # N: a line without width, whose field is never below 0
    widths: torch.Tensor  # N: of the ink, as a share of the longer side of its box

    def digits(self) -> torch.Tensor:
        return (self.labels >= 0).nonzero()[:, 0]

    def hands(self) -> torch.Tensor:
        """The places of the 0 of all ten digits of one font or hand, which stand in order."""
        tens = self.labels.unfold(0, 10, 1)
        return (tens == torch.arange(10)).all(dim=1).nonzero()[:, 0]


def make_pool(mnist, glyphs, letters, hands: int, seed: int) -> Pool:
    """The pool of MNIST's digits, of glyphs in fonts with labels, of letters, and of skeletons.

    `mnist` and `glyphs` are (N×H×W uint8, N labels), `letters` N×H×W uint8; `hands` draw skeletons.
    """
    lines = torch.from_numpy(skeleton_fields(hands, seed)).half()
    signs = torch.from_numpy(sign_fields(SIGN_HANDS, seed)).half()
    parts = [signed_distances(images) for images in (mnist[0], glyphs[0], letters)]
    names = [
        mnist[1],
        glyphs[1],
        torch.arange(10).repeat(hands),
        torch.full((len(letters),), -1),
        (FIRST_SIGN - torch.arange(len(SIGNS))).repeat(SIGN_HANDS),
    ]
    ordered = [*parts[:2], lines, parts[2], signs]
    drawn = [torch.full((len(part),), i in (2, 4)) for i, part in enumerate(ordered)]
    fields = torch.cat(ordered)
    left, right = span((fields < 0.7).any(dim=1))  # a line without width is so wide
    return Pool(fields, torch.cat(names), torch.cat(drawn), (right - left).clamp(min=1) / BOX)


def signed_distances(images: torch.Tensor) -> torch.Tensor:
    """N×FIELD×FIELD float16 fields of N×H×W uint8 glyphs, bright, whose box becomes BOX pixels."""
    return torch.cat([chunk_of_distances(part) for part in images.split(CHUNK)])


def chunk_of_distances(images: torch.Tensor) -> torch.Tensor:
    count, height, width = images.shape
    bright = images.float() / 255
    left, right = span((bright > 0.4).any(dim=1))
    top, bottom = span((bright > 0.4).any(dim=2))
    side = torch.maximum(right - left, bottom - top).clamp(min=1) * FIELD / BOX
    zero = torch.zeros(count)
    across = torch.stack([side / width, zero, (left + right) / width - 1], dim=1)
    down = torch.stack([zero, side / height, (top + bottom) / height - 1], dim=1)
    grid = F.affine_grid(
        torch.stack([across, down], dim=1), [count, 1, FIELD, FIELD], align_corners=False
    )
    bright = F.grid_sample(bright[:, None], grid, mode="bicubic", align_corners=False)[:, 0]
    # The edge of an enlarged pixel is wider than a pixel.
    steep = 2.0 if height < FIELD else 1.0
    bright = ((bright - 0.45) * steep + 0.5).clamp(0, 1)
    inside = bright > 0.5
    away = torch.where(inside, -distances_to(~inside), distances_to(inside))
    # At the edge the level tells the distance to a part of a pixel.
    is_edge = (bright > 0.02) & (bright < 0.98) & (away.abs() <= 1.5)
    return torch.where(is_edge, 0.5 - bright, away - 0.5 * away.sign()).half()


def span(on: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first place that is on in each row of N×K booleans, and the place after the last."""
    return on.int().argmax(dim=1), on.shape[1] - on.int().flip(1).argmax(dim=1)


def distances_to(mask: torch.Tensor) -> torch.Tensor:
    """The distance of each pixel of N×H×W to the nearest one in the mask, at most REACH."""
    far = float(REACH * REACH)
    squared = torch.where(mask, 0.0, far)
    for axis in (1, 2):  # exact in two passes, since squared distances add up
        best = squared.clone()
        for step in range(1, REACH):
            moved = squared + step * step
            length = squared.shape[axis] - step
            for to, source in ((step, 0), (0, step)):
                target = best.narrow(axis, to, length)
                target.copy_(torch.minimum(target, moved.narrow(axis, source, length)))
        squared = best.clamp(max=far)
    return squared.sqrt()


def load_pool(images: torch.Tensor, labels: torch.Tensor, seed: int, count: int = MNIST_GLYPHS) -> Pool:
    """The pool of the first `count` of N×28×28 uint8 MNIST images with labels, and of all else."""
    digits = images[:count], labels[:count]
    return make_pool(digits, load_font_digits(FONTS), load_letters(FONTS), SKELETON_HANDS, seed)


def save_pool(pool: Pool, folder: Path) -> None:
    """Write a pool as arrays that other processes map into their memory."""
    for name, part in pool._asdict().items():
        np.save(folder / f"pool_{name}.npy", part.numpy())


def open_pool(folder: Path) -> Pool:
    """The pool in a folder, mapped."""
    parts = (np.load(folder / f"pool_{name}.npy", mmap_mode="c") for name in Pool._fields)
    return Pool(*map(torch.from_numpy, parts))
