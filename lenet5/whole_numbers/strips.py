"""Find the numbers in a picture: lines of text in reading order, a strip for each number.

The finder (networks/finder.py) tells what is writing.
"""

import contextlib
import io
import math
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from lenet5.imaging.centring import BOX_LEVEL, with_full_strength
from lenet5.imaging.mnist_format import DIGIT_SIDE, STRIP_HEIGHT
from lenet5.imaging.opening import in_memory, path_of, upright_picture
from lenet5.imaging.preprocess import (
    LEAST_WRITING,
    LOOKS,
    Finder,
    at_true_ratio,
    attempt,
    ink_of,
    reduced,
    seen_at,
)
from lenet5.runtime.errors import without_warnings

WRITING_SIDE = 384  # pixels: the longer side of what the finder sees first
SHORTEST = 80  # pixels of the shorter side of that, if the longer one allows it
# Pixels of writing: the finder learned it from 20 to 90 high, and narrow gaps need some. It looks again
# if it saw less than 1 / CLOSE of that, or CLOSE times as much.
BEST_HEIGHT, CLOSE = 48, 1.7
MOST_WRITING = 1024  # pixels: the longer side of what the finder sees later
MOST_ZOOM = 4.0
PAGE_SIDE = 1024  # larger pictures are reduced to this side
SURE = 0.5  # of the strongest ink: somewhere in it, each piece of writing has more
DUST = 5  # pixels: a component with no more is no writing
TALL, SMALL = 3.0, 0.5  # of the usual height of the ink: a component outside is no digit by itself
SPECK = 0.12  # of the usual height: a lower component belongs to no number
# Of the usual height: so near to a number, small pieces of ink belong to it. A monospaced point stands
# half a digit's width away.
NEAR, NEAR_BESIDE = 0.3, 0.6
SAME_LINE = 0.4  # of the lower one of two boxes is as high as the other
NEW_NUMBER = 1.5  # of the usual height: a wider gap is between two numbers
SPACE = 1.0  # of the usual height: so is a narrower one down to this,
OTHERS = 2.5  # if it is so many times as wide as most gaps of its line
MARGIN = 8  # pixels of paper at the ends of a strip
HIGHEST = 30  # pixels of a strip that ink may take
LONGEST = 4096  # pixels of a strip
BROAD = 0.7  # of its height: about as wide is a digit


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


class Page(NamedTuple):
    """A picture in which numbers are looked for."""

    picture: np.ndarray  # H×W×3 uint8, at most PAGE_SIDE
    scale: tuple[float, float]  # pixels of the file for one of it, across and down


def prepare_pages(sources: Iterable, invert: str = "auto") -> list[tuple[Page | None, str | None]]:
    """The page of each source, and None; or None, and why it cannot be read. Needs no network."""
    return [attempt(open_page, source) for source in sources]


def open_page(source) -> Page:
    """Any source that `open_picture` knows, decoded and reduced. Raises PictureError."""
    source = in_memory(source)
    image = upright_picture(source)
    small = reduced(image, PAGE_SIDE).convert("RGB")
    across, down = (a / b for a, b in zip(size_of(source, image), small.size, strict=True))
    return Page(np.asarray(small), (across, down))


def numbers_in(source, find: Finder, invert: str = "auto") -> list[Strip]:
    """The numbers in a path, PIL image or array, as `numbers_on` gives them. Raises PictureError."""
    return numbers_on(open_page(source), find, invert)


def numbers_on(page: Page, find: Finder, invert: str = "auto", one: bool = False) -> list[Strip]:
    """The numbers on a page, line by line and from left to right.

    If it holds `one`, that is all that stands in the line with most ink.
    """
    amount = writing_in(page.picture, find, invert)
    labels, boxes = components(amount)
    across, down = (a / b for a, b in zip(page.picture.shape[1::-1], amount.shape[::-1], strict=True))
    scale = across * page.scale[0], down * page.scale[1]
    return [make_strip(amount, labels, boxes, number, scale) for number in find_numbers(boxes, one)]


def size_of(source, upright: Image.Image) -> tuple[int, int]:
    """Width and height of the upright picture in its file, which may be decoded at a smaller size."""
    size, path = upright.size, path_of(source)
    if path is not None or isinstance(source, bytes):
        with (
            contextlib.suppress(Image.UnidentifiedImageError),  # HEIC, which is not reduced in decoding
            without_warnings(),
            Image.open(path or io.BytesIO(source)) as file,
        ):
            size = file.size
    elif isinstance(source, Image.Image):
        size = source.size
    lies = (size[0] > size[1]) != (upright.width > upright.height)
    return size[::-1] if lies else size


