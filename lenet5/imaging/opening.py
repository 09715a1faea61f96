"""Open any picture: files, PIL images and arrays to 8-bit gray or colour."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import os
import stat
import sys
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image, ImageOps

from lenet5.imaging.mnist_format import SIDE
from lenet5.runtime.errors import UserError, other_threads, reason, without_warnings

# Pixels: a JPEG is decoded at a half, a quarter or an eighth while its sides keep so many.
DRAFT_SIDE = 1024
MOST_PIXELS = 1 << 24  # of a picture; what has more is reduced before anything is done with it
SAMPLED = 512  # pixels of a side, at which a picture with transparency is looked at
TILE = 1024  # pixels of the reduced picture, the side of what is reduced at a time
MOST_DECODED_SLOWLY = 1 << 20  # pixels, in the formats that Pillow decodes in Python
MOST_DECODED = {"WEBP": 60_000_000, "AVIF": 100_000_000}  # pixels, which take 16 and 9 bytes meanwhile
RUN_BY_PILLOW = ("EPS", "IPTC")  # by Ghostscript; an IPTC record may have EPS in it
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands
OTHER_KINDS = {  # how they begin, and what to do
    b"<svg": "it is a drawing in SVG: convert it, as with rsvg-convert -o digit.png digit.svg",
    b"%pdf": "it is a PDF: convert its pages, as with pdftoppm -png pages.pdf page",
    b"<!doctype html": "it is a web page and no picture: save the picture itself",
    b"<html": "it is a web page and no picture: save the picture itself",
}
ROW = SIDE * SIDE  # pixels, as tables of MNIST have them
MASK_LEVELS = 7  # of gray: a picture without a higher one is a mask
COLOURED = ("RGB", "P", "CMYK", "YCbCr", "HSV")  # Pillow's modes


class PictureError(UserError):
    """A picture that cannot be read; the message says why."""


def open_picture(source) -> Image.Image:
    """A PIL image from any source, not yet of any fixed mode.

    A source is a path, the bytes of a file, a data URL, an open file or an upload, a PIL image, an
    array or a tensor: H×W, H×W×3, H×W×4, 3×H×W (axes of length 1 aside) or a row of 784 pixels, with
    integers and booleans as they are, floating point numbers in [0, 1] or [0, 255].
    Raises PictureError for what is not a picture.
    """
    source = in_memory(source)
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes):
        if not source:
            raise PictureError("it has no bytes")
        return decoded(io.BytesIO(source))
    if path_of(source) is not None:
        return open_file(os.fspath(source))
    return from_array(source)


def path_of(source) -> str | None:
    """The path that a source is; None for any other."""
    is_path = isinstance(source, os.PathLike) or (isinstance(source, str) and not is_data_url(source))
    return os.fspath(source) if is_path else None


def is_data_url(source) -> bool:
    return isinstance(source, str) and source[:5].lower() == "data:"


def in_memory(source):
    """The bytes of a data URL, an open file or an upload; any other source as it is."""
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if is_data_url(source):
        return bytes_of_url(source)
    if isinstance(source, Image.Image | os.PathLike) or not hasattr(source, "read"):
        return source
    # Starlette's uploads read asynchronously, and have the file itself in them.
    file = source.file if hasattr(source, "file") and hasattr(source.file, "read") else source
    try:
        with contextlib.suppress(AttributeError, OSError):  # of a pipe
            file.seek(0)  # who wrote it stands at its end
        data = file.read()
    except Exception as error:  # whatever kind of file it is
        raise PictureError(f"it cannot be read: {reason(error)}") from error
    if not isinstance(data, bytes):
        raise PictureError("it is open as text: open it with mode 'rb'")
    return data


def bytes_of_url(url: str) -> bytes:
    """What is in a data URL, as canvas.toDataURL() gives it."""
    about, comma, data = url.partition(",")
    try:
        if not comma:
            raise ValueError
        is_base64 = about.lower().endswith(";base64")
        return base64.b64decode(data, validate=True) if is_base64 else unquote_to_bytes(data)
    except ValueError:  # of which binascii.Error is one
        raise PictureError("it is a data URL that cannot be decoded") from None


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
        return decoded(path)
    except (OSError, ValueError) as error:  # a null byte in the name
        if path.startswith(("http://", "https://")):
            raise PictureError(
                "it is an address, and nothing is fetched: save the picture first"
            ) from None
        raise PictureError(reason(error)) from error


def decoded(file) -> Image.Image:
    """The first picture in a file, a path or a stream of bytes."""
    try:
        image = Image.open(file)
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
        return of_other_kind(file)
    except Exception as error:  # Pillow's many readers raise many kinds for a damaged file
        raise PictureError(reason(error)) from error


def of_other_kind(file) -> Image.Image:
    """A photograph in HEIC, if pillow-heif is installed. Raises PictureError with what to do."""
    if isinstance(file, str):
        with open(file, "rb") as opened:
            start = opened.read(1024)
    else:
        start = file.getvalue()[:1024]
    if start[4:8] == b"ftyp" and start[8:12] in HEIC:
        try:
            import pillow_heif
        except ImportError:
            raise PictureError("it is in HEIC: pip install pillow-heif, or save it as JPEG") from None
        try:
            return pillow_heif.open_heif(file).to_pillow()
        except Exception as error:  # of a damaged file
            raise PictureError(f"it is in HEIC and cannot be read: {reason(error)}") from error
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for kind, way_out in OTHER_KINDS.items():
        if text.startswith(kind) or (text.startswith((b"<?xml", b"<!--")) and kind in text):
            raise PictureError(way_out)
    raise PictureError("it is not a picture that Pillow can read")


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
    """Redirect stderr: libtiff itself writes there about damaged files that Pillow reads or refuses.

    Not where there are other threads, whose stderr it is too.
    """
    if sys.stderr is None or other_threads():
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
    """A PIL image from an array or a tensor. Raises PictureError if it is no picture's."""
    array = pixels_of(values)
    if array.size == 0:
        raise PictureError("the array is empty")
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    if array.dtype.kind not in "buif":
        raise PictureError(f"an array of {array.dtype} is no picture")
    is_share = array.dtype.kind in "bf"
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise PictureError("the array holds values that are not finite numbers")
    if is_share and array.min() >= 0 and array.max() <= 1:
        array = array * 255
    elif array.max() > 255 or array.min() < 0:
        array = stretch(array)
    return Image.fromarray(array.round().astype(np.uint8))


