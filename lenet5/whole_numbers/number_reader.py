"""Read whole numbers from pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lenet5.evaluation.confidence import REJECT_BELOW
from lenet5.imaging.opening import path_of
from lenet5.imaging.preprocess import INVERT
from lenet5.reading.classifier import PRETRAINED as DIGIT_WEIGHTS
from lenet5.reading.classifier import ImageClassifier, checked_top_k, only_prediction, several
from lenet5.reading.results import CsvWriter, JsonWriter, Result, TableWriter
from lenet5.runtime.atomic_files import sha256_of
from lenet5.runtime.errors import UserError, one_line
from lenet5.runtime.project_files import project_file
from lenet5.whole_numbers.exported_numbers import ExportedNumbers
from lenet5.whole_numbers.strip_reader import GraphReader, NetworkReader, Reading
from lenet5.whole_numbers.strips import Strip, numbers_on, prepare_pages
from lenet5.whole_numbers.windows import CLASSES, STRIDE

if TYPE_CHECKING:
    from lenet5.whole_numbers.space_displacement import TrainedNumbers

WEIGHTS = project_file("pretrained/lenet5-numbers.pth")
UNNAMED = [str(i) for i in range(len(CLASSES))]  # of weights that do not say what they are of
READERS = ("network", "graph")
MOST_DRAWN = 8  # numbers in the figure of --plot


@dataclass
class NumberResult(Result):
    """What was read from one picture; `error` is set where nothing could be.

    `prediction` is a string of digits, several numbers in reading order with a space
    between; None if there is no number in the picture, if it could not be read or if the
    answer was refused (`reason` says why). `confidence` is that of the least sure number.
    `numbers` has for each its text, confidence, box [x, y, width, height] in pixels of
    the picture, and digits, each with digit, confidence and box; with `top_k` above one
    also `top`, the likeliest readings, each with its probability.
    """

    numbers: list[dict] | None = None
    seen: list[tuple[Strip, Reading]] = field(default_factory=list, repr=False)
    fields: ClassVar[tuple[str, ...]] = tuple(
        "numbers" if name == "top" else name for name in Result.fields
    )


class NumberReader:
    """Reads the numbers in pictures.

        reader = NumberReader()
        reader.predict("postcode.png")               # "90210"
        reader.predict_batch(["a.png", "b.jpg"])     # two NumberResults

    `reader`: "network" (section VII of the paper; the default) or "graph" (section V; the default
    with `digit_weights`). `weights`: of the network of numbers; `digit_weights`: of one of single
    digits, with which the graph reads; default: those in pretrained/. Both may be .onnx files, which
    need no PyTorch. `arch`: for weights without
    metadata. `one`: whether a picture holds a single number. `invert`: "auto", "yes" (dark ink) or
    "no". `top_k`: how many readings of each number to name. `reject`: whether to refuse unsure
    numbers.

    Raises UserError for unusable weights or devices.
    """

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        *,
        reader: str | None = None,
        digit_weights: str | os.PathLike | None = None,
        device: str = "auto",
        arch: str | None = None,
        one: bool = False,
        invert: str = "auto",
        top_k: int = 1,
        reject: bool = False,
    ):
        reader = reader or ("network" if digit_weights is None else "graph")
        for name, value, known in (("reader", reader, READERS), ("invert", invert, INVERT)):
            if value not in known:
                raise UserError(f"{name} is {value!r}, which is none of {', '.join(known)}")
        self.name, self.one, self.invert = reader, one, invert
        self.top_k = checked_top_k(top_k)
        self.reject, self.reject_below = reject, REJECT_BELOW
        self.reader: NetworkReader | GraphReader
        unused = digit_weights if reader == "network" else weights
        if unused is not None:
            flag = {"network": "--weights", "graph": "--digit-weights"}[reader]
            raise UserError(
                f"the {reader} does not read with {unused}: give {flag}, or another --reader"
            )
        if reader == "graph":
            digits = ImageClassifier(digit_weights or DIGIT_WEIGHTS, device=device, arch=arch)
            if digits.classes != list(range(10)):
                raise UserError(f"{digits.weights} does not read the ten digits")
            self.weights = digits.weights
            self.reader, self.find = GraphReader(digits.logits), digits.find
            return
        self.weights = os.fspath(weights or WEIGHTS)
        network = network_of(self.weights, arch, device)
        self.reader = NetworkReader(network, top_k)
        self.reject_below = network.metadata.get("reject_below", REJECT_BELOW)
        self.find = network.load_finder()

    def identity(self) -> dict[str, str]:
        """What its answers depend on beside the picture: the weights, and the flags."""
        flags = f"reader={self.name} one={self.one} invert={self.invert} reject={self.reject}"
        return {"weights": sha256_of(self.weights), "flags": f"{flags} top-k={self.top_k}"}

    def predict(self, picture) -> str | None:
        """The numbers in one picture: any source that `open_picture` knows.

        Raises PictureError if it cannot be read; None if there is none, or if `reject`
        refuses it.
        """
        return only_prediction([*self.predict_batch([picture])])

    def predict_batch(
        self, pictures: Iterable, prepared: list[tuple] | None = None
    ) -> list[NumberResult]:
        """One NumberResult for each source that `open_picture` knows, in their order.

        A picture that cannot be read has its `error` set, and the others are read. `prepared`
        is what `prepare_pages` gives of them, where another process has called it.
        """
        pictures = several(pictures)
        if prepared is None:
            prepared = prepare_pages(pictures, self.invert)
        pages = [
            [] if page is None else numbers_on(page, self.find, self.invert, self.one)
            for page, _ in prepared
        ]
        strips = [strip for found in pages for strip in found]
        readings = iter(self.reader.read([strip.picture for strip in strips]))
        results = []
        for picture, found, (_, error) in zip(pictures, pages, prepared, strict=True):
            path = path_of(picture)
            label = None if path is None else label_of(path)
            results.append(NumberResult(path=path, label=label, error=error))
            if error is None:
                self.decide(results[-1], [(strip, next(readings)) for strip in found])
        return results

    def decide(self, result: NumberResult, seen: list[tuple[Strip, Reading]]) -> None:
        """Fill in what was read on a picture's strips."""
        result.seen = [(strip, reading) for strip, reading in seen if reading.digits]
        result.numbers = [as_number(strip, reading) for strip, reading in result.seen]
        if not result.numbers:
            result.reason = f"no number: {'no digit in the ink' if seen else 'there is no ink'}"
            result.confidence = 0.0
            return
        result.prediction = " ".join(number["text"] for number in result.numbers)
        result.confidence = min(number["confidence"] for number in result.numbers)
        if self.reject and result.confidence < self.reject_below:
            result.prediction = None
            below = f"which is below {self.reject_below:.3f}"
            result.reason = f"unsure: {result.confidence:.3f} sure, {below}"


