"""Clean made-up numbers of pictures of single digits, for benchmarks and tests.

    made = make_strings(mnist.test_images, mnist.test_labels, 1000, seed=0)

A number is a row of digits on one base line in a strip that is 32 pixels high. Digits keep
MNIST's height of about 20 pixels; spacing is measured between the boxes of their ink, which
stay with the number as ground truth.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from lenet5.data.augmentation import warp
from lenet5.imaging.centring import BOX_LEVEL, ROUNDING
from lenet5.imaging.mnist_format import STRIP_HEIGHT

MOST_DIGITS = 10
CLOSEST, FARTHEST = -4, 20  # pixels between the ink of neighbours; below 0 they overlap
ROOM = 4  # pixels around a 28×28 picture, so that slant and size do not cut it off
MARGIN = (4, 13)  # pixels of paper at the ends of a strip: from, and below
NO_DIGIT = -1  # the label of a letter, and of a place after a number's end


class Style(NamedTuple):
    """How numbers are written: how far each of these may go either way."""

    size: float = 0.15  # natural logarithm, of a whole number's digits
    slant: float = 0.25  # how far a row moves sideways for each row further down
    slope: float = 0.05  # of the base line, pixels for a pixel
    base_line: float = 1.0  # pixels, each digit's own way off it
    middle: float = 1.5  # pixels, of the ink's middle off the strip's
    noise: float = 16.0  # gray levels, deviation; every other number has none


PLAIN = Style()


class Strings(NamedTuple):
    """N numbers; those that are shorter than the longest end in paper and NO_DIGIT."""

    pictures: torch.Tensor  # N×32×W uint8, ink bright
    widths: torch.Tensor  # N int64: how much of W is the number's strip
    labels: torch.Tensor  # N×10 int64
    boxes: torch.Tensor  # N×10×4 int64: x, y, width, height of each digit's ink

    def strips(self) -> list[np.ndarray]:
        """Each number as a picture of its own, 32×W uint8."""
        widths = self.widths.tolist()
        return [p[:, :width].numpy() for p, width in zip(self.pictures, widths, strict=True)]

    def middles(self) -> torch.Tensor:
        """The pixel in the middle of each digit's ink, from the left, N×10; 0 after a number's end."""
        return self.boxes[:, :, 0] + self.boxes[:, :, 2] // 2

    def texts(self) -> list[str]:
        """Each number as its digits; what is no digit is left out."""
        return ["".join(str(d) for d in row if d != NO_DIGIT) for row in self.labels.tolist()]


def make_strings(
    images: torch.Tensor,
    labels: torch.Tensor,
    count: int,
    seed: int,
    *,
    lengths: tuple[int, int] = (1, MOST_DIGITS),
    spacing: int | tuple[int, int] | None = None,
    style: Style = PLAIN,
) -> Strings:
    """`count` numbers of N×28×28 uint8 images of digits and their N labels.

    `lengths`: the fewest and the most digits. `spacing`: pixels between digits; or the least and
    the most of every gap by itself; a random one for each number, from -4 to 20, if None. Half of
    the narrower of two digits stays free. The same arguments give the same numbers.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(lengths[0], lengths[1] + 1, count)
    total = int(sizes.sum())
    of_string = np.repeat(np.arange(count), sizes)
    chosen = torch.from_numpy(rng.integers(0, len(images), total))
    drawn = written(images[chosen], of_string, count, style, rng)
    boxes = ink_boxes(drawn)
    if isinstance(spacing, tuple):
        gaps = [rng.integers(spacing[0], spacing[1] + 1, size - 1) for size in sizes]
    else:
        gaps = random_spacing(rng, count) if spacing is None else np.full(count, spacing)
    ends, tops = place(boxes, sizes, gaps, style, rng)
    lefts = ends - boxes[:, 2]
    last = np.cumsum(sizes) - 1
    widths = ends[last] + rng.integers(*MARGIN, count)
    pictures = put_together(drawn, of_string, lefts - boxes[:, 0], tops - boxes[:, 1], widths)
    add_noise(pictures, widths, style.noise, rng)
    places = np.arange(total) - np.repeat(last + 1 - sizes, sizes)  # of each digit in its number
    all_labels = torch.full((count, MOST_DIGITS), NO_DIGIT)
    all_boxes = torch.zeros(count, MOST_DIGITS, 4, dtype=torch.int64)
    all_labels[of_string, places] = labels[chosen].long()
    all_boxes[of_string, places] = torch.from_numpy(np.stack([lefts, tops, boxes[:, 2], boxes[:, 3]], 1))
    return Strings(torch.from_numpy(pictures), torch.from_numpy(widths), all_labels, all_boxes)


