"""Any picture to what the network was trained on: ink bright, centred as in MNIST.

MNIST's digits were made in three steps: the ink's bounding box was scaled to fit 20×20 pixels
with its aspect ratio kept, the box was put into 28×28 so that the centre of mass of the ink is
in the middle, and ink is bright on a black background (Bottou et al., 1994; LeCun et al., 1998,
section III.A). Any picture goes through the same steps here, and MNIST's own come out unchanged.

    open_picture   a file to a PIL image
    upright        any mode, orientation, transparency or depth to 8-bit colour or gray
    find_strokes   (in ink.py) the digit's ink under uneven light, without lines, frame and dust
    find_ink       the ink in a small picture, which has no room for any of that
    centre_digit   bounding box to 20×20, centre of mass to the middle of 28×28
    mnist_like     all of these; `steps` gives each
    all_mnist_like the same of many pictures, in less time
    to_input       a batch of 28×28 pictures to the network's N×1×32×32 input
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from lenet5.imaging.centring import bounding_box, centre_digit
from lenet5.imaging.opening import WORKING_SIDE, PictureError, to_gray, upright_picture

SMALLEST = 48  # pixels of the shorter side, below which a picture has only paper and ink
BLANK_CONTRAST = 8.0  # gray levels; below it nothing in a picture counts as ink
STRONG_CONTRAST = 100.0  # gray levels, more than noise has
TINY = 20  # pixels of the shorter side, below which strokes are as narrow as grains
MOST_NOISE = 0.15  # of a picture's contrast; where the border varies more, ink may be in it
TWO_LEVELS = 0.72  # of the variance, between ink and paper
AT_ONCE = 256  # small pictures whose ink is found together
Attempt = tuple[np.ndarray | None, str | None]  # a digit and None; or None and the reason
DARK_INK = {"auto": None, "yes": True, "no": False}  # the values of `invert`
INVERT = {dark: invert for invert, dark in DARK_INK.items()}


class Ink(NamedTuple):
    """How much each pixel of a picture is ink, and what was found on the way."""

    amount: np.ndarray  # H×W float32, gray levels away from the paper, 0 where it is paper
    paper: float  # gray level of the background, 0 to 255
    dark: bool  # whether the ink is darker than the paper


def find_ink(gray: np.ndarray, invert: str = "auto") -> Ink:
    """The ink in an H×W picture (0 to 255): see `find_inks`."""
    amounts, papers, darks = find_inks(gray[None], invert)
    return Ink(amounts[0], float(papers[0]), bool(darks[0]))


def find_inks(grays: np.ndarray, invert: str = "auto") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ink in each of N×H×W pictures (0 to 255): the fields of `Ink`, N×H×W, N and N.

    The paper's level is the median of the border. With `invert="auto"` the ink is on the side
    with more energy (the sum of the squared deviations, in which noise on both sides cancels
    out); `"yes"` means dark ink, `"no"` bright ink. Deviations within the border's noise are no ink.
    """
    count, height, width = grays.shape
    shorter = min(height, width)
    rim = max(1, shorter // 28)
    strips = grays[:, :rim], grays[:, -rim:], grays[:, :, :rim], grays[:, :, -rim:]
    borders = np.concatenate([strip.reshape(count, -1) for strip in strips], axis=1)
    papers = np.median(borders, axis=1).astype(np.float64)
    # 1.4826 times the median absolute deviation is the standard deviation of normal noise.
    noises = 1.4826 * np.median(np.abs(borders - papers[:, None]), axis=1)
    levels = grays.reshape(count, -1).astype(np.float32)
    for i, gray in enumerate(grays):
        if noises[i] == 0 and shorter >= TINY:
            continue
        is_doubtful = shorter < TINY or noises[i] > MOST_NOISE * float(np.ptp(gray))
        if is_doubtful and has_two_levels(gray):
            papers[i], noises[i] = paper_beside_ink(gray, borders[i], invert)
        elif noises[i] > 0 and shorter > 2 * rim + 2:
            image = Image.fromarray(gray.astype(np.uint8)).filter(ImageFilter.MedianFilter(3))
            levels[i] = np.asarray(image).ravel()
    levels -= papers.astype(np.float32)[:, None]
    bright, dark = np.maximum(levels, 0), np.maximum(-levels, 0)
    if invert == "auto":
        darks = np.square(dark).sum(axis=1) > np.square(bright).sum(axis=1)
    else:
        darks = np.full(count, invert == "yes")
    amounts = np.where(darks[:, None], dark, bright)
    amounts *= amounts >= (3 * noises).astype(np.float32)[:, None]
    amounts[amounts.max(axis=1) < BLANK_CONTRAST] = 0
    return amounts.reshape(grays.shape), papers, darks


def has_two_levels(gray: np.ndarray) -> bool:
    """Whether a picture's levels are two groups, paper and ink, rather than the grain of one.

    Otsu's criterion ("A threshold selection method from gray-level histograms", 1979): the share
    of the variance between the groups, here those above and below the middle level. Normal
    grain has 0.64.
    """
    values = gray.astype(np.float32).ravel()
    low, high = np.percentile(values, (5, 95))
    is_high = values > (low + high) / 2
    if is_high.all() or not is_high.any():
        return False
    apart = values[is_high].mean() - values[~is_high].mean()
    between = is_high.mean() * (1 - is_high.mean()) * apart**2
    return bool(between > TWO_LEVELS * values.var())


def paper_beside_ink(gray: np.ndarray, border: np.ndarray, invert: str) -> tuple[float, float]:
    """The paper's level and its noise's deviation where ink covers much of the border.

    The paper is the end of the picture's levels nearer to the corners, which few digits reach,
    unless `invert` says which.
    """
    low, high = (float(level) for level in np.percentile(gray, (5, 95)))
    middle = (low + high) / 2
    corners = float(gray[[0, 0, -1, -1], [0, -1, 0, -1]].astype(np.float32).mean())
    bright = corners > middle if invert == "auto" else invert == "yes"
    on_paper = border[(border > middle) == bright]
    if not on_paper.size:
        return (high if bright else low), 0.0
    # Ink's soft edges are all on one side of the paper's level, so the other side shows it and
    # its noise: the median of a normal distribution's outer quarter is 0.48 deviations beyond
    # the quartile.
    paper = float(np.percentile(on_paper, 75 if bright else 25))
    beyond = on_paper[on_paper >= paper] if bright else on_paper[on_paper <= paper]
    return paper, float(np.median(np.abs(beyond - paper))) / 0.48


class Steps(NamedTuple):
    """A picture at each step on its way to the network."""

    picture: np.ndarray  # H×W or H×W×3 uint8, upright and reduced
    everything: np.ndarray  # H×W float32, 0 to 255: all ink on the paper
    ink: np.ndarray  # h×w float32, the digit's ink, perhaps seen from near
    digit: np.ndarray  # 28×28 uint8, as MNIST has it
    dark: bool  # whether the ink is darker than the paper


def mnist_like(source, invert: str = "auto") -> np.ndarray:
    """A picture from anywhere as MNIST would have it: 28×28 uint8, ink bright.

    `source` is a path, a PIL image or an array (see `open_picture`); `invert` is "auto", "yes"
    (the ink is dark) or "no" (the ink is bright). A blank picture gives zeros only. Raises
    PictureError for a picture that cannot be read.
    """
    return steps(source, invert).digit


def attempt(work: Callable, *arguments) -> tuple:
    """The result of `work(*arguments)` and None; or None and why a picture cannot be read."""
    try:
        return work(*arguments), None
    except PictureError as error:
        return None, str(error)
    except MemoryError:
        return None, "this machine has not enough memory for it"


def all_mnist_like(sources: Iterable, invert: str = "auto") -> list[Attempt]:
    """The digit of each source, as from `mnist_like`, and None; or None and the reason.

    Faster than one by one, since the ink of small pictures of one size is found together.
    """
    found: list[Attempt] = []
    sources = iter(sources)
    while some := list(itertools.islice(sources, AT_ONCE)):
        found += all_at_once(some, invert)
    return found


def all_at_once(sources: list, invert: str) -> list[Attempt]:
    """`all_mnist_like` of at most AT_ONCE sources."""
    found: list[Attempt] = []
    small = defaultdict(list)  # by size: the places of pictures, and their levels
    for place, source in enumerate(sources):
        digit = None
        image, error = attempt(upright_picture, source)
        if error is None and min(image.size) < SMALLEST and reduction(image.size) == 1:
            small[image.size].append((place, np.asarray(to_gray(image))))
        elif error is None:
            digit, error = attempt(lambda image: steps_of(image, invert).digit, image)
        found.append((digit, error))
    for group in small.values():
        places, grays = zip(*group, strict=True)
        amounts, error = attempt(lambda grays: find_inks(np.stack(grays), invert)[0], grays)
        for i, place in enumerate(places):
            found[place] = (None if amounts is None else centre_digit(amounts[i]), error)
    return found


def steps(source, invert: str = "auto") -> Steps:
    """The steps of `mnist_like`."""
    return steps_of(upright_picture(source), invert)


def steps_of(image: Image.Image, invert: str) -> Steps:
    """The steps of an upright picture."""
    picture = np.asarray(reduced(image))
    everything, amount, dark = ink_in(picture, DARK_INK[invert])
    near = from_near(image, amount, dark)
    return Steps(picture, everything, near, centre_digit(near), dark)


def ink_in(picture: np.ndarray, dark: bool | None, within: np.ndarray | None = None) -> tuple:
    """All ink in a reduced picture, the digit's ink (both H×W float32), and whether it is dark."""
    strokes = None
    if min(picture.shape[:2]) >= SMALLEST:  # room for lines, frames and shadows
        from lenet5.imaging.ink import find_strokes  # imports OpenCV

        strokes = find_strokes(picture, dark, within)
        if strokes.amount.any():
            return strokes.everything, strokes.amount, strokes.dark
    gray = np.asarray(to_gray(Image.fromarray(picture)))
    ink = find_ink(gray, INVERT[dark])
    # Without strokes the digit may be cropped so closely that no paper is left around it.
    if strokes is None or ink.amount.max() > STRONG_CONTRAST:
        return ink.amount, ink.amount, ink.dark
    return strokes.everything, strokes.amount, strokes.dark


def reduced(image: Image.Image, side: int = WORKING_SIDE) -> Image.Image:
    """The picture with each k×k pixels averaged, its longer side at most `side`."""
    factor = reduction(image.size, side)
    return image.reduce(factor) if factor > 1 else image


def reduction(size: tuple[int, int], side: int = WORKING_SIDE) -> int:
    """The whole number by which a picture of this size is reduced."""
    return math.ceil(max(size) / side)


def from_near(image: Image.Image, amount: np.ndarray, dark: bool) -> np.ndarray:
    """The ink of a small digit on a large sheet at a higher resolution.

    `amount` is its ink in the reduced picture.
    """
    box = bounding_box(amount)
    factor = reduction(image.size)
    if box is None or factor == 1:
        return amount
    left, top, right, bottom = box
    margin = max(right - left, bottom - top) // 2 + 2
    height, width = amount.shape
    left, top = max(0, left - margin), max(0, top - margin)
    right, bottom = min(width, right + margin), min(height, bottom + margin)
    # The last pixels of a reduced picture may be of fewer.
    far = (min(image.width, right * factor), min(image.height, bottom * factor))
    close = image.crop((left * factor, top * factor, *far))
    if max(close.size) > 0.7 * max(image.size):
        return amount
    small = np.asarray(reduced(close))
    where = Image.fromarray((amount[top:bottom, left:right] > 0).astype(np.uint8))
    # With two pixels of the reduced picture around it.
    where = where.filter(ImageFilter.MaxFilter(5)).resize(small.shape[1::-1], Image.Resampling.NEAREST)
    return ink_in(small, dark, np.asarray(where))[1]