def network_of(path: str, arch: str | None, device: str):
    """The network of numbers of a weights file, or of an .onnx file, which needs no PyTorch."""
    network: TrainedNumbers | ExportedNumbers
    if path.lower().endswith(".onnx"):
        network = ExportedNumbers(path, arch, device)
    else:
        from lenet5.whole_numbers.space_displacement import TrainedNumbers  # imports PyTorch

        network = TrainedNumbers(path, arch, device)
    if network.metadata["classes"] not in (CLASSES, UNNAMED):
        raise UserError(
            f"{path} does not read whole numbers; "
            "python -m lenet5.whole_numbers.train makes weights that do"
        )
    return network


def as_number(strip: Strip, reading: Reading) -> dict:
    """A number as it stands in a result, its boxes in pixels of the picture."""
    number = {
        "text": reading.text,
        "confidence": reading.confidence,
        "box": strip.box,
        "digits": [
            {"digit": digit, "confidence": confidence, "box": strip.in_picture(box)}
            for digit, confidence, box in zip(
                reading.digits, reading.confidences, reading.boxes, strict=True
            )
        ],
    }
    if reading.choices:
        number["top"] = [list(choice) for choice in reading.choices]
    return number


def label_of(path: str) -> str | None:
    """The true number where a name tells it: number_90210….png, or digit_7….png."""
    name = re.match(r"number_(\d+)|digit_(\d)(?!\d)", os.path.basename(path))
    return None if name is None else name[1] or name[2]


class NumberTable(TableWriter):
    """A table with what was read, how sure that is, and the least sure digit."""

    heading = "sure      least sure digit  read"

    @staticmethod
    def verdict(result: Result) -> str:
        assert isinstance(result, NumberResult)
        if result.numbers is None or result.confidence is None:
            return f"  -                         not read: {one_line(result.error)}"
        digits = [digit for number in result.numbers for digit in number["digits"]]
        least = min(digits, key=lambda digit: digit["confidence"], default=None)
        doubt = "" if least is None else f"{least['digit']} ({100 * least['confidence']:.2f} %)"
        note = "" if result.reason is None else result.reason.split(":")[0]
        shown = " ".join(filter(None, (result.answer, result.mark, note)))
        return f"{100 * result.confidence:6.2f} %  {doubt:16}  {shown}"


class NumberCsv(CsvWriter):
    """The fields of the JSON objects and the reason; `numbers` is written as JSON."""

    kind = NumberResult


WRITERS = {"table": NumberTable, "json": JsonWriter, "csv": NumberCsv}


class NumberKeeper:
    """The numbers that one figure shows: the first ones."""

    def __init__(self) -> None:
        self.kept: list[tuple[NumberResult, Strip, Reading]] = []
        self.seen = 0

    def add(self, results: list[NumberResult]) -> None:
        for result in results:
            self.seen += len(result.seen)
            for strip, reading in result.seen[: MOST_DRAWN - len(self.kept)]:
                self.kept.append((result, strip, reading))

    def draw(self, path: str) -> None:
        """Each number's strip with its digits' boxes, the scores along it and the chosen path."""
        from lenet5.evaluation import reading_figures

        numbers, titles = [], []
        for result, strip, reading in self.kept:
            drawn = (reading.shares, reading.boxes, reading.digits, reading.windows)
            numbers.append((strip.picture, *drawn))
            name = "" if result.path is None else f"{os.path.basename(result.path)}: "
            titles.append(f"{name}{reading.text}, {100 * reading.confidence:.1f} %")
        heading = f"{len(numbers):,} of {self.seen:,} numbers"
        reading_figures.numbers(numbers, titles, CLASSES, STRIDE, path, heading)
