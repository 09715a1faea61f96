"""Any picture to what the network was trained on: ink bright, centred as in MNIST.

MNIST's digits were made in three steps: the ink's bounding box was scaled to
fit 20×20 pixels with its aspect ratio kept, the box was put into 28×28 so that
the centre of mass of the ink is in the middle, and ink is bright on a black
background (Bottou et al., 1994; LeCun et al., 1998, section III.A). A picture
from anywhere goes through the same steps here, and MNIST's own pictures come
out as they went in.

    open_picture   a file to a PIL image
    upright        any mode, orientation, transparency or depth to 8-bit colour or gray
    find_strokes   (in ink.py) the digit's ink under uneven light, without lines, frame and dust
    find_ink       the ink in a small picture, which has no room for any of that
    centre_digit   bounding box to 20×20, centre of mass to the middle of 28×28
    mnist_like     all of these; `steps` gives each
    all_mnist_like the same of many pictures, in less time
    to_input       a batch of 28×28 pictures to the network's N×1×32×32 input
    Inputs         the same of many pictures, as they are used
"""

from __future__ import annotations  # a torch.Tensor is named below; pictures are read without PyTorch

import contextlib
import dataclasses
import itertools
import math
import os
import stat
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from lenet5.runtime.errors import UserError, reason

if TYPE_CHECKING:
    import torch

SIDE = 28  # of an MNIST picture, in pixels
DIGIT_SIDE = 20  # the longer side of a digit's bounding box in it
MIDDLE = 14.0  # where MNIST has the centre of mass: 14.0 ± 0.5 in all 60,000 training images
INK = 253.0  # gray level of MNIST's saturated strokes: the median over its training images
HEIGHT = 32  # of the strip to which a whole number is brought, in pixels
PADDING = 2  # 28×28 to the 32×32 of the paper (section II.B), on each side

WORKING_SIDE = 256  # larger pictures are reduced to this before the digit is looked for
MOST_PIXELS = 1 << 24  # of a picture; what has more is reduced before anything is done with it
TILE = 1024  # pixels of the reduced picture, the side of what is reduced at a time
MOST_DECODED_SLOWLY = 1 << 20  # pixels, in the formats that Pillow decodes in Python
MOST_DECODED = {"WEBP": 60_000_000, "AVIF": 100_000_000}  # pixels, which take 16 and 9 bytes meanwhile
RUN_BY_PILLOW = ("EPS", "IPTC")  # by Ghostscript; an IPTC record may have EPS in it
SMALLEST = 48  # pixels of the shorter side, below which a picture has paper and ink alone
COLOURED = ("RGB", "P", "CMYK", "YCbCr", "HSV")  # Pillow's modes
BLANK_CONTRAST = 8.0  # gray levels; below it nothing in a picture counts as ink
STRONG_CONTRAST = 100.0  # gray levels, more than noise has
TINY = 20  # pixels of the shorter side, below which strokes are as narrow as grains
MOST_NOISE = 0.15  # of a picture's contrast; where the border varies more, ink may be in it
TWO_LEVELS = 0.72  # of the variance, between ink and paper
BOX_LEVEL = 0.2  # of the strongest ink: what belongs to the bounding box
ROUNDING = 0.01  # gray levels: ink at just that level is out of the box, however it was rounded
FRINGE = 2  # pixels of 28×28 around the box in which fainter ink is kept
PLACES = np.arange(SIDE)  # of rows and columns
AT_ONCE = 256  # small pictures whose ink is found together


class PictureError(UserError):
    """A picture that cannot be read; the message says why."""


Attempt = tuple[np.ndarray | None, str | None]  # a digit and None; or None, and why there is none


class Ink(NamedTuple):
    """How much each pixel of a picture is ink, and what was found on the way."""

    amount: np.ndarray  # H×W float32, gray levels away from the paper, 0 where it is paper
    paper: float  # gray level of the background, 0 to 255
    dark: bool  # whether the ink is darker than the paper


