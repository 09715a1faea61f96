"""Any picture to what the network was trained on: ink bright, centred as in MNIST.

MNIST's digits were made in three steps: the ink's bounding box was scaled to fit 20×20 pixels
with its aspect ratio kept, the box was put into 28×28 so that the centre of mass of the ink is
in the middle, and ink is bright on a black background (Bottou et al., 1994; LeCun et al., 1998,
section III.A). Any picture goes through the same steps here, and MNIST's own come out unchanged.

    upright_picture  (in opening.py) any file, array or PIL image to 8-bit colour or gray
    plain_ink        the ink of a small picture on an even background, as MNIST's are
    View             any other picture, as the finder sees it
    find_ink         the digit's ink in views, by the finder, a network (networks/finder.py)
    centre_digit     (in centring.py) bounding box to 20×20, centre of mass to the middle of 28×28
    mnist_like       all of these for one picture; for many, `prepare` (in workers) and `digits_of`
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from lenet5.imaging.centring import bounding_box, centre_digit
from lenet5.imaging.opening import PictureError, upright_picture

PLAIN_SIDE = 32  # pixels: a picture that needs no finder is no larger
PLAIN_RIM = 0.9  # of its rim has one level,
TINY_SIDE, TINY_RIM = 16, 0.51  # or most of it in so few pixels, where a stroke takes much of the rim
BLANK_CONTRAST = 8.0  # gray levels; below it nothing in a picture counts as ink
WORKING_SIDE = 384  # pixels: a larger picture is reduced to this before it is looked at
FINDER_SIDE = 96  # pixels, the longer side of what the finder sees
LOWEST_STRIP, LONGEST_STRIP = 32, 16_384  # pixels: its sides in a strip
FINDER_MULTIPLE = 16  # its sides are multiples of it
AT_ONCE = 256  # pictures that are in memory together
FINDER_BATCH = 64  # pictures that it sees together
LOOKS = 3  # at a picture: at the whole, then at other scales
SMALL_INK = 0.5  # of the picture: ink that takes less is looked at from near
NEAR_MARGIN = 0.5  # of the ink's longer side, around it in a look from near
# Of what the finder gives: below it a pixel is no ink of the digit, or no writing. Numbers come apart
# at narrow gaps, which little writing fills.
LEAST_INK, LEAST_WRITING = 0.1, 0.2
CERTAIN_INK = 0.5  # a picture without a pixel above it is blank

# N×3×H×W uint8 pictures to N×2×H×W float32 from 0 to 1: the digit's ink, and all writing.
Finder = Callable[[np.ndarray], np.ndarray]
INVERT = ("auto", "yes", "no")  # yes: the ink is dark; no: it is bright


class View(NamedTuple):
    """A picture for the finder."""

    picture: np.ndarray  # H×W×3 uint8, as `reduced` leaves it
    scaled: np.ndarray  # h×w×3 uint8, as the finder sees it


class Found(NamedTuple):
    """What was found in a picture."""

    view: View  # what was looked at last, the whole picture or a part of it
    ink: np.ndarray  # h×w float32, 0 to 255: how much of it is the digit's ink, in proportion
    digit: np.ndarray  # 28×28 uint8, as MNIST has it


Prepared = np.ndarray | View  # a 28×28 uint8 digit, or what the finder has to look at
Attempt = tuple[Prepared | None, str | None]  # and None; or None and why it cannot be read
Digit = tuple[np.ndarray | None, str | None]  # 28×28 uint8 and None; or None and the reason


def mnist_like(source, find: Finder, invert: str = "auto") -> np.ndarray:
    """A picture from anywhere as MNIST would have it: 28×28 uint8, ink bright.

    `source` is a path, a PIL image or an array (see `open_picture`); `find` is the finder (see
    `load_finder`); `invert` is "auto", "yes" (the ink is dark) or "no" (the ink is bright). A
    blank picture gives zeros only. Raises PictureError for a picture that cannot be read.
    """
    return look_at(source, find, invert)[1].digit


def look_at(source, find: Finder, invert: str = "auto") -> tuple[np.ndarray, Found]:
    """The picture, H×W×3 uint8, reduced and upright, and what was found in it."""
    image = upright_picture(source)
    ink = plain_ink(image, invert)
    view = view_of(reduced(image))
    found = find_ink([view], find, invert)[0] if ink is None else Found(view, ink, centre_digit(ink))
    return view.picture, found


def attempt(work: Callable, *arguments) -> tuple:
    """The result of `work(*arguments)` and None; or None and why a picture cannot be read."""
    try:
        return work(*arguments), None
    except PictureError as error:
        return None, str(error)
    except MemoryError:
        return None, "this machine has not enough memory for it"


def prepare(sources: Iterable, invert: str = "auto") -> list[Attempt]:
    """Each source decoded and scaled, and None; or None and the reason. Needs no network.

    Small pictures go through one step after the other together: three quarters of the time.
    """
    opened = [attempt(open_small_or_view, source) for source in sources]
    inks = [plain_ink(one, invert) if isinstance(one, Image.Image) else None for one, _ in opened]
    return [(prepared(one, ink), error) for (one, error), ink in zip(opened, inks, strict=True)]


def open_small_or_view(source) -> Image.Image | View:
    """A picture that may be plain, the view of any other. Raises PictureError."""
    image = upright_picture(source)
    return image if max(image.size) <= PLAIN_SIDE else view_of(reduced(image))


def prepared(opened: Image.Image | View | None, ink: np.ndarray | None) -> Prepared | None:
    """The digit of a plain picture's ink, the view of any other."""
    if ink is not None:
        return centre_digit(ink)
    return view_of(opened) if isinstance(opened, Image.Image) else opened


