"""Results in a file that a second call continues.

Each row ends with what its result depends on: the weights (the first 12 digits of their SHA-256), the
flags, and the picture's size in bytes and time of change.
"""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator

from lenet5.reading.results import STAMP, Report, Result
from lenet5.runtime.atomic_files import append, lock, sync_folder
from lenet5.runtime.errors import Stopped, UserError, one_line, say

BEGINNINGS = {"json": b'{"path"', "csv": b"path,"}  # of a file of results
COUNTED = ("error", "prediction", "label", "correct")  # of a result


@contextlib.contextmanager
def results_to(arguments, reader, report: Report, writers: dict):
    """A function that writes a list of results, and one that tells whether a path is done already.

    With `--output` they are added to that file; what is in it is counted in `report`.
    """
    if arguments.output is None:
        printer = writers[arguments.format](sys.stdout)

        def show(results: list[Result]) -> None:
            printer.write(results)
            sys.stdout.flush()
            for result in results:
                report.add(result.as_object())

        yield show, lambda path: False
        return
    # A table cannot be read back, so a file of results is JSON unless CSV is asked for.
    format = "csv" if arguments.format == "csv" else "json"
    with open(arguments.output, "ab", buffering=0) as file:
        output = OutputFile(file, arguments.output, format, reader.identity(), report, writers)
        try:
            yield output.write, output.is_done
        except Stopped as stopped:
            hint = f"the same command goes on after the results in {arguments.output}"
            raise Stopped(f"{stopped}; {hint}", stopped.status) from stopped
        output.write([])  # the header, if there was no result
        if output.is_regular:
            os.fsync(file.fileno())
            sync_folder(os.path.dirname(os.path.realpath(arguments.output)))


class OutputFile:
    """An open file of results, those that are in it, and those that are added.

    `identity`: the weights and flags of the results. Raises UserError for a file with others.
    """

    def __init__(self, file, path: str, format: str, identity: dict, report: Report, writers: dict):
        self.file, self.report, self.identity = file, report, identity
        self.is_regular = os.path.isfile(path)
        self.counted: dict[str, tuple] = {}  # by path in the file: the picture, COUNTED, how often
        self.now: dict[str, tuple] = {}  # by path: the picture that is being read
        if self.is_regular:
            lock(file, path)
        length, is_older = 0, False
        for row, end in read_done(path, format, writers["csv"].kind):
            check_identity(path, row, identity)
            is_older |= "weights" not in row
            self.count(row["path"], row)
            length = end
        if length:
            say(f"{path} holds {report.read + report.unreadable:,} results; going on after them")
        if is_older:
            say(f"an older version began {path} and did not note with which weights and flags")
        if self.is_regular:
            file.truncate(length)
        self.text = io.StringIO(newline="")
        if format == "json":
            self.writer = writers["json"](self.text)
        else:
            self.writer = writers["csv"](self.text, header=length == 0, stamped=not is_older)

    def count(self, path: str, row: dict) -> None:
        """Count a result that is in the file, in place of those of the picture before it changed."""
        picture = (row["size"], row["time"]) if "weights" in row else None
        before, values, times = self.counted.get(path, (picture, (), 0))
        if before != picture:
            self.report.add(dict(zip(COUNTED, values, strict=True)), -times)
            times = 0
        self.counted[path] = picture, tuple(row[name] for name in COUNTED), times + 1
        self.report.add(row)

    def is_done(self, path: str) -> bool:
        """Whether the file has the result of a picture as it is now, or of an older version."""
        now = picture_at(path)
        if path in self.counted and self.counted[path][0] in (now, None):
            return True
        self.now[path] = now
        return False

    def write(self, results: list[Result]) -> None:
        for result in results:
            size, time = self.now.get(str(result.path), (None, None))
            result.stamp = self.identity | {"size": size, "time": time}
        self.writer.write(results)
        append(self.file, self.text.getvalue().encode("utf-8", "surrogateescape"))
        self.text.seek(0)
        self.text.truncate()
        for result in results:
            path, row = str(result.path), result.as_object()
            self.now.pop(path, None)
            if path in self.counted:
                self.count(path, row)
            else:  # a million of them are not to be remembered
                self.report.add(row)


def picture_at(path: str) -> tuple[str | None, str | None]:
    """A file's size in bytes and when it was changed, in seconds, as text; None where there is none."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None, None
    seconds, rest = divmod(about.st_mtime_ns, 10**9)
    return str(about.st_size), f"{seconds}.{rest:09}"


def check_identity(path: str, row: dict, identity: dict) -> None:
    """Raise UserError for a result that other weights or flags gave."""
    for name, now in identity.items():
        then = str(row.get(name, now))
        if then != now:
            pairs = ((then, now), (now, then))
            old, new = (" ".join(w for w in a.split() if w not in b.split()) for a, b in pairs)
            raise UserError(
                f"{path} holds results with other {name} ({one_line(old)[:40]}; now {new}): "
                "name another --output, or remove it"
            )


def read_done(path: str, format: str, kind: type[Result] = Result) -> Iterator[tuple[dict, int]]:
    """Each result of a kind in an output file, and how many bytes of the file end with it.

    A last row that was cut off does not count. Raises UserError for a file that holds
    something else, which is not to be overwritten.
    """
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        start = file.read(len(BEGINNINGS[format]))
        file.seek(0)
        try:
            if not BEGINNINGS[format].startswith(start):
                raise ValueError
            for row in map(json.loads, whole_lines(file)) if format == "json" else csv_rows(file):
                if not is_result(row, kind.fields):
                    raise ValueError
                yield row, file.tell()
        except (ValueError, KeyError, RecursionError, csv.Error):
            raise UserError(
                f"{path} is there already and holds no {format} results; give another --output"
            ) from None


def whole_lines(file) -> Iterator[str]:
    """The lines of a file opened in binary as text, without a last one that was cut off."""
    for line in file:
        if line.endswith(b"\n"):
            yield line.decode("utf-8", "surrogateescape")


def csv_rows(file) -> Iterator[dict]:
    """The rows of a CSV file as the objects that they were made from."""
    try:
        for row in csv.DictReader(whole_lines(file), strict=True):
            values: dict = {name: value if value != "" else None for name, value in row.items()}
            values["correct"] = {"True": True, "False": False, None: None}[values["correct"]]
            yield values
    except csv.Error:
        if file.read(1):  # else the last row was cut off between the lines of a quotation
            raise


def is_result(row, fields: tuple[str, ...]) -> bool:
    """Whether a row of an output file has what is counted of a result."""
    return (
        isinstance(row, dict)
        and row.keys() >= set(fields)
        and isinstance(row["path"], str)
        and row["correct"] in (None, True, False)
        and all(isinstance(row[name], str | int | None) for name in ("prediction", "label", "error"))
        and all(isinstance(row.get(name), str | None) for name in STAMP)
    )
