"""Which files are pictures: walks through folders, lists of paths."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator

from PIL import Image

from lenet5.runtime.errors import UserError, reason


def walk(folder: str) -> Iterator[str]:
    """The pictures in a folder and those below it, sorted by name at every level."""
    # What is still to be seen in each folder on the way down, the last name first: folders may
    # lie deeper than Python calls functions. One folder's names are in memory, not its paths.
    waiting = [("", [folder], {folder})]
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
            waiting.append((path, *entries(path)))
        except OSError:
            yield path  # whoever opens it learns the reason


def entries(folder: str) -> tuple[list[str], set[str]]:
    """The names of the pictures and folders in a folder, the last one first; which are folders."""
    names, folders = [], set()
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
            elif not is_registered(os.path.splitext(entry.name)[1].lower()):
                continue
            names.append(entry.name)
    names.sort(reverse=True)
    return names, folders


def is_registered(extension: str) -> bool:
    """Whether files with this extension, in small letters, are pictures to Pillow."""
    Image.preinit()  # the readers of PNG and JPEG and a few more; all of them take longer to import
    return extension in Image.EXTENSION or extension in Image.registered_extensions()


def find_pictures(paths: Iterable[str]) -> Iterator[str]:
    """Each path that is no folder, and for a folder each picture in it.

    A file belongs to a folder's pictures if Pillow registers its extension.
    Yields a folder's own name where it holds no picture or cannot be listed, so
    that it gets its line like everything that cannot be read.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        pictures = walk(path)
        first = next(pictures, None)
        if first is None:
            yield path
        else:
            yield from itertools.chain([first], pictures)


def listed_paths(source: str) -> Iterator[str]:
    """The paths in a file, one a line, or on standard input for "-"."""
    with contextlib.ExitStack() as stack:
        if source == "-":
            lines = sys.stdin.buffer
        else:
            try:
                lines = stack.enter_context(open(source, "rb"))
            except OSError as error:
                raise UserError(f"cannot read {source}: {reason(error)}") from error
        for line in lines:
            path = os.fsdecode(line.rstrip(b"\r\n"))
            if path:
                yield path