def writing_in(picture: np.ndarray, find: Finder, invert: str) -> np.ndarray:
    """The writing in a H×W×3 uint8 picture, float32 from 0 to 255, in as many pixels as the finder saw.

    The finder looks again in more or fewer pixels where the writing is much lower or higher than
    BEST_HEIGHT.
    """
    height, width = picture.shape[:2]
    scale = min(WRITING_SIDE / max(height, width), max(1.0, SHORTEST / min(height, width)))
    image = Image.fromarray(picture)
    for _ in range(LOOKS):
        seen = seen_at(image, scale)
        found = find(seen.transpose(2, 0, 1)[None])[0, 1]
        writing = ink_of(found, seen, invert, LEAST_WRITING)
        high = usual_height(components(writing)[1]) or BEST_HEIGHT
        better = min(scale * BEST_HEIGHT / high, MOST_WRITING / max(height, width), MOST_ZOOM)
        if 1 / CLOSE < better / scale < CLOSE:
            break
        scale = better
    return at_true_ratio(picture, writing)


def components(amount: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected pieces of ink: H×W labels, and N×5 boxes (x, y, width, height, pixels).

    Label 0 and box 0 are the paper's. A piece that is faint everywhere, such as a dark corner of the
    paper, has no pixels.
    """
    strong = np.percentile(amount[amount > 0], 99) if amount.any() else 0.0
    mask = (amount > BOX_LEVEL * strong).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes[np.bincount(labels[amount > SURE * strong], minlength=len(boxes)) == 0, 4] = 0
    return labels, boxes


def usual_height(boxes: np.ndarray) -> float:
    """The height of N×5 boxes in which most ink is; 0 if there is none but the paper's.

    Of a box no more ink counts than would fill a square of its height: a long stain is no writing.
    """
    written = boxes[1:][boxes[1:, 4] > DUST]
    heights = written[:, 3]
    ink = np.minimum(written[:, 4], heights**2)
    return float(np.median(np.repeat(heights, ink))) if len(written) else 0.0


def find_numbers(boxes: np.ndarray, one: bool = False) -> list[list[int]]:
    """Which of N×5 boxes, of which the first is the paper's, make up each number, in reading order."""
    written = [i for i in range(1, len(boxes)) if boxes[i, 4] > DUST]
    if not written:
        return []
    usual = usual_height(boxes)
    whole = [i for i in written if SMALL * usual <= boxes[i, 3] <= TALL * usual]
    lines = group_lines(boxes, whole)
    # Smaller pieces belong to the line that they are near to. They come before a line is
    # split, so that a digit in two small pieces leaves no gap.
    gaps = [widest_gap(boxes, line, usual) for line in lines]
    rest = [i for i in written if i not in set(whole) and SPECK * usual < boxes[i, 3] < usual]
    for i in rest:
        away = [distance(boxes, line, i, usual) for line in lines]
        if min(away) < 1:
            lines[int(np.argmin(away))].append(i)
    if one:
        most = max(lines, key=lambda line: int(boxes[line, 4].sum()))
        return [sorted(most, key=lambda i: boxes[i, 0])]
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


def distance(boxes: np.ndarray, line: list[int], i: int, usual: float) -> float:
    """How far a box is from the nearest of a line's: 0 where they overlap, 1 where it is not near."""
    x, y, width, height = boxes[i, :4]
    others = boxes[line]
    across = np.maximum(others[:, 0] - (x + width), x - (others[:, 0] + others[:, 2]))
    down = np.maximum(others[:, 1] - (y + height), y - (others[:, 1] + others[:, 3]))
    return float(np.maximum(np.maximum(across / NEAR_BESIDE, down / NEAR), 0).min() / usual)


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
    """A number's components at the height of MNIST's digits, in the middle of 32 rows.

    `scale`: pixels of the picture for one of `amount`, across and down.
    """
    left, top = boxes[number, :2].min(axis=0).tolist()
    right, bottom = (boxes[number, :2] + boxes[number, 2:4]).max(axis=0).tolist()
    height, width = bottom - top, right - left
    zoom = DIGIT_SIDE / digit_height(labels, boxes, number)
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