def pixels_of(values) -> np.ndarray:
    """An array or tensor of a picture as H×W, H×W×3 or H×W×4. Raises PictureError for another shape."""
    if hasattr(values, "detach"):  # of PyTorch: perhaps on another device, or in a graph
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    array = np.asarray(values)
    about = f"an array of shape {array.shape}"
    if array.size == ROW and max(array.shape) == ROW:
        return array.reshape(SIDE, SIDE)
    array = array.squeeze() if array.ndim > 2 else array
    if array.ndim == 2:
        return array
    if array.ndim == 4 or (array.ndim == 3 and not {array.shape[0], array.shape[2]} & {3, 4}):
        raise PictureError(f"{about} is no picture: of several, give one at a time")
    if array.ndim != 3:
        raise PictureError(f"{about} is no picture: give H×W, H×W×3, 3×H×W or {ROW} pixels")
    is_first, is_last = array.shape[0] in (3, 4), array.shape[2] in (3, 4)
    if is_first and is_last:
        raise PictureError(f"{about} may be H×W×3 or 3×H×W: give it as a PIL image")
    return np.ascontiguousarray(array.transpose(1, 2, 0)) if is_first else array


def upright(image: Image.Image) -> Image.Image:
    """A picture as its photographer saw it, opaque: "RGB" if it has colours, else gray ("L")."""
    orientation = image.getexif().get(0x0112, 1)  # how the camera was held
    image = of_moderate_size(image)
    if orientation != 1:
        image.getexif()[0x0112] = orientation  # lost where the picture was reduced
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data and not is_deep(image):
        return without_transparency(image)
    image = image.convert("RGB") if image.mode in COLOURED else to_gray(image)
    return with_levels(image) if min(image.size) else image


def with_levels(image: Image.Image) -> Image.Image:
    """An "L" or "RGB" picture; a mask, with levels such as 0 and 1, from black to white."""
    extrema = np.ravel(image.getextrema())
    low, high = int(extrema.min()), int(extrema.max())
    if low == high or high > MASK_LEVELS:
        return image
    levels = np.clip((np.arange(256) - low) / (high - low), 0, 1) * 255
    return image.point(levels.round().astype(int).tolist() * len(image.getbands()))


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
        with without_warnings():  # of Pillow, about files that it reads all the same
            image = upright(open_picture(source))
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # Pillow decodes late, and its many modes raise many kinds
        raise PictureError(reason(error)) from error
    if min(image.size) == 0:
        raise PictureError("the picture has no pixels")
    return image
