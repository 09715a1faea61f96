"""Which files are pictures: walks through folders, lists of paths."""

from __future__ import annotations

import codecs
import contextlib
import glob
import importlib.util
import io
import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import UserError, one_line, reason, say
from lenet5.runtime.outputs import MARK, file_key, format_of, is_figure

MOST_KINDS = 5  # of what was left out, that are told apart
# Of archives from a Mac, network storage and Windows. Other hidden ones begin with a point.
SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}


def walk(folder: str, left_out: Counter) -> Iterator[str]:
    """The pictures in a folder and those below it, sorted by name at every level.

    Links are followed, but no folder is seen twice. `left_out` counts what is no picture to be read.
    """
    # What is still to be seen in each folder on the way down, the last name first: folders may
    # lie deeper than Python calls functions. One folder's names are in memory, not its paths.
    waiting, seen = [("", [folder], {folder})], {file_key(folder)}
    while waiting:
        above, names, folders = waiting[-1]
        if not names:
            waiting.pop()
            continue
        name = names.pop()
        path = os.path.join(above, name)
        if name not in folders:
            yield path
            continue
        try:
            waiting.append((path, *entries(path, seen, left_out)))
        except OSError:
            yield path  # whoever opens it learns the reason


def entries(folder: str, seen: set, left_out: Counter) -> tuple[list[str], set[str]]:
    """The names of the pictures and folders in a folder, the last one first; which are folders.

    Of a folder and a link to it the folder is read.
    """
    names, folders, links = [], set(), []
    with os.scandir(folder) as found:
        for entry in found:
            extension = os.path.splitext(entry.name)[1].lower()
            if is_hidden(entry.name):
                left_out["hidden"] += 1
            elif is_folder(entry) and entry.is_symlink():
                links.append(entry.name)
            elif is_folder(entry):
                seen.add(file_key(entry.path))
                folders.add(entry.name)
            elif not is_registered(extension):
                left_out[f"{one_line(extension)[:12]} files" if extension else "without extension"] += 1
            elif is_figure(entry.path):
                left_out["figures that these scripts drew"] += 1
            else:
                names.append(entry.name)
    for name in sorted(links):
        own = file_key(os.path.join(folder, name))
        if own in seen:
            left_out["seen already, through a link"] += 1
        else:
            seen.add(own)
            folders.add(name)
    return sorted([*names, *folders], reverse=True), folders


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's and not the user's."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def is_registered(extension: str) -> bool:
    """Whether files with this extension, in small letters, are pictures to Pillow."""
    Image.preinit()  # the readers of PNG and JPEG and a few more; all of them take longer to import
    if extension in (".heic", ".heif"):
        return importlib.util.find_spec("pillow_heif") is not None
    return extension in Image.EXTENSION or extension in Image.registered_extensions()


def find_pictures(paths: Iterable[str]) -> Iterator[str]:
    """Each path that is no folder, and for a folder each picture in it.

    A file belongs to a folder's pictures if Pillow registers its extension, unless it is hidden or a
    figure of these scripts; at the end a line on stderr counts what was left out.
    Yields a folder's own name where it holds no picture or cannot be listed, so
    that it gets its line like everything that cannot be read.
    """
    left_out: Counter = Counter()
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        pictures = walk(path, left_out)
        first = next(pictures, None)
        if first is None:
            yield path
        else:
            yield from itertools.chain([first], pictures)
    if left_out:
        kinds = [f"{count:,} {why}" for why, count in left_out.most_common(MOST_KINDS)]
        others = sum(left_out.values()) - sum(count for _, count in left_out.most_common(MOST_KINDS))
        say(f"left out: {', '.join(kinds + [f'{others:,} others'] * bool(others))}")


def expanded(path: str) -> list[str]:
    """The paths that an argument stands for: those of a pattern such as *.png that no shell expanded."""
    if path[:5].lower() == "data:" and not os.path.lexists(path):
        raise UserError("a data URL is for predict() and the server: name a file")
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    return sorted(glob.glob(path)) or [path]


def check_drawn(path) -> None:
    """Raise UserError unless `save_drawn` writes the format that a name tells."""
    if format_of(path) not in ("png", "jpg"):
        raise UserError(f"{path}: this is written as PNG or JPEG: name one of these")


def save_drawn(path, picture: Image.Image) -> None:
    """Write a picture that is no digit to read, as PNG or JPEG, with the mark of a figure."""
    check_drawn(path)
    if format_of(path) == "jpg":
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=80, comment=MARK)
        write_file(path, buffer.getvalue())
    else:
        write_file(path, marked_png(picture, MARK))


def marked_png(picture: Image.Image, mark: bytes) -> bytes:
    """A picture as the bytes of a PNG file that says what drew it."""
    buffer, about = io.BytesIO(), PngInfo()
    about.add_text("Software", mark.decode())
    picture.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def listed_paths(source: str) -> Iterator[str]:
    """The paths in a file, one a line, or on standard input for "-"."""
    with contextlib.ExitStack() as stack:
        if source == "-" and sys.stdin is None:
            raise UserError("--files-from -: there is no standard input; name a file")
        if source == "-":
            lines = sys.stdin.buffer
        else:
            try:
                lines = stack.enter_context(open(source, "rb"))
            except OSError as error:
                raise UserError(f"cannot read {source}: {reason(error)}") from error
        for line in decoded_lines(lines):
            path = line.rstrip("\r\n")
            if path:
                yield path


def decoded_lines(lines: BinaryIO) -> Iterator[str]:
    """Lines of text: of the system's encoding, or with the mark of UTF-8 or UTF-16, as PowerShell's."""
    first = lines.readline()
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = (first + lines.read()).decode("utf-16", "replace")
        yield from text.split("\n")
        return
    yield os.fsdecode(first.removeprefix(codecs.BOM_UTF8))
    yield from map(os.fsdecode, lines)
