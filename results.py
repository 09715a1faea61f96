"""What was read from pictures: as a table, JSON or CSV, as a total, as a figure, in a file.

    >>> from results import Result
    >>> Result(path="digit_7.png", prediction=1, label=7).correct
    False

`inference.py` makes the results.
"""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from lenet5.runtime.errors import UserError, one_line

FIELDS = ("path", "prediction", "confidence", "top", "label", "correct", "error")
MOST_PICTURES = 60  # in the figure of --plot
LONGEST_LINE = 1 << 26  # bytes of an output file: no result takes as many


@dataclass
class Result:
    """What was read from one picture; `error` is set where nothing could be.

    `prediction` is the class (a digit as int, another name as str), None if the
    picture could not be read or the answer was refused (`reason` says why).
    `probabilities` has one number a class, `top` the k likeliest classes with
    theirs, `image` the 28×28 uint8 picture as the network saw it.
    """

    path: str | None = None
    prediction: int | str | None = None
    confidence: float | None = None
    top: list[tuple[int | str, float]] | None = None
    label: int | str | None = None
    error: str | None = None
    reason: str | None = None
    probabilities: np.ndarray | None = field(default=None, repr=False)
    image: np.ndarray | None = field(default=None, repr=False)
    fields: ClassVar[tuple[str, ...]] = FIELDS  # what is printed and written of it

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is the label; None where either is missing."""
        if self.prediction is None or self.label is None:
            return None
        return self.prediction == self.label

    def as_object(self) -> dict:
        """The result as the object that `--format json` prints, probabilities rounded."""
        values = {name: rounded(getattr(self, name)) for name in self.fields}
        if self.reason is not None:
            values["reason"] = self.reason
        return values


def rounded(value):
    """The value, or what is in its lists and dicts, with six significant digits of each float.

    Float32 has seven, and the last depends on the number of threads and the size of the batch.
    """
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return value


# ---------------------------------------------------------------- how results are shown


class Report:
    """Counts of what was read, for the total, the confusion list and the exit status."""

    def __init__(self):
        self.read = self.unreadable = self.refused = self.labelled = self.right = 0
        self.misses: Counter = Counter()

    def add(self, values: dict) -> None:
        """Count one result, given as its object."""
        if values["error"] is not None:
            self.unreadable += 1
            return
        self.read += 1
        self.refused += values["prediction"] is None
        if values["correct"] is not None:
            self.labelled += 1
            self.right += values["correct"]
            if not values["correct"]:
                self.misses[values["label"], values["prediction"]] += 1

    def lines(self) -> Iterator[str]:
        """The total, then a line for each kind of miss, the commonest first."""
        parts = [f"{self.read:,} read"]
        if self.labelled:
            share = 100 * self.right / self.labelled
            parts.append(f"{self.right:,} of {self.labelled:,} right ({share:.2f} %)")
        if self.refused:
            parts.append(f"{self.refused:,} refused")
        if self.unreadable:
            parts.append(f"{self.unreadable:,} could not be read")
        yield ", ".join(parts)
        for (label, prediction), count in self.misses.most_common():
            yield f"  {one_line(label)} read as {one_line(prediction)}: {count:,}"


class TableWriter:
    """Results as a table for people; a path too long for its column is shown by its end."""

    heading = "read  sure     second choice"

    def __init__(self, stream):
        self.stream = stream
        self.width = None

    def write(self, results: list[Result]) -> None:
        if self.width is None:
            # The first batch decides the width; a terminal limits it to what leaves 80 columns.
            longest = max(len(one_line(result.path)) for result in results)
            self.width = max(7, min(longest, 42) if self.stream.isatty() else longest)
            print(f"{'picture':{self.width}}  {self.heading}", file=self.stream)
        for result in results:
            path = one_line(result.path)
            if len(path) > self.width and self.stream.isatty():
                path = "…" + path[1 - self.width :]
            print(f"{path:{self.width}}  {self.verdict(result)}".rstrip(), file=self.stream)

    @staticmethod
    def verdict(result: Result) -> str:
        if result.error is not None:
            return f"   -  not read: {one_line(result.error)}"
        answer = "?" if result.prediction is None else one_line(result.prediction)
        second = (
            f"{one_line(result.top[1][0])} ({100 * result.top[1][1]:.2f} %)"
            if len(result.top) > 1
            else ""
        )
        mark = {True: "✓", False: f"✗ is {one_line(result.label)}", None: ""}[result.correct]
        note = mark if result.reason is None else result.reason.split(":")[0]
        return f"{answer!s:>4}  {100 * result.confidence:6.2f} %  {second:14} {note}"


class JsonWriter:
    """One JSON object a line."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, results: list[Result]) -> None:
        for result in results:
            # ASCII only, so that a name that is not UTF-8 survives as an escape.
            self.stream.write(json.dumps(result.as_object()) + "\n")


class CsvWriter:
    """The same fields as the JSON objects and the reason; lists are written as JSON."""

    kind = Result

    def __init__(self, stream, header: bool = True):
        self.writer = csv.DictWriter(stream, (*self.kind.fields, "reason"), lineterminator="\n")
        if header:
            self.writer.writeheader()

    def write(self, results: list[Result]) -> None:
        for result in results:
            row = result.as_object()
            self.writer.writerow(
                {name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()}
            )


WRITERS = {"table": TableWriter, "json": JsonWriter, "csv": CsvWriter}


class PlotKeeper:
    """The first wrong and the first other results, as many as one figure shows."""

    def __init__(self):
        self.wrong: list[Result] = []
        self.others: list[Result] = []
        self.seen = 0

    def add(self, results: list[Result]) -> None:
        for result in results:
            if result.image is None:
                continue
            self.seen += 1
            chosen = self.wrong if result.correct is False else self.others
            if len(chosen) < MOST_PICTURES:
                chosen.append(result)

    def draw(self, path: str) -> None:
        """The pictures as the network saw them, with verdicts, the wrong ones first."""
        from lenet5.evaluation import figures

        shown = (self.wrong + self.others)[:MOST_PICTURES]
        titles, colours = [], []
        for result in shown:
            answer = "?" if result.prediction is None else result.prediction
            mark = {True: " ✓", False: f" ✗ is {result.label}", None: ""}[result.correct]
            titles.append(f"{answer} {100 * result.confidence:.0f} %{mark}")
            colours.append({True: figures.GREEN, False: figures.RED, None: figures.GREY}[result.correct])
        heading = f"{len(shown):,} of {self.seen:,} pictures as the network sees them"
        figures.picture_grid([r.image for r in shown], titles, colours, path, heading)


# ---------------------------------------------------------------- an output file that is continued


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
