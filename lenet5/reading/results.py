"""Results of reading pictures: as a table, JSON or CSV, as a total, as a figure.

>>> from lenet5.reading.results import Result
>>> Result(path="digit_7.png", prediction=1, label=7).correct
False
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TextIO

import numpy as np

from lenet5.runtime.errors import one_line

FIELDS = ("path", "prediction", "confidence", "top", "label", "correct", "error")
STAMP = ("weights", "flags", "size", "time")  # further fields in a file of results
MOST_PICTURES = 60  # in the figure of --plot


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
    stamp: dict = field(default_factory=dict, repr=False)  # what it depends on: see `OutputFile`
    fields: ClassVar[tuple[str, ...]] = FIELDS  # what is printed and written of it

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is the label; None where either is missing."""
        if self.prediction is None or self.label is None:
            return None
        return self.prediction == self.label

    @property
    def answer(self) -> str:
        """The prediction as it is shown: ? for a refused picture."""
        return "?" if self.prediction is None else one_line(self.prediction)

    @property
    def mark(self) -> str:
        """✓ or ✗ with the label, where there is one."""
        return {True: "✓", False: f"✗ is {one_line(self.label)}", None: ""}[self.correct]

    def as_object(self) -> dict:
        """The result as the object that `--format json` prints, probabilities rounded."""
        values = {name: rounded(getattr(self, name)) for name in self.fields}
        if self.reason is not None:
            values["reason"] = self.reason
        return values | self.stamp


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


class Report:
    """Counts of what was read, for the total, the confusion list and the exit status."""

    def __init__(self) -> None:
        self.read = self.unreadable = self.refused = self.labelled = self.right = 0
        self.misses: Counter = Counter()

    def add(self, values: dict, count: int = 1) -> None:
        """Count one result, given as its object; -1: no longer."""
        if values["error"] is not None:
            self.unreadable += count
            return
        self.read += count
        self.refused += count * (values["prediction"] is None)
        if values["correct"] is not None:
            self.labelled += count
            self.right += count * values["correct"]
            if not values["correct"]:
                self.misses[values["label"], values["prediction"]] += count

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
        for (label, prediction), count in (+self.misses).most_common():
            yield f"  {one_line(label)} read as {one_line(prediction)}: {count:,}"


class TableWriter:
    """Results as a table for people; a path too long for its column is shown by its end."""

    heading = "read  sure     second choice"

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.width = 0

    def write(self, results: list[Result]) -> None:
        is_terminal = self.stream.isatty()
        if self.width == 0:
            # The first batch decides the width; a terminal limits it to what leaves 80 columns.
            longest = max(len(one_line(result.path)) for result in results)
            self.width = max(7, min(longest, 42) if is_terminal else longest)
            print(f"{'picture':{self.width}}  {self.heading}", file=self.stream)
        for result in results:
            path = one_line(result.path)
            if len(path) > self.width and is_terminal:
                path = "…" + path[1 - self.width :]
            print(f"{path:{self.width}}  {self.verdict(result)}".rstrip(), file=self.stream)

    @staticmethod
    def verdict(result: Result) -> str:
        if result.error is not None:
            return f"   -  not read: {one_line(result.error)}"
        assert result.top is not None
        assert result.confidence is not None
        second = ""
        if len(result.top) > 1:
            name, share = result.top[1]
            second = f"{one_line(name)} ({100 * share:.2f} %)"
        note = result.mark if result.reason is None else result.reason.split(":")[0]
        return f"{result.answer:>4}  {100 * result.confidence:6.2f} %  {second:14} {note}"


class JsonWriter:
    """One JSON object a line."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, results: list[Result]) -> None:
        for result in results:
            # ASCII only, so that a name that is not UTF-8 survives as an escape.
            self.stream.write(json.dumps(result.as_object()) + "\n")


class CsvWriter:
    """The same fields as the JSON objects and the reason; lists are written as JSON."""

    kind: type[Result] = Result

    def __init__(self, stream: TextIO, header: bool = True, stamped: bool = False):
        columns = (*self.kind.fields, "reason", *(STAMP if stamped else ()))
        self.writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        if header:
            self.writer.writeheader()

    def write(self, results: list[Result]) -> None:
        for result in results:
            row = result.as_object()
            self.writer.writerow(
                {name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()}
            )


WRITERS: dict[str, Any] = {"table": TableWriter, "json": JsonWriter, "csv": CsvWriter}


class PlotKeeper:
    """The first wrong and the first other results, as many as one figure shows."""

    def __init__(self) -> None:
        self.wrong: list[Result] = []
        self.others: list[Result] = []
        self.seen = 0

    def add(self, results: list[Result]) -> None:
        for result in results:
            if result.error is None:
                self.seen += 1
                chosen = self.wrong if result.correct is False else self.others
                if len(chosen) < MOST_PICTURES:
                    chosen.append(result)

    def draw(self, path: str) -> None:
        """The pictures as the network saw them, with verdicts, the wrong ones first."""
        from lenet5.evaluation import figures

        shown = (self.wrong + self.others)[:MOST_PICTURES]
        titles = [f"{r.answer} {100 * (r.confidence or 0):.0f} % {r.mark}".rstrip() for r in shown]
        colour_of = {True: figures.GREEN, False: figures.RED, None: figures.GREY}
        colours = [colour_of[result.correct] for result in shown]
        heading = f"{len(shown):,} of {self.seen:,} pictures as the network sees them"
        figures.picture_grid([r.image for r in shown], titles, colours, path, heading)
