"""Scale and centre a digit's ink as MNIST does."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from lenet5.imaging.mnist_format import DIGIT_SIDE, INK, MIDDLE, SIDE

BOX_LEVEL = 0.2  # of the strongest ink: what belongs to the bounding box
ROUNDING = 0.01  # gray levels: ink at just that level is out of the box, however it was rounded
FRINGE = 2  # pixels of 28×28 around the box in which fainter ink is kept
PLACES = np.arange(SIDE)  # of rows and columns


def bounding_box(amount: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the ink (right and bottom exclusive), or None if there is none."""
    mask = amount > BOX_LEVEL * amount.max() + ROUNDING
    (rows,), (columns,) = mask.any(1).nonzero(), mask.any(0).nonzero()
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def centre_digit(amount: np.ndarray) -> np.ndarray:
    """Ink of any size as MNIST has it: 28×28 uint8, all 0 where there is no ink.

    The longer side of the bounding box becomes 20 pixels, and the centre of
    mass comes to within half a pixel of the middle.
    """
    box = bounding_box(amount)
    if box is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    left, top, right, bottom = box
    scale = DIGIT_SIDE / max(right - left, bottom - top)
    width, height = (max(1, round(side * scale)) for side in (right - left, bottom - top))
    # The fringe in pixels of the picture, and a frame of background in which it has room.
    across, down = FRINGE * (right - left) / width, FRINGE * (bottom - top) / height
    frame = math.ceil(max(across, down))
    framed = np.zeros([side + 2 * frame for side in amount.shape], amount.dtype)
    framed[frame:-frame, frame:-frame] = amount
    start, end = (
        (frame + left - across, frame + top - down),
        (frame + right + across, frame + bottom + down),
    )
    if scale == 1:
        digit = framed[int(start[1]) : int(end[1]), int(start[0]) : int(end[0])]
    else:
        size = width + 2 * FRINGE, height + 2 * FRINGE
        image = Image.fromarray(framed).resize(size, Image.Resampling.HAMMING, box=(*start, *end))
        digit = np.asarray(image)
    return put_in_middle(with_full_strength(digit))


def with_full_strength(ink: np.ndarray) -> np.ndarray:
    """Ink, float32 of any shape and not all 0, as strong as MNIST's: 0 to 255."""
    strong = ink[ink > ink.max() / 2]
    strong.sort()
    # np.percentile(strong, 90), which takes five times as long for so few numbers.
    place = 0.9 * (len(strong) - 1)
    below = int(place)
    level, above = float(strong[below]), float(strong[min(below + 1, len(strong) - 1)])
    level += (place - below) * (above - level)
    return np.minimum(ink * np.float32(INK / level), 255)


def put_in_middle(digit: np.ndarray) -> np.ndarray:
    """A digit of at most 24×24 in 28×28 uint8, moved by whole pixels so that its mass is central.

    The digit's box stays inside; its fringe may be cut off.
    """
    height, width = digit.shape
    mass = float(digit.sum())
    row = float(digit.sum(1) @ PLACES[:height]) / mass
    column = float(digit.sum(0) @ PLACES[:width]) / mass
    side = SIDE + 2 * FRINGE  # room for the fringe, cut off below
    top = min(max(round(MIDDLE - row) + FRINGE, 0), side - height)
    left = min(max(round(MIDDLE - column) + FRINGE, 0), side - width)
    picture = np.zeros((side, side), np.uint8)
    picture[top : top + height, left : left + width] = np.rint(digit)
    return picture[FRINGE:-FRINGE, FRINGE:-FRINGE].copy()