def open_picture(source) -> Image.Image:
    """A PIL image from a path, an array or a PIL image, not yet of any fixed mode.

    An array is H×W, H×W×3 or H×W×4 (axes of length 1 aside): integers and
    booleans as they are, floating point numbers in [0, 1] or [0, 255].
    Raises PictureError for what is not a picture.
    """
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, str | os.PathLike):
        return open_file(os.fspath(source))
    return from_array(source)


def open_file(path: str) -> Image.Image:
    """The first picture in a file."""
    try:
        about = os.stat(path)
        if stat.S_ISDIR(about.st_mode):
            os.listdir(path)  # a folder that cannot be listed says so itself
            raise PictureError("it is a folder, and no picture was found in it")
        if not stat.S_ISREG(about.st_mode):  # reading a device or a pipe might never end
            raise PictureError("it is not a regular file")
        if about.st_size == 0:
            raise PictureError("the file is empty")
        image = Image.open(path)
        check_decoder(image)
        if image.format in ("JPEG", "MPO"):
            # A photograph is decoded at a half, a quarter or an eighth of its size
            # where that leaves enough pixels to look at a small digit from near.
            image.draft(None, (4 * WORKING_SIDE, 4 * WORKING_SIDE))
        if image.format == "JPEG2000":  # takes 12 bytes a pixel meanwhile
            image.reduce = math.ceil(math.log2(excess(image.size)))  # how often it is halved
        with libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
        return image
    except (PictureError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise PictureError("it is not a picture that Pillow can read") from None
    except Exception as error:  # Pillow's many readers raise many kinds for a damaged file
        raise PictureError(reason(error)) from error


def check_decoder(image: Image.Image) -> None:
    """Raise PictureError for an opened file whose pixels are not to be decoded."""
    if image.format in RUN_BY_PILLOW:
        raise PictureError("it may be a program in PostScript, which is not run here: save it as PNG")
    most = MOST_DECODED.get(image.format, math.inf)
    # Python takes up to 4 seconds for a million pixels, which may be few bytes: runs of one level.
    if any(part[0] in Image.DECODERS for part in image.tile):
        most = MOST_DECODED_SLOWLY
    if image.width * image.height > most:
        size = f"{image.width}×{image.height} pixels"
        raise PictureError(f"{size} are more than are decoded of {image.format} here: save it as PNG")


@contextlib.contextmanager
def libtiff_silenced():
    """Nothing on stderr meanwhile: libtiff writes there itself what is wrong with a file.

    Pillow raises an error all the same where it cannot go on.
    """
    if sys.stderr is None:  # a program without a terminal: nobody reads it
        yield
        return
    sys.stderr.flush()
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def from_array(values) -> Image.Image:
    """A PIL image from an array. Raises PictureError if its shape or values are no picture's."""
    array = np.asarray(values)
    if array.ndim > 2:
        array = array.squeeze()
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise PictureError(f"an array of shape {np.shape(values)} is no picture")
    if array.size == 0:
        raise PictureError("the array is empty")
    if array.dtype.kind not in "buif":
        raise PictureError(f"an array of {array.dtype} is no picture")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise PictureError("the array holds values that are not finite numbers")
    if np.asarray(values).dtype.kind in "bf" and array.min() >= 0 and array.max() <= 1:
        array = array * 255
    elif array.max() > 255 or array.min() < 0:
        array = stretch(array)
    return Image.fromarray(array.round().astype(np.uint8))


def upright(image: Image.Image) -> Image.Image:
    """A picture as its photographer saw it: "RGB" if it has colours and is opaque, else gray ("L")."""
    orientation = image.getexif().get(0x0112, 1)  # how the camera was held
    image = of_moderate_size(image)
    if orientation != 1:
        image.getexif()[0x0112] = orientation  # lost where the picture was reduced
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data and not is_deep(image):
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (255, 255):  # it could be seen through, but nowhere is
            return image.convert("RGB")
    return image.convert("RGB") if image.mode in COLOURED else to_gray(image)


def of_moderate_size(image: Image.Image) -> Image.Image:
    """The picture, with each k×k pixels averaged if it has more than MOST_PIXELS.

    Tile by tile, since a conversion of the whole would take its memory once more.
    """
    factor = excess(image.size)
    if factor == 1:
        return image
    small, side = None, TILE * factor
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            right, bottom = min(left + side, image.width), min(top + side, image.height)
            tile = in_plain_mode(image.crop((left, top, right, bottom))).reduce(factor)
            if small is None:
                small = Image.new(tile.mode, [math.ceil(length / factor) for length in image.size])
            small.paste(tile, (left // factor, top // factor))
    return small


def excess(size: tuple[int, int]) -> int:
    """By what whole number a picture of this size is to be reduced to have no more than MOST_PIXELS."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / MOST_PIXELS)))


def in_plain_mode(image: Image.Image) -> Image.Image:
    """A picture of any mode in one of which pixels can be averaged."""
    if is_deep(image):
        return image.convert("F")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB") if image.mode in COLOURED else to_gray(image)


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits a pixel and channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_gray(image: Image.Image) -> Image.Image:
    """A picture of any mode as 8-bit gray ("L"), without transparency.

    16-bit and floating point pictures are stretched between their darkest and
    brightest pixel, since `convert("L")` would clip them.
    """
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if is_deep(image):
        return Image.fromarray(stretch(np.asarray(image, dtype=np.float64)).astype(np.uint8))
    if image.has_transparency_data:
        return without_transparency(image.convert("RGBA").convert("LA"))
    if image.mode == "LAB":
        return image.getchannel("L")  # lightness is what we want, and Pillow converts no LAB
    return image.convert("L")


def stretch(values: np.ndarray) -> np.ndarray:
    """Values of any range mapped linearly to 0 ... 255, for which a constant becomes 0."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    return (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)


def without_transparency(image: Image.Image) -> Image.Image:
    """An "LA" picture laid on a background that makes sense for it.

    A drawing may keep its shape in the transparency alone: all its opaque
    pixels have about one level. Then the opacity is the ink. Otherwise (a
    label with transparent corners, say) the background goes on in the level
    that most opaque pixels have.
    """
    gray, alpha = image.split()
    opaque = alpha.point(lambda value: 255 if value > 127 else 0)
    count = np.asarray(gray.histogram(mask=opaque), dtype=np.float64).cumsum()
    if count[-1] == 0:  # nothing in it can be seen
        return Image.new("L", image.size, 0)
    low, median, high = np.searchsorted(count, count[-1] * np.array([0.05, 0.5, 0.95]))
    if high - low < 32 and np.asarray(opaque).min() == 0:
        return alpha
    return Image.composite(gray, Image.new("L", image.size, int(median)), alpha)


def find_ink(gray: np.ndarray, invert: str = "auto") -> Ink:
    """How far each pixel of an H×W picture (0 to 255) is from the paper, on the ink's side.

    See `find_inks`.
    """
    amounts, papers, darks = find_inks(gray[None], invert)
    return Ink(amounts[0], float(papers[0]), bool(darks[0]))


def find_inks(grays: np.ndarray, invert: str = "auto") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ink in each of N×H×W pictures (0 to 255): the fields of `Ink`, N×H×W, N and N.

    The paper's level is the median of the border. With `invert="auto"` the ink
    is on the side with more energy (the sum of the squared deviations, in which
    noise on both sides cancels out); `"yes"` says that the ink is dark, `"no"`
    that it is bright. What lies within the noise of the border is not ink.
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
    # What is not plain paper and ink is looked at one by one.
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
    """Whether a picture's levels are two groups, paper and ink, and not the grain of one.

    Otsu's criterion ("A threshold selection method from gray-level histograms",
    1979): the share of the variance that is between the groups, here on both
    sides of the middle of the levels. Grain alone has 0.64, if it is normal.
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
    """The paper's level and its noise's deviation where ink is at the border in many places.

    Neither the border's median nor its spread is the paper's then. The paper is
    that end of the picture's levels to which the corners, which few digits
    reach, are nearer, unless `invert` says which.
    """
    low, high = (float(level) for level in np.percentile(gray, (5, 95)))
    middle = (low + high) / 2
    corners = float(gray[[0, 0, -1, -1], [0, -1, 0, -1]].astype(np.float32).mean())
    bright = corners > middle if invert == "auto" else invert == "yes"
    on_paper = border[(border > middle) == bright]
    if not on_paper.size:
        return (high if bright else low), 0.0
    # Ink's soft edges are all on one side of the paper's level, so the other side tells of it,
    # and of its noise: of what is normally distributed, half of the outer quarter is
    # 0.48 deviations beyond the quartile.
    paper = float(np.percentile(on_paper, 75 if bright else 25))
    beyond = on_paper[on_paper >= paper] if bright else on_paper[on_paper <= paper]
    return paper, float(np.median(np.abs(beyond - paper))) / 0.48


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
    left, top, right, bottom = (
        frame + left - across,
        frame + top - down,
        frame + right + across,
        frame + bottom + down,
    )
    if scale == 1:
        digit = framed[int(top) : int(bottom), int(left) : int(right)]
    else:
        digit = np.asarray(
            Image.fromarray(framed).resize(
                (width + 2 * FRINGE, height + 2 * FRINGE),
                Image.Resampling.HAMMING,
                box=(left, top, right, bottom),
            )
        )
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


class Steps(NamedTuple):
    """A picture at each step on its way to the network."""

    picture: np.ndarray  # H×W or H×W×3 uint8, upright and reduced
    everything: np.ndarray  # H×W float32, 0 to 255: all ink on the paper
    ink: np.ndarray  # h×w float32, the digit's ink, perhaps seen from near
    digit: np.ndarray  # 28×28 uint8, as MNIST has it
    dark: bool  # whether the ink is darker than the paper


def mnist_like(source, invert: str = "auto") -> np.ndarray:
    """A picture from anywhere as MNIST would have it: 28×28 uint8, ink bright.

    `source` is a path, a PIL image or an array (see `open_picture`); `invert`
    is "auto", "yes" (the ink is dark) or "no" (the ink is bright). A blank
    picture gives zeros only. Raises PictureError for what cannot be read.
    """
    return steps(source, invert).digit


def attempt(work: Callable, *arguments) -> tuple:
    """What `work(*arguments)` gives, and None; or None, and why a picture cannot be read."""
    try:
        return work(*arguments), None
    except PictureError as error:
        return None, str(error)
    except MemoryError:
        return None, "this machine has not enough memory for it"


def all_mnist_like(sources: Iterable, invert: str = "auto") -> list[Attempt]:
    """For each source what `mnist_like` gives, and None; or None, and why it cannot be read.

    The same digits in less time, since the ink of small pictures is found in many at once.
    """
    found, sources = [], iter(sources)
    while some := list(itertools.islice(sources, AT_ONCE)):
        found += all_at_once(some, invert)
    return found


def all_at_once(sources: list, invert: str) -> list[Attempt]:
    """The same of so many sources that their small pictures may be held in memory together."""
    found, small = [], defaultdict(list)  # by size: the places of pictures, and their levels
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


def upright_picture(source) -> Image.Image:
    """Any source as `upright` gives it. Raises PictureError for what cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about files that it reads all the same
            image = upright(open_picture(source))
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # Pillow decodes late, and its many modes raise many kinds
        raise PictureError(reason(error)) from error
    if min(image.size) == 0:
        raise PictureError("the picture has no pixels")
    return image


DARK_INK = {"auto": None, "yes": True, "no": False}  # what `invert` says
INVERT = {dark: invert for invert, dark in DARK_INK.items()}


def steps(source, invert: str = "auto") -> Steps:
    """What `mnist_like` does, step by step."""
    return steps_of(upright_picture(source), invert)


def steps_of(image: Image.Image, invert: str) -> Steps:
    """The same of a picture that is upright already."""
    picture = np.asarray(reduced(image))
    everything, amount, dark = ink_in(picture, DARK_INK[invert])
    near = from_near(image, amount, dark)
    return Steps(picture, everything, near, centre_digit(near), dark)


def ink_in(picture: np.ndarray, dark: bool | None, within: np.ndarray | None = None) -> tuple:
    """All ink in a reduced picture, the digit's ink (both H×W float32), and whether it is dark."""
    strokes = None
    if min(picture.shape[:2]) >= SMALLEST:  # room for lines, frames and shadows
        from ink import find_strokes  # imports OpenCV

        strokes = find_strokes(picture, dark, within)
        if strokes.amount.any():
            return strokes.everything, strokes.amount, strokes.dark
    gray = np.asarray(to_gray(Image.fromarray(picture)))
    ink = find_ink(gray, INVERT[dark])
    # Where no strokes were found, perhaps the digit is cut so close that no paper is left around it.
    if strokes is None or ink.amount.max() > STRONG_CONTRAST:
        return ink.amount, ink.amount, ink.dark
    return strokes.everything, strokes.amount, strokes.dark


def reduced(image: Image.Image, side: int = WORKING_SIDE) -> Image.Image:
    """The picture with each k×k pixels averaged, its longer side at most `side`."""
    factor = reduction(image.size, side)
    return image.reduce(factor) if factor > 1 else image


def reduction(size: tuple[int, int], side: int = WORKING_SIDE) -> int:
    """By what whole number a picture of this size is reduced."""
    return math.ceil(max(size) / side)


def from_near(image: Image.Image, amount: np.ndarray, dark: bool) -> np.ndarray:
    """The ink of a small digit on a large sheet, looked at again at a higher resolution.

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
    # Two pixels of the reduced picture around what was found there.
    where = where.filter(ImageFilter.MaxFilter(5)).resize(small.shape[1::-1], Image.Resampling.NEAREST)
    return ink_in(small, dark, np.asarray(where))[1]


def to_input(
    images: torch.Tensor, mean: float, std: float, padding: tuple[int, ...] = (PADDING,) * 4
) -> torch.Tensor:
    """N×28×28 uint8 pictures as the network's N×1×32×32 float32 input, on the same device.

    Pixels are scaled to [0, 1], padded with background by 2 on each side and
    normalised: (pixel - mean) / std. The one way in for training and inference. A
    strip with a whole number on it has a `padding` of its own: left, right, top, bottom.
    """
    import torch.nn.functional as F  # takes a second, and who prepares pictures does not need it

    scaled = images * (1 / (255 * std)) - mean / std
    return F.pad(scaled, padding, value=-mean / std).unsqueeze(1)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """N×28×28 uint8 pictures that become a network's inputs, N×1×32×32 float32, as they are used.

    As such they would take five times the memory. Where images are learned or evaluated
    it stands for a tensor of inputs, of which it has what is needed there. An index or a
    slice gives a tensor.
    """

    pictures: torch.Tensor
    mean: float
    std: float

    def of(self, pictures: torch.Tensor) -> Inputs:
        """Other pictures, for the same network."""
        return dataclasses.replace(self, pictures=pictures)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), 1, *(side + 2 * PADDING for side in self.pictures.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.pictures.device

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index) -> torch.Tensor:
        return to_input(self.pictures[index], self.mean, self.std)

    def narrow(self, dim: int, start: int, length: int) -> Inputs:
        return self.of(self.pictures.narrow(dim, start, length))

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Inputs of `size` pictures at a time."""
        return (to_input(pictures, self.mean, self.std) for pictures in self.pictures.split(size))


def to_pixels(inputs: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """The opposite of `to_input`'s normalisation: N×1×H×W floats to N×H×W in [0, 1]."""
    return inputs.squeeze(1).mul(std).add(mean).clamp(0, 1)
