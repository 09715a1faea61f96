"""What a command may write: none of its inputs, no file twice, no picture of somebody else's.

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
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"%PDF", b"RIFF")
UNMARKED = "training_results.png"  # older versions wrote it without the mark
FORMATS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".svg": "svg", ".pdf": "pdf"}  # of figures
OTHERS = (".bmp", ".eps", ".gif", ".heic", ".ps", ".svgz", ".tif", ".tiff", ".webp")


def check_outputs(
    figures: dict[str, str | None], others: dict[str, str | None], inputs: Iterable[str] = ()
) -> None:
    """Raise UserError, before any work, unless a command can write its files and loses none by it.

    `figures` and `others`: files to write by flag, None for a flag that is not given; `inputs`: the
    files that the command reads.
    """
    if any(figures.values()) and "MPLBACKEND" in os.environ:
        check_backend()
    read = {identity(path) for path in inputs}
    written: dict[tuple, str] = {}
    for name, path in {**figures, **others}.items():
        if path is None:
            continue
        check_writable(path)
        if name in figures:
            format_of(path)
        if os.path.exists(path) and not os.path.isfile(path):
            continue  # a device or a pipe
        own = identity(path)
        if own in read:
            raise UserError(f"{path} is to be read and would be overwritten: give {name} another file")
        if own in written:
            pair = f"{written[own]} and {name} {path}"
            raise UserError(f"two flags name the same file, {pair}: give each its own")
        written[own] = name
        if os.path.isfile(path) and is_foreign_picture(path):
            raise UserError(
                f"{name} {path} is a picture that these scripts did not draw, and is not overwritten: "
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


def identity(path) -> tuple:
    """What two paths of the same file have in common."""
    try:
        about = os.stat(path)
        return about.st_dev, about.st_ino
    except (OSError, ValueError):
        return (os.path.normcase(os.path.realpath(path)),)


def is_figure(path) -> bool:
    """Whether a file is a figure that these scripts drew."""
    return MARK in beginning(path)


def is_foreign_picture(path) -> bool:
    """Whether a file is a picture without the mark, and is not called as `train.py` calls its own."""
    start = beginning(path)
    is_picture = start.startswith(PICTURES) or start[4:8] == b"ftyp" or b"<svg" in start
    return is_picture and MARK not in start and os.path.basename(path) != UNMARKED


def beginning(path) -> bytes:
    """The first bytes of a file, and all of a PDF, which ends with its metadata; none if unreadable."""
    try:
        with open(path, "rb") as file:
            start = file.read(MARK_WITHIN)
            return start + file.read() if start.startswith(b"%PDF") else start
    except (OSError, ValueError):
        return b""
