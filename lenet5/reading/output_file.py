"""Results in a file that a second call continues."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator

from lenet5.reading.results import Report, Result
from lenet5.runtime.atomic_files import append, check_writable, lock, sync_folder
from lenet5.runtime.errors import Stopped, UserError, say

BEGINNINGS = {"json": b'{"path"', "csv": b"path,"}  # of a file of results


@contextlib.contextmanager
def results_to(arguments, report: Report, writers: dict):
    """A function that writes a list of results, and the paths whose results are written already.

    With `--output` they are added to that file; what is in it is counted in `report`.
    """
    if arguments.output is None:
        printer = writers[arguments.format](sys.stdout)

        def show(results: list[Result]) -> None:
            printer.write(results)
            sys.stdout.flush()

        yield show, set()
        return
    # A table cannot be read back, so a file of results is JSON unless CSV is asked for.
    format = "csv" if arguments.format == "csv" else "json"
    check_writable(arguments.output)
    with open(arguments.output, "ab", buffering=0) as file:
        is_regular = os.path.isfile(arguments.output)
        if is_regular:
            lock(file, arguments.output)
        done, length = set(), 0
        for row, end in read_done(arguments.output, format, writers["csv"].kind):
            report.add(row)
            done.add(row["path"])
            length = end
        if length:
            count = report.read + report.unreadable
            say(f"{arguments.output} holds {count:,} results; going on after them")
        if is_regular:
            file.truncate(length)
        text = io.StringIO(newline="")
        writer = writers["json"](text) if format == "json" else writers["csv"](text, header=length == 0)

        def write(results: list[Result]) -> None:
            writer.write(results)
            append(file, text.getvalue().encode("utf-8", "surrogateescape"))
            text.seek(0)
            text.truncate()

        try:
            yield write, done
        except Stopped as stopped:
            hint = f"the same command goes on after the results in {arguments.output}"
            raise Stopped(f"{stopped}; {hint}", stopped.status) from stopped
        write([])  # the header, if there was no result
        if is_regular:
            os.fsync(file.fileno())
            sync_folder(os.path.dirname(os.path.realpath(arguments.output)))


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
    )
