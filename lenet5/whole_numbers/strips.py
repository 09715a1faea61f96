"""Find the numbers in a picture: lines of text in reading order, a strip for each number.

All ink but lines, frames and dust is writing (`ink.py`).
"""

import math
import os
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from lenet5.imaging.centring import BOX_LEVEL, with_full_strength
from lenet5.imaging.ink import find_strokes
from lenet5.imaging.mnist_format import DIGIT_SIDE, STRIP_HEIGHT
from lenet5.imaging.opening import to_gray, upright_picture
from lenet5.imaging.preprocess import DARK_INK, INVERT, SMALLEST, attempt, find_ink, reduced

PAGE_SIDE = 1024  # larger pictures are reduced to this side
DUST = 5  # pixels: a component with no more is no writing
MOST_INK = 0.6  # of a picture's pixels: a component with more is the paper's grain
TALL, SMALL = 3.0, 0.5  # of the usual height of the ink: a component outside is no digit by itself
SPECK = 0.12  # of the usual height: a lower component belongs to no number
NEAR = 0.3  # of the usual height: so near to a number, small pieces of ink belong to it
SAME_LINE = 0.4  # of the lower one of two boxes is as high as the other
NEW_NUMBER = 1.5  # of the usual height: a wider gap is between two numbers
SPACE = 0.5  # of the usual height: so is a gap as wide as a space in print,
OTHERS = 2.5  # if it is so many times as wide as most gaps of its line
MARGIN = 8  # pixels of paper at the ends of a strip
HIGHEST = 30  # pixels of a strip that ink may take
LONGEST = 4096  # pixels of a strip
BROAD = 0.7  # of its height: about as wide is a digit
# Between these, ink is not zoomed: digits of many heights were learned, and zooming blurs them.
AS_IT_IS = 0.85, 1.15


class Strip(NamedTuple):
    """One number, as the network of numbers sees it, and where it is in the picture."""

    picture: np.ndarray  # 32×W uint8, ink bright
    box: list[int]  # x, y, width, height of its ink, in pixels of the picture
    left: float  # where the strip's first pixel begins in the picture, and its first row
    top: float
    scale: tuple[float, float]  # pixels of the picture for one of the strip, across and down

    def in_picture(self, box) -> list[int]:
        """A box in the strip, x, y, width, height, as one in the picture."""
        x, y, width, height = box
        across, down = self.scale
        left, top = self.left + x * across, self.top + y * down
        return [round(left), round(top), max(1, round(width * across)), max(1, round(height * down))]


def numbers_in(source, invert: str = "auto") -> list[Strip]:
    """The numbers in a path, PIL image or array, line by line and from left to right.

    Raises PictureError for what cannot be read.
    """
    image = upright_picture(source)
    small = reduced(image, PAGE_SIDE)
    amount = writing_in(np.asarray(small), DARK_INK[invert])
    across, down = (a / b for a, b in zip(size_of(source, image), small.size, strict=True))
    labels, boxes = components(amount)
    numbers = find_numbers(boxes)
    return [make_strip(amount, labels, boxes, number, (across, down)) for number in numbers]


def all_numbers_in(sources: list, invert: str) -> list[tuple[list[Strip] | None, str | None]]:
    """For each source what `numbers_in` gives, and None; or None, and why it cannot be read."""
    return [attempt(numbers_in, source, invert) for source in sources]


def size_of(source, upright: Image.Image) -> tuple[int, int]:
    """Width and height of the upright picture in its file, which may be decoded at a smaller size."""
    size = upright.size
    if isinstance(source, str | os.PathLike):
        with Image.open(source) as file:
            size = file.size
    elif isinstance(source, Image.Image):
        size = source.size
    lies = (size[0] > size[1]) != (upright.width > upright.height)
    return size[::-1] if lies else size