def random_spacing(rng: np.random.Generator, count: int) -> np.ndarray:
    """Pixels between neighbours, one for each number: most of them close, where reading is hard."""
    close = rng.integers(CLOSEST, 3, count)
    return np.where(rng.random(count) < 0.7, close, rng.integers(CLOSEST, FARTHEST + 1, count))


def written(glyphs, of_string: np.ndarray, count: int, style: Style, rng) -> np.ndarray:
    """Each of N×28×28 digits in the size and slant of its number, N×36×36 uint8."""
    rng.integers(1 << 62)  # unused: a seed keeps the numbers that it gave in earlier measurements
    pictures = F.pad(glyphs[:, None].float(), (ROOM,) * 4)
    warps = torch.zeros(count, 2, 3)  # from where a pixel goes to where it comes from
    size = torch.from_numpy(np.exp(rng.uniform(-style.size, style.size, count))).float()
    warps[:, 0, 0] = warps[:, 1, 1] = 1 / size
    warps[:, 0, 1] = torch.from_numpy(rng.uniform(-style.slant, style.slant, count)).float() / size
    return warp(pictures, warps[of_string]).squeeze(1).round().clamp(0, 255).byte().numpy()


def put_together(drawn: np.ndarray, of_string, lefts, tops, widths: np.ndarray) -> np.ndarray:
    """The strips of some widths, N×32×W uint8, with the pictures of their digits at these places."""
    # With room on all sides, as a digit's picture may begin outside.
    pictures = np.zeros((len(widths), STRIP_HEIGHT + 48, 4 * math.ceil(widths.max() / 4) + 80), np.uint8)
    side = drawn.shape[1]
    for digit, n, x, y in zip(drawn, of_string, lefts + 40, tops + 18, strict=True):
        part = pictures[n, y : y + side, x : x + side]
        np.maximum(part, digit, out=part)
    return np.ascontiguousarray(pictures[:, 18 : 18 + STRIP_HEIGHT, 40:-40])


def ink_boxes(pictures: np.ndarray) -> np.ndarray:
    """x, y, width, height of the ink in N×H×W uint8 pictures, N×4; 1×1 where there is none.

    What counts as ink is what counts in `centring.bounding_box`.
    """
    strongest = pictures.max(axis=(1, 2), keepdims=True)
    mask = pictures > BOX_LEVEL * strongest.astype(np.float32) + ROUNDING
    boxes = []
    for along in (mask.any(axis=1), mask.any(axis=2)):
        first = along.argmax(axis=1)
        last = along.shape[1] - 1 - along[:, ::-1].argmax(axis=1)
        boxes.append((first, np.where(along.any(axis=1), last - first + 1, 1)))
    (x, width), (y, height) = boxes
    return np.stack([x, y, width, height], axis=1)


def place(boxes: np.ndarray, sizes: np.ndarray, gaps, style: Style, rng) -> tuple:
    """Where the ink of each digit ends to the right, and its top, in the strip of its number."""
    ends, tops, start = np.empty(len(boxes), int), np.empty(len(boxes), int), 0
    slopes = rng.uniform(-style.slope, style.slope, len(sizes))
    middles = STRIP_HEIGHT / 2 + rng.uniform(-style.middle, style.middle, len(sizes))
    off = rng.uniform(-style.base_line, style.base_line, len(boxes))
    for size, gap, slope, middle in zip(sizes, gaps, slopes, middles, strict=True):
        own = slice(start, start + size)
        widths, heights = boxes[own, 2], boxes[own, 3]
        narrower = np.minimum(widths[:-1], widths[1:])
        steps = np.maximum(gap, -(narrower // 2))
        left = int(rng.integers(*MARGIN))
        ends[own] = left + np.cumsum(widths) + np.concatenate([[0], np.cumsum(steps)])
        # A longer number is not to leave the strip: its base line rises 6 pixels at most.
        away = ends[own] - ends[own].mean()
        slope = np.clip(slope, -3 / max(away[-1], 1), 3 / max(away[-1], 1))
        bottoms = slope * away + off[own]
        highest, lowest = (bottoms - heights).min(), bottoms.max()
        bottoms = np.rint(bottoms + middle - (highest + lowest) / 2).astype(int)
        tops[own] = bottoms - heights
        start += size
    return ends, tops


def add_noise(pictures: np.ndarray, widths: np.ndarray, most: float, rng) -> None:
    """Add normal noise to every other one of N×32×W uint8 strips, within its width."""
    for n in np.flatnonzero(rng.random(len(pictures)) < 0.5):
        strip = pictures[n, :, : widths[n]]
        noisy = strip + rng.standard_normal(strip.shape, np.float32) * np.float32(rng.uniform(0, most))
        strip[:] = np.clip(np.rint(noisy), 0, 255)
