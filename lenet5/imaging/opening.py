"""Open any picture: files, PIL images and arrays to 8-bit gray or colour."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import sys
import warnings

import numpy as np
from PIL import Image, ImageOps

from lenet5.runtime.errors import UserError, reason

# Pixels: a JPEG is decoded at a half, a quarter or an eighth while its sides keep so many.
DRAFT_SIDE = 1024
MOST_PIXELS = 1 << 24  # of a picture; what has more is reduced before anything is done with it
SAMPLED = 512  # pixels of a side, at which a picture with transparency is looked at
TILE = 1024  # pixels of the reduced picture, the side of what is reduced at a time
MOST_DECODED_SLOWLY = 1 << 20  # pixels, in the formats that Pillow decodes in Python
MOST_DECODED = {"WEBP": 60_000_000, "AVIF": 100_000_000}  # pixels, which take 16 and 9 bytes meanwhile
RUN_BY_PILLOW = ("EPS", "IPTC")  # by Ghostscript; an IPTC record may have EPS in it
COLOURED = ("RGB", "P", "CMYK", "YCbCr", "HSV")  # Pillow's modes


class PictureError(UserError):
    """A picture that cannot be read; the message says why."""


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
            image.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
        if image.format == "JPEG2000":  # takes 12 bytes a pixel meanwhile
            halvings = math.ceil(math.log2(excess(image.size)))
            # Of this format a number, not the method.
            image.reduce = halvings  # type: ignore[method-assign, assignment]
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
    """Raise PictureError for a file whose pixels would run a program or take too much to decode."""
    if image.format in RUN_BY_PILLOW:
        raise PictureError("it may be a program in PostScript, which is not run here: save it as PNG")
    most = MOST_DECODED.get(str(image.format), math.inf)
    # Python takes up to 4 seconds for a million pixels, which may be few bytes: runs of one level.
    if any(part[0] in Image.DECODERS for part in getattr(image, "tile", [])):
        most = MOST_DECODED_SLOWLY
    if image.width * image.height > most:
        size = f"{image.width}×{image.height} pixels"
        raise PictureError(f"{size} are more than are decoded of {image.format} here: save it as PNG")


@contextlib.contextmanager
def libtiff_silenced():
    """Redirect stderr: libtiff itself writes there about damaged files that Pillow reads or refuses."""
    if sys.stderr is None:  # a program without a terminal
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
    if array.dtype == np.uint8:
        return Image.fromarray(array)
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
    """A picture as its photographer saw it, opaque: "RGB" if it has colours, else gray ("L")."""
    orientation = image.getexif().get(0x0112, 1)  # how the camera was held
    image = of_moderate_size(image)
    if orientation != 1:
        image.getexif()[0x0112] = orientation  # lost where the picture was reduced
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data and not is_deep(image):
        return without_transparency(image)
    return image.convert("RGB") if image.mode in COLOURED else to_gray(image)


def of_moderate_size(image: Image.Image) -> Image.Image:
    """The picture, with each k×k pixels averaged if it has more than MOST_PIXELS.

    Tile by tile, since a conversion of the whole would take its memory once more.
    """
    factor = excess(image.size)
    if factor == 1:
        return image
    mode, side = in_plain_mode(image.crop((0, 0, 1, 1))).mode, TILE * factor
    small = Image.new(mode, [math.ceil(length / factor) for length in image.size])
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            right, bottom = min(left + side, image.width), min(top + side, image.height)
            tile = in_plain_mode(image.crop((left, top, right, bottom))).reduce(factor)
            small.paste(tile, (left // factor, top // factor))
    return small


def excess(size: tuple[int, int]) -> int:
    """The whole number by which a picture of this size is reduced to at most MOST_PIXELS."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / MOST_PIXELS)))


def in_plain_mode(image: Image.Image) -> Image.Image:
    """A picture of any mode, converted to a mode whose pixels can be averaged."""
    if is_deep(image):
        return image.convert("F")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB") if image.mode in COLOURED else to_gray(image)


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits a pixel and channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_gray(image: Image.Image) -> Image.Image:
    """A picture of any mode without transparency as 8-bit gray ("L").

    16-bit and floating point pictures are stretched between their darkest and
    brightest pixel, since `convert("L")` would clip them.
    """
    if image.mode == "L":
        return image
    if is_deep(image):
        return Image.fromarray(stretch(np.asarray(image, dtype=np.float64)).astype(np.uint8))
    if image.mode == "LAB":
        return image.getchannel("L")  # lightness is what we want, and Pillow converts no LAB
    return image.convert("L")


def stretch(values: np.ndarray) -> np.ndarray:
    """Values of any range mapped linearly to 0 ... 255, for which a constant becomes 0."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    return (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)


def without_transparency(image: Image.Image) -> Image.Image:
    """A picture with transparency composited onto opaque paper: "L" if it is gray, else "RGB".

    The paper has the gray level that is farthest from the levels of all that is visible: white
    behind black ink, black behind white ink, gray behind both.
    """
    mode = "L" if Image.getmodebase(image.mode) == "L" else "RGB"
    image = image.convert("RGBA")
    some = image.resize([min(side, SAMPLED) for side in image.size], Image.Resampling.NEAREST)
    gray, opacity = (np.asarray(channel).ravel() for channel in some.convert("LA").split())
    visible = np.bincount(gray, opacity, minlength=256).cumsum()  # up to each level
    levels = np.searchsorted(visible, visible[-1] * np.linspace(0.02, 0.98, 49))
    distance = np.abs(np.arange(256) - levels[:, None]).min(axis=0)
    paper = Image.new("L", image.size, int(distance.argmax())).convert(mode)
    paper.paste(image, mask=image)
    return paper


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