def plain_ink(image: Image.Image, invert: str) -> np.ndarray | None:
    """The ink of a small gray picture whose rim has one level; None for any other picture.

    H×W float32, gray levels away from that of the rim. A stroke may touch the rim, as in 920 of
    MNIST's pictures. Levels on both sides of the rim's are not plain.
    """
    if max(image.size) > PLAIN_SIDE:
        return None
    colours = np.asarray(image)
    gray = colours if colours.ndim == 2 else colours[..., 0]
    if colours.ndim == 3 and (colours != gray[..., None]).any():
        return None  # gray may have been saved as three equal ones
    # The most frequent level of the rim, by np.bincount: np.median takes a sixth of a picture's time.
    rim = np.concatenate([gray[0], gray[-1], gray[1:-1, 0], gray[1:-1, -1]])
    counts = np.bincount(rim)
    paper = int(counts.argmax())
    if counts[paper] < (TINY_RIM if max(image.size) <= TINY_SIDE else PLAIN_RIM) * len(rim):
        return None
    below, above = paper - int(gray.min()), int(gray.max()) - paper
    if below > 0 < above:
        return None
    is_dark = below > 0
    if max(below, above) < BLANK_CONTRAST or invert == ("no" if is_dark else "yes"):
        return np.zeros(gray.shape, np.float32)
    levels = gray.astype(np.float32)
    return paper - levels if is_dark else levels - paper


