"""Results in a file that a second call continues."""

import contextlib
import csv
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator

import numpy as np

from lenet5.reading.results import FIELDS, WRITERS, Report, Result
from lenet5.runtime.atomic_files import append, check_writable, lock, sync_folder
from lenet5.runtime.errors import Stopped, UserError, say

LONGEST_LINE = 1 << 26  # bytes of an output file: no result takes as many


class Done:
    """Which paths an output file holds, and how often: a few bytes for each, however long it is.

    Fill it with `add`; then `left` says what is still to be done.
    """

    def __init__(self):
        self.digests = bytearray()  # of 16 bytes: among a million, no two are ever the same by chance
        self.known: np.ndarray | None = None  # sorted, each once
        self.open: np.ndarray | None = None  # how often each was added and has not been ticked off

    @property
    def count(self) -> int:
        return len(self.digests) // 16

    def add(self, path) -> None:
        self.digests += digest(path)

    def left(self, paths: list[str]) -> list[str]:
        """Those of the paths that are still to be done; the others are ticked off, once each."""
        if not self.digests:
            return paths
        if self.known is None:
            self.known, self.open = np.unique(np.frombuffer(self.digests, "S16"), return_counts=True)
        wanted = np.array([digest(path) for path in paths], "S16")
        places = np.minimum(np.searchsorted(self.known, wanted), len(self.known) - 1)
        left = []
        for path, place, is_known in zip(paths, places, self.known[places] == wanted, strict=True):
            if is_known and self.open[place] > 0:
                self.open[place] -= 1
            else:
                left.append(path)
        return left


def digest(path) -> bytes:
    """16 bytes that stand for the path of a result, which may be none or, of others, a number."""
    return hashlib.blake2b(repr(path).encode("ascii", "backslashreplace"), digest_size=16).digest()


def read_done(path: str, format: str, kind: type[Result] = Result) -> Iterator[tuple[dict, int]]:
    """Each result of a kind in an output file, and how many bytes of the file end with it.

    One at a time is in memory. A last line that was cut off does not count. Raises
    UserError for a file that holds something else, which is not to be overwritten.
    """
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        lines = WholeLines(file, '"' if format == "csv" else "")
        try:
            if format == "json":
                rows = map(json.loads, lines)
            else:
                reader = csv.DictReader(lines, strict=True)
                if reader.fieldnames is not None and not set(kind.fields) <= set(reader.fieldnames):
                    raise ValueError
                rows = map(from_csv, reader)
            for row in rows:
                if not is_result(row, kind.fields):
                    raise ValueError
                yield row, lines.length
            # What would be overwritten has to be the beginning of a first line.
            begins = b'{"path"' if format == "json" else b"path,"
            if lines.length == 0 and not begins.startswith(lines.rest[: len(begins)]):
                raise ValueError
        except (ValueError, KeyError, RecursionError, csv.Error):
            raise UserError(
                f"{path} is there already and holds no {format} results; give another --output"
            ) from None


class WholeLines:
    """The lines of a file opened in binary, in text, up to the last one that is whole.

    With a `quote`, a line goes on while a quotation is open. `length` is the number of bytes
    of the lines given, `rest` what is left at the end. Raises ValueError for a line that no
    result is as long as.
    """

    def __init__(self, file, quote: str):
        self.file, self.quote = file, quote.encode()
        self.length, self.rest = 0, b""

    def __iter__(self) -> Iterator[str]:
        parts, size, quotes = [], 0, 0
        while part := self.file.readline(LONGEST_LINE):
            parts.append(part)
            size += len(part)
            if size > LONGEST_LINE:
                raise ValueError
            quotes += part.count(self.quote) if self.quote else 0
            if part.endswith(b"\n") and quotes % 2 == 0:
                self.length += size
                yield b"".join(parts).decode("utf-8", "surrogateescape")
                parts, size, quotes = [], 0, 0
        self.rest = b"".join(parts)


def is_result(row, fields: tuple[str, ...] = FIELDS) -> bool:
    """Whether a row of an output file has what is counted of a result."""
    if not isinstance(row, dict) or not all(name in row for name in fields):
        return False
    names = (row[name] for name in ("path", "prediction", "label", "error"))
    return row["correct"] in (None, True, False) and all(
        name is None or isinstance(name, str | int) for name in names
    )


def from_csv(row: dict) -> dict:
    """A row of an output file in CSV as the object it was made from."""
    values = {name: value if value != "" else None for name, value in row.items()}
    values["correct"] = {"True": True, "False": False, None: None}[values["correct"]]
    return values


@contextlib.contextmanager
def results_to(arguments, report: Report, writers: dict = WRITERS):
    """A writer for the results, what brings them where they belong, and which ones are there already.

    With `--output` they are added to that file, after what is already in it.
    """
    if arguments.output is None:
        yield writers[arguments.format](sys.stdout), sys.stdout.flush, Done()
        return
    # A table cannot be read back, so a file of results is JSON unless CSV is asked for.
    format = "csv" if arguments.format == "csv" else "json"
    check_writable(arguments.output)
    with open(arguments.output, "ab", buffering=0) as file:
        is_regular = os.path.isfile(arguments.output)
        if is_regular:
            lock(file, arguments.output)
        done, length = Done(), 0
        for row, end in read_done(arguments.output, format, writers["csv"].kind):
            report.add(row)
            done.add(row["path"])
            length = end
        if length:
            say(f"{arguments.output} holds {done.count:,} results; going on after them")
        if is_regular:
            file.truncate(length)
        text = io.StringIO(newline="")
        writer = writers["json"](text) if format == "json" else writers["csv"](text, header=length == 0)

        def save() -> None:
            data = text.getvalue().encode("utf-8", "surrogateescape")
            text.seek(0)
            text.truncate()
            append(file, data)

        try:
            yield writer, save, done
        except Stopped as stopped:
            hint = f"the same command goes on after the results in {arguments.output}"
            raise Stopped(f"{stopped}; {hint}", stopped.status) from stopped
        save()
        if is_regular:
            os.fsync(file.fileno())
            sync_folder(os.path.dirname(os.path.realpath(arguments.output)))