def writing_in(picture: np.ndarray, dark: bool | None) -> np.ndarray:
    """How much each pixel of an H×W or H×W×3 uint8 picture is writing, H×W float32."""
    if min(picture.shape[:2]) >= SMALLEST:  # room for lines, frames and shadows
        return find_strokes(picture, dark).writing
    gray = np.asarray(to_gray(Image.fromarray(picture))).astype(np.float32)
    found = find_ink(gray, INVERT[dark])
    # The ink itself as it is: what takes the paper's grain away blurs it, and the networks of
    # numbers have learned from noisy strips.
    away = found.paper - gray if found.dark else gray - found.paper
    near = cv2.dilate((found.amount > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.maximum(away, 0) * near


def components(amount: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected pieces of ink: H×W labels, and N×5 boxes (x, y, width, height, pixels).

    Label 0 and box 0 are the paper's.
    """
    strong = np.percentile(amount[amount > 0], 99) if amount.any() else 0.0
    mask = (amount > BOX_LEVEL * strong).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return labels, boxes


def find_numbers(boxes: np.ndarray) -> list[list[int]]:
    """Which of N×5 boxes, of which the first is the paper's, make up each number, in reading order."""
    if boxes[1:, 4].max(initial=0) > MOST_INK * boxes[:, 4].sum():
        return []
    written = [i for i in range(1, len(boxes)) if boxes[i, 4] > DUST]
    if not written:
        return []
    # The height in which most ink is.
    heights = np.repeat(boxes[written, 3], boxes[written, 4])
    usual = float(np.median(heights))
    whole = [i for i in written if SMALL * usual <= boxes[i, 3] <= TALL * usual]
    lines = group_lines(boxes, whole)
    # Smaller pieces belong to the line that they are near to. They come before a line is
    # split, so that a digit in two small pieces leaves no gap.
    gaps = [widest_gap(boxes, line, usual) for line in lines]
    rest = [i for i in written if i not in set(whole) and SPECK * usual < boxes[i, 3] < usual]
    for i in rest:
        away = [distance(boxes, line, i) for line in lines]
        if min(away) < NEAR * usual:
            lines[int(np.argmin(away))].append(i)
    numbers = []
    for line, gap in zip(lines, gaps, strict=True):
        numbers += split_line(boxes, sorted(line, key=lambda i: boxes[i, 0]), gap)
    return numbers


def group_lines(boxes: np.ndarray, chosen: list[int]) -> list[list[int]]:
    """Boxes that are beside each other, line by line from top to bottom, each from left to right.

    A box joins the line whose last box shares most rows with it (as a share of the lower one's
    height), so a line may rise or fall a little from one to the next.
    """
    lines: list[list[int]] = []
    for i in sorted(chosen, key=lambda i: boxes[i, 0]):
        last = boxes[[line[-1] for line in lines]]
        rows = np.minimum(last[:, 1] + last[:, 3], boxes[i, 1] + boxes[i, 3])
        shared = (rows - np.maximum(last[:, 1], boxes[i, 1])) / np.minimum(last[:, 3], boxes[i, 3])
        if shared.max(initial=0) > SAME_LINE:
            lines[shared.argmax()].append(i)
        else:
            lines.append([i])
    return sorted(lines, key=lambda line: float(np.mean(boxes[line, 1] + boxes[line, 3] / 2)))


def widest_gap(boxes: np.ndarray, line: list[int], usual: float) -> float:
    """How wide a gap within a number of this line may be, in pixels."""
    ends = np.maximum.accumulate(boxes[line, 0] + boxes[line, 2])
    gaps = boxes[line, 0][1:] - ends[:-1]
    gaps = gaps[gaps > 0]  # what overlaps may be two pieces of a digit
    if len(gaps) < 3:
        return NEW_NUMBER * usual
    return min(NEW_NUMBER * usual, max(SPACE * usual, OTHERS * float(np.median(gaps))))


def split_line(boxes: np.ndarray, line: list[int], gap: float) -> list[list[int]]:
    """A line's boxes as numbers: a gap wider than so many pixels ends one."""
    ends = np.maximum.accumulate(boxes[line, 0] + boxes[line, 2])
    wide = np.flatnonzero(boxes[line, 0][1:] - ends[:-1] > gap) + 1
    return [part.tolist() for part in np.split(np.array(line), wide)]


def distance(boxes: np.ndarray, line: list[int], i: int) -> float:
    """Pixels between a box and the nearest of a line's, 0 where they overlap."""
    x, y, width, height = boxes[i, :4]
    others = boxes[line]
    across = np.maximum(others[:, 0] - (x + width), x - (others[:, 0] + others[:, 2]))
    down = np.maximum(others[:, 1] - (y + height), y - (others[:, 1] + others[:, 3]))
    return float(np.maximum(np.maximum(across, down), 0).min())


def digit_height(labels: np.ndarray, boxes: np.ndarray, number: list[int]) -> float:
    """How high the digits of a number are, in pixels: the median of the higher half.

    Where several touch and the line rises, their common box is higher than any of them, so a
    box is measured in parts of about a digit's width.
    """
    heights = []
    for i in number:
        x, y, width, height = boxes[i, :4].tolist()
        own = labels[y : y + height, x : x + width] == i
        parts = max(1, round(width / (BROAD * height)))
        for part in range(parts):
            rows = np.flatnonzero(
                own[:, width * part // parts : width * (part + 1) // parts].any(axis=1)
            )
            heights.append(int(rows[-1] - rows[0]) + 1 if rows.size else 0)
    return float(np.median(np.sort(heights)[-((len(heights) + 1) // 2) :]))


def make_strip(
    amount: np.ndarray, labels: np.ndarray, boxes: np.ndarray, number: list[int], scale: tuple
) -> Strip:
    """A number's components at `synthetic_numbers.py`'s digit height, in the middle of 32 rows.

    `scale`: pixels of the picture for one of `amount`, across and down.
    """
    left, top = boxes[number, :2].min(axis=0).tolist()
    right, bottom = (boxes[number, :2] + boxes[number, 2:4]).max(axis=0).tolist()
    height, width = bottom - top, right - left
    zoom = DIGIT_SIDE / digit_height(labels, boxes, number)
    zoom = 1.0 if AS_IT_IS[0] <= zoom <= AS_IT_IS[1] else zoom
    zoom = min(zoom, HIGHEST / height, (LONGEST - 2 * MARGIN) / width)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    # A fringe of two pixels of the strip, so that soft edges come along.
    across, down = width / size[0], height / size[1]
    frame = math.ceil(2 * max(across, down)) + 1
    area = np.s_[max(0, top - frame) : bottom + frame, max(0, left - frame) : right + frame]
    near = cv2.dilate(np.isin(labels[area], number).astype(np.uint8), np.ones((3, 3), np.uint8))
    ink = np.zeros((height + 2 * frame, width + 2 * frame), np.float32)
    y, x = max(0, frame - top), max(0, frame - left)
    own = amount[area] * near
    ink[y : y + own.shape[0], x : x + own.shape[1]] = own
    edges = (frame - 2 * across, frame - 2 * down, frame + width + 2 * across, frame + height + 2 * down)
    small = np.asarray(
        Image.fromarray(ink).resize((size[0] + 4, size[1] + 4), Image.Resampling.HAMMING, box=edges)
    )
    small = with_full_strength(small) if small.any() else small
    strip = np.zeros((STRIP_HEIGHT + 4, size[0] + 2 * MARGIN), np.uint8)
    first = (STRIP_HEIGHT + 4 - small.shape[0]) // 2
    strip[first : first + small.shape[0], MARGIN - 2 : MARGIN - 2 + small.shape[1]] = np.rint(small)
    return Strip(
        strip[2:-2].copy(),
        [round(a * b) for a, b in zip((left, top, width, height), scale * 2, strict=True)],
        (left - MARGIN * across) * scale[0],
        (top - first * down) * scale[1],
        (across * scale[0], down * scale[1]),
    )