def reduced(image: Image.Image, side: int = WORKING_SIDE) -> Image.Image:
    """The picture with each k×k pixels averaged, its longer side at most `side`.

    A strip keeps LOWEST_STRIP pixels of height, or width, though it is longer then.
    """
    factor = min(-(-max(image.size) // side), max(1, min(image.size) // LOWEST_STRIP))
    return image.reduce(factor) if factor > 1 else image


def view_of(image: Image.Image) -> View:
    """A picture and what the finder sees of it, whose sides are multiples of FINDER_MULTIPLE.

    The longer side is FINDER_SIDE, or more in a strip, whose shorter side keeps its pixels up to
    LOWEST_STRIP.
    """
    image = image.convert("RGB")
    longer, shorter = max(image.size), min(image.size)
    scale = max(FINDER_SIDE / longer, min(1.0, LOWEST_STRIP / shorter, LONGEST_STRIP / longer))
    return View(np.asarray(image), seen_at(image, scale))


def seen_at(image: Image.Image, scale: float) -> np.ndarray:
    """An RGB picture so many times as large, h×w×3 uint8, its sides multiples of FINDER_MULTIPLE."""
    size = [max(1, round(side * scale / FINDER_MULTIPLE)) * FINDER_MULTIPLE for side in image.size]
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def digits_of(attempts: list[Attempt], find: Finder, invert: str = "auto") -> list[Digit]:
    """The 28×28 uint8 digit of each prepared picture, and None; or None and the reason."""
    views = [one for one, _ in attempts if isinstance(one, View)]
    looked = iter(find_ink(views, find, invert))
    return [(next(looked).digit if isinstance(one, View) else one, error) for one, error in attempts]


def all_mnist_like(sources: Iterable, find: Finder, invert: str = "auto") -> list[Digit]:
    """The digit of each source, as from `mnist_like`, and None; or None and the reason."""
    found: list[Digit] = []
    sources = iter(sources)
    while some := list(itertools.islice(sources, AT_ONCE)):
        found += digits_of(prepare(some, invert), find, invert)
    return found


def find_ink(views: list[View], find: Finder, invert: str = "auto") -> list[Found]:
    """The digit's ink in each view, seen from near where it is small in the picture."""
    views = list(views)
    masks = masks_of(views, find, invert)
    for _ in range(LOOKS - 1):
        closer = {i: view for i in range(len(views)) if (view := from_near(views[i], masks[i]))}
        if not closer:
            break
        for i, mask in zip(closer, masks_of(list(closer.values()), find, invert), strict=True):
            views[i], masks[i] = closer[i], mask
    inks = [at_true_ratio(view.picture, mask) for view, mask in zip(views, masks, strict=True)]
    return [Found(view, ink, centre_digit(ink)) for view, ink in zip(views, inks, strict=True)]


def masks_of(views: list[View], find: Finder, invert: str) -> list[np.ndarray]:
    """What the finder takes for the digit's ink, h×w float32 from 0 to 1 for each view."""
    by_shape = defaultdict(list)
    for i, view in enumerate(views):
        by_shape[view.scaled.shape].append(i)
    masks = [np.empty(0, np.float32)] * len(views)
    for places in by_shape.values():
        for start in range(0, len(places), FINDER_BATCH):
            some = places[start : start + FINDER_BATCH]
            batch = np.stack([views[i].scaled for i in some]).transpose(0, 3, 1, 2)
            for i, mask in zip(some, find(batch)[:, 0], strict=True):
                masks[i] = ink_of(mask, views[i].scaled, invert)
    return masks


def ink_of(mask: np.ndarray, picture: np.ndarray, invert: str, least: float = LEAST_INK) -> np.ndarray:
    """An h×w mask without what is less than `least`; all of it is 0 if no pixel is certainly ink.

    With `invert` "yes" only what is darker than the paper is ink, with "no" only what is brighter.
    """
    if invert != "auto" and (mask < CERTAIN_INK).any():
        gray = picture.mean(axis=2)
        paper = np.median(gray[mask < CERTAIN_INK])
        mask = mask * ((gray < paper) if invert == "yes" else (gray > paper))
    return np.where(mask > least, mask, 0) if mask.max() > CERTAIN_INK else np.zeros_like(mask)


def from_near(view: View, mask: np.ndarray) -> View | None:
    """The part of a picture around its ink, where that is small and has more pixels than were seen."""
    box = bounding_box(np.where(mask > CERTAIN_INK, mask, 0))
    height, width = view.picture.shape[:2]
    if box is None or max(height, width) <= FINDER_MULTIPLE:
        return None
    across, down = width / mask.shape[1], height / mask.shape[0]
    left, top, right, bottom = (
        side * scale for side, scale in zip(box, (across, down) * 2, strict=True)
    )
    longer = max(right - left, bottom - top)
    if longer > SMALL_INK * max(height, width):
        return None
    margin = NEAR_MARGIN * longer + 2 * max(across, down)  # a box is as exact as a mask's pixel
    rows = slice(max(0, int(top - margin)), int(bottom + margin) + 1)
    columns = slice(max(0, int(left - margin)), int(right + margin) + 1)
    return view_of(Image.fromarray(view.picture[rows, columns]))


def at_true_ratio(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A mask as H×W ink, 0 to 255, with the height and width of its picture in proportion."""
    height, width = picture.shape[:2]
    scale = max(mask.shape) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return 255 * np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
