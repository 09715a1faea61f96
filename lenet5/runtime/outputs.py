"""One check of what a command writes, before it begins.

Figures carry a mark, by which they are told from pictures that are to be read.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable

from lenet5.runtime.atomic_files import check_writable
from lenet5.runtime.errors import UserError, one_line

MARK = b"figure of the LeNet-5 suite"
MARK_WITHIN = 4096  # bytes from the beginning of a figure
# How PNG, JPEG, GIF, BMP, TIFF, PDF and WebP begin; HEIC and AVIF have "ftyp" in it.
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"%PDF", b"RIFF")
UNMARKED = "training_results.png"  # older versions wrote it without the mark
FORMATS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".svg": "svg", ".pdf": "pdf"}  # of figures
# Pictures' extensions, in which no figure is written.
# fmt: off
OTHERS = (".avif", ".bmp", ".eps", ".gif", ".heic", ".heif", ".ico", ".jp2", ".pbm", ".pcx", ".pgm",
          ".pnm", ".ppm", ".ps", ".svgz", ".tga", ".tif", ".tiff", ".webp", ".xbm")
# fmt: on
PDF_END = 1 << 16  # bytes: there its metadata are


def check_outputs(
    figures: dict[str, str | None], others: dict[str, str | None], inputs: Iterable[str] = ()
) -> None:
    """Raise UserError, before any work, unless a command can write its files and loses none by it.

    `figures` and `others`: files to write by flag, None for a flag that is not given; `inputs`: the
    files that the command reads.
    """
    if any(figures.values()) and "MPLBACKEND" in os.environ:
        check_backend()
    read = {file_key(path) for path in inputs}
    written: dict[tuple, str] = {}
    for name, path in {**figures, **others}.items():
        if path is None:
            continue
        check_writable(path)
        if name in figures:
            format_of(path)
        if os.path.exists(path) and not os.path.isfile(path):
            continue  # a device or a pipe
        own = file_key(path)
        if own in read:
            raise UserError(f"{path} is to be read and would be overwritten: give {name} another file")
        if own in written:
            pair = f"{written[own]} and {name} {path}"
            raise UserError(f"two flags name the same file, {pair}: give each its own")
        written[own] = name
        if is_foreign(path, name in figures):
            raise UserError(
                f"{name} {path} is there already without the mark of a figure, and is not overwritten: "
                "name another file"
            )


def check_backend() -> None:
    """Raise UserError if matplotlib could not be imported with the environment's MPLBACKEND."""
    try:
        importlib.import_module("matplotlib")
    except ValueError as error:
        backend = one_line(os.environ["MPLBACKEND"][:40])
        raise UserError(f"MPLBACKEND={backend} is no backend of matplotlib: unset it") from error


def format_of(path) -> str:
    """The format of a figure, by its extension; PNG where that tells nothing. Raises UserError."""
    extension = os.path.splitext(path)[1].lower()
    if extension in OTHERS:
        raise UserError(f"{path}: figures are written as PNG, JPEG, SVG or PDF: name one of these")
    return FORMATS.get(extension, "png")


def file_key(path) -> tuple:
    """Equal for two paths of one file."""
    try:
        about = os.stat(path)
        return about.st_dev, about.st_ino
    except (OSError, ValueError):
        return (os.path.normcase(os.path.realpath(path)),)


def is_figure(path) -> bool:
    """Whether a file is a figure that these scripts drew."""
    return MARK in beginning(path)


def is_foreign(path, is_for_figure: bool, mark: bytes = MARK) -> bool:
    """Whether a file is there without the mark of these scripts: any at all, or else a picture.

    `train.py` may redraw what is called as its own figure.
    """
    start = beginning(path)
    is_picture = start.startswith(SIGNATURES) or start[4:8] == b"ftyp" or b"<svg" in start
    is_kept = is_picture or (is_for_figure and bool(start))
    return is_kept and mark not in start and os.path.basename(path) != UNMARKED


def beginning(path) -> bytes:
    """The first bytes of a regular file, and the last ones of a PDF; none if it cannot be read."""
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for its other end
            return b""
        with open(path, "rb") as file:
            start = file.read(MARK_WITHIN)
            if start.startswith(b"%PDF"):
                file.seek(max(0, os.path.getsize(path) - PDF_END))
                start += file.read()
            return start
    except (OSError, ValueError):
        return b""
