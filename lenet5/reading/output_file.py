"""Results in a file that a second call continues."""

import contextlib
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator

from lenet5.reading.results import FIELDS, WRITERS, Report, Result
from lenet5.runtime.atomic_files import append, check_writable, lock, sync_folder
from lenet5.runtime.errors import Stopped, UserError, say

BEGINNINGS = {"json": b'{"path"', "csv": b"path,"}  # of a file of results


def not_done(paths: list[str], done: Counter) -> list[str]:
    """Those of the paths that are still to be read; the others are ticked off, once each."""
    left = []
    for path in paths:
        if done[path] > 0:
            done[path] -= 1
        else:
            left.append(path)
    return left


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
            for row in json_rows(file) if format == "json" else csv_rows(file, kind.fields):
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


def json_rows(file) -> Iterator[dict]:
    return map(json.loads, whole_lines(file))


def csv_rows(file, fields: tuple[str, ...]) -> Iterator[dict]:
    """The rows of a CSV file as the objects that they were made from."""
    reader = csv.DictReader(whole_lines(file), strict=True)
    if reader.fieldnames is not None and not set(fields) <= set(reader.fieldnames):
        raise ValueError
    try:
        for row in reader:
            values = {name: value if value != "" else None for name, value in row.items()}
            values["correct"] = {"True": True, "False": False, None: None}[values["correct"]]
            yield values
    except csv.Error:
        if file.read(1):  # else the last row was cut off between the lines of a quotation
            raise


def is_result(row, fields: tuple[str, ...] = FIELDS) -> bool:
    """Whether a row of an output file has what is counted of a result."""
    if not isinstance(row, dict) or not all(name in row for name in fields):
        return False
    names = (row[name] for name in ("path", "prediction", "label", "error"))
    return row["correct"] in (None, True, False) and all(
        name is None or isinstance(name, str | int) for name in names
    )


@contextlib.contextmanager
def results_to(arguments, report: Report, writers: dict = WRITERS):
    """A writer for the results, a function that saves them, and how often each path is done already.

    With `--output` they are added to that file, after what is already in it.
    """
    if arguments.output is None:
        yield writers[arguments.format](sys.stdout), sys.stdout.flush, Counter()
        return
    # A table cannot be read back, so a file of results is JSON unless CSV is asked for.
    format = "csv" if arguments.format == "csv" else "json"
    check_writable(arguments.output)
    with open(arguments.output, "ab", buffering=0) as file:
        is_regular = os.path.isfile(arguments.output)
        if is_regular:
            lock(file, arguments.output)
        done, length = Counter(), 0
        for row, end in read_done(arguments.output, format, writers["csv"].kind):
            report.add(row)
            done[row["path"]] += 1
            length = end
        if length:
            say(f"{arguments.output} holds {done.total():,} results; going on after them")
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
