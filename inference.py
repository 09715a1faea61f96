"""Read digits from pictures with a trained network.

    $ python inference.py
    picture                  read  sure     second choice
    test_digits/digit_0.png     0  100.00 %  6 (0.00 %)     ✓
    test_digits/digit_1.png     1   99.99 %  7 (0.00 %)     ✓
    ...
    10 read, 10 of 10 right (100.00 %)

With pretrained/lenet5.pth (python train.py --recipe anybody, seed 0), on the ten
digits that python generate_test_digits.py draws. Results go to stdout, all else to stderr;
the exit status is 0 if everything was read, right or wrong, 1 if some pictures
could not be, 2 if nothing could start.
"""

from files import end_quietly

if __name__ == "__main__":
    end_quietly()  # on Ctrl-C, until main() looks after it: the imports take a second

import contextlib
import csv
import io
import itertools
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from evaluate import Limits, compute_logits, evaluate, evidence, figures, report
from files import (
    ArgumentParser,
    Stopped,
    UserError,
    append,
    check_writable,
    command_line,
    lock,
    number,
    one_line,
    partly_done,
    reason,
    say,
    sync_folder,
)
from model import NETWORKS, load_weights, pick_device
from preprocess import PictureError, mnist_like, steps, to_input

WEIGHTS = "lenet5_model.pth"
PRETRAINED = Path(__file__).resolve().parent / "pretrained" / "lenet5.pth"
PICTURES = "test_digits"
FIELDS = ("path", "prediction", "confidence", "top", "label", "correct", "error")
FONTS = Path(__file__).resolve().parent / "fonts" / "digits.npz"
EXPLANATION = "steps.png"
MOST_PICTURES = 60  # in the figure of --plot
REJECT_BELOW = 0.5  # confidence, for weights that do not bring limits of their own


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

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is the label; None where either is missing."""
        if self.prediction is None or self.label is None:
            return None
        return self.prediction == self.label

    def as_object(self) -> dict:
        """The result as the object that `--format json` prints."""
        values = {name: getattr(self, name) for name in FIELDS}
        if self.reason is not None:
            values["reason"] = self.reason
        return values


class ImageClassifier:
    """Reads pictures with the network of a weights file.

        classifier = ImageClassifier("lenet5_model.pth")
        classifier.predict("digit.png")                  # 7
        classifier.predict_batch(["a.png", "b.jpg"])     # two Results

    Without a file: lenet5_model.pth, else the weights that come with the
    project. `invert`: "auto", "yes" (dark ink) or "no". `top_k`: how many
    classes `Result.top` holds. `reject`: whether to refuse what is blank, unsure
    or hardly a digit: less so than 99 % of the validation images.

    Raises UserError for weights that cannot be used and a device that is not there.
    """

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        *,
        device: str = "auto",
        arch: str | None = None,
        invert: str = "auto",
        top_k: int = 3,
        reject: bool = False,
    ):
        if invert not in ("auto", "yes", "no"):
            raise UserError(f"invert is {invert!r}, which is none of auto, yes and no")
        self.device = pick_device(device)
        self.net, self.metadata = load_weights(weights or default_weights(), arch)
        self.net.to(self.device)
        names = self.metadata["classes"]
        self.classes = [int(n) if n.isascii() and n.isdigit() and str(int(n)) == n else n for n in names]
        self.invert, self.top_k = invert, min(top_k, len(self.classes))
        self.temperature = self.metadata.get("temperature", 1.0)
        self.reject = reject
        self.limits = Limits(
            self.metadata.get("reject_below", REJECT_BELOW), self.metadata.get("least_evidence", 0.0)
        )

    def predict(self, picture) -> int | str | None:
        """The class of one picture: a path, a PIL image or an array.

        Raises PictureError if it cannot be read; None if `reject` refuses it.
        """
        result = self.predict_batch([picture])[0]
        if result.error is not None:
            name = f"{result.path}: " if result.path else ""
            raise PictureError(f"{name}{result.error}")
        return result.prediction

    def predict_batch(self, pictures: Iterable) -> list[Result]:
        """One Result for each path, PIL image or array, in their order.

        A picture that cannot be read has its `error` set, and the others are read.
        """
        results = [self.prepare(picture) for picture in pictures]
        readable = [result for result in results if result.error is None]
        if readable:
            images = torch.from_numpy(np.stack([result.image for result in readable]))
            logits = self.logits(images)
            for result, probabilities in zip(readable, logits.softmax(dim=1).numpy(), strict=True):
                self.decide(result, probabilities)
            if self.reject:
                self.refuse(readable, logits)
        return results

    def prepare(self, picture) -> Result:
        """A Result with the picture as the network will see it, or with the error."""
        path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
        result = Result(path=path, label=None if path is None else self.label_of(path))
        try:
            result.image = mnist_like(picture, self.invert)
        except PictureError as error:
            result.error = str(error)
        except MemoryError:
            result.error = "this machine has not enough memory for it"
        return result

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """The network's N×1×32×32 inputs of N×28×28 uint8 pictures."""
        return to_input(images.to(self.device), self.metadata["mean"], self.metadata["std"])

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """N×classes calibrated logits of N×28×28 uint8 pictures."""
        logits = compute_logits(self.net, self.inputs(images)) / self.temperature
        if not logits.isfinite().all():
            raise UserError("the network's answers are not finite numbers: train its weights anew")
        return logits

    def probabilities(self, images: torch.Tensor) -> np.ndarray:
        """N×classes calibrated probabilities of N×28×28 uint8 pictures."""
        return self.logits(images).softmax(dim=1).numpy()

    def decide(self, result: Result, probabilities: np.ndarray) -> None:
        """Fill in what the probabilities say."""
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        result.probabilities = probabilities
        result.top = [(self.classes[i], float(probabilities[i])) for i in order]
        result.prediction, result.confidence = result.top[0]

    def refuse(self, results: list[Result], logits: torch.Tensor) -> None:
        """Take back the answers of which N×classes calibrated logits are not sure enough."""
        kept, nats = self.limits.kept(logits).tolist(), evidence(logits).tolist()
        for result, is_kept, found in zip(results, kept, nats, strict=True):
            if not result.image.any():
                result.reason = "blank: there is no ink in the picture"
            elif not is_kept:
                result.reason = self.doubt(result.confidence, found)
            if result.reason is not None:
                result.prediction = None

    def doubt(self, confidence: float, found: float) -> str:
        """Why an answer of this confidence and evidence is refused."""
        # Little evidence for any class means more where that was learned from what is no digit.
        if found < self.limits.evidence and self.metadata.get("non_digits") is True:
            return f"not a digit: evidence {found:.2f}, which is below {self.limits.evidence:.2f}"
        if confidence < self.limits.confidence:
            return f"unsure: {confidence:.3f} sure, which is below {self.limits.confidence:.3f}"
        return f"unsure: evidence {found:.2f}, which is below {self.limits.evidence:.2f}"

    def label_of(self, path: str) -> int | str | None:
        """The true class where a name tells it: digit_N….png, or the folder that the file is in."""
        name = re.match(r"digit_(\d)(?!\d)", os.path.basename(path))
        folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
        label = name[1] if name else folder
        return next((c for c in self.classes if str(c) == label), None)


def default_weights() -> str:
    """lenet5_model.pth here, else the weights that come with the project; a line says which."""
    if os.path.exists(WEIGHTS):
        return WEIGHTS
    say(f"no {WEIGHTS} here (python train.py makes it); using {PRETRAINED}")
    return str(PRETRAINED)


# ---------------------------------------------------------------- which pictures


def walk(folder: str, extensions: frozenset[str]) -> Iterator[str]:
    """The pictures in a folder and those below it, sorted by name at every level."""
    # A list of what is still to be seen, since folders may lie deeper than Python calls functions.
    waiting = [(folder, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            if os.path.splitext(path)[1].lower() in extensions:
                yield path
            continue
        try:
            with os.scandir(path) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError:
            yield path  # whoever opens it learns the reason
            continue
        waiting += [(os.path.join(path, name), is_folder) for name, is_folder in reversed(found)]


def find_pictures(paths: Iterable[str]) -> Iterator[str]:
    """Each path that is no folder, and for a folder each picture in it.

    A file belongs to a folder's pictures if Pillow registers its extension.
    Yields a folder's own name where it holds no picture or cannot be listed, so
    that it gets its line like everything that cannot be read.
    """
    extensions = None
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        if extensions is None:
            extensions = frozenset(Image.registered_extensions())  # imports all of Pillow's readers
        pictures = walk(path, extensions)
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
                raise UserError(f"cannot read {source}: {error.strerror}") from error
        for line in lines:
            path = os.fsdecode(line.rstrip(b"\r\n"))
            if path:
                yield path


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

    def __init__(self, stream):
        self.stream = stream
        self.width = None

    def write(self, results: list[Result]) -> None:
        if self.width is None:
            # The first batch decides the width; a terminal limits it to what leaves 80 columns.
            longest = max(len(one_line(result.path)) for result in results)
            self.width = max(7, min(longest, 42) if self.stream.isatty() else longest)
            print(f"{'picture':{self.width}}  read  sure     second choice", file=self.stream)
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
    """The same fields as the JSON objects and the reason; `top` is written as JSON."""

    def __init__(self, stream, header: bool = True):
        self.writer = csv.DictWriter(stream, (*FIELDS, "reason"), lineterminator="\n")
        if header:
            self.writer.writeheader()

    def write(self, results: list[Result]) -> None:
        for result in results:
            row = result.as_object()
            row["top"] = None if row["top"] is None else json.dumps(row["top"])
            self.writer.writerow(row)


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
        import plots

        shown = (self.wrong + self.others)[:MOST_PICTURES]
        titles, colours = [], []
        for result in shown:
            answer = "?" if result.prediction is None else result.prediction
            mark = {True: " ✓", False: f" ✗ is {result.label}", None: ""}[result.correct]
            titles.append(f"{answer} {100 * result.confidence:.0f} %{mark}")
            colours.append({True: plots.GREEN, False: plots.RED, None: plots.GREY}[result.correct])
        heading = f"{len(shown):,} of {self.seen:,} pictures as the network sees them"
        plots.picture_grid([r.image for r in shown], titles, colours, path, heading)


# ---------------------------------------------------------------- an output file that is continued


def read_done(path: str, format: str) -> tuple[list[dict], int]:
    """The results in an output file, and the length in bytes up to which it is whole.

    A last line that was cut off does not count. Raises UserError for a file that
    holds something else, which is not to be overwritten.
    """
    if not os.path.exists(path) or not os.path.isfile(path):
        return [], 0
    with open(path, "rb") as file:
        data = file.read()
    end = data.rfind(b"\n") + 1
    while format == "csv" and data.count(b'"', 0, end) % 2:  # a line break within a name
        end = data.rfind(b"\n", 0, end - 1) + 1
    whole = data[:end]
    try:
        text = whole.decode("utf-8", "surrogateescape")
        if format == "json":
            rows = [json.loads(line) for line in text.splitlines()]
        else:
            rows = [from_csv(row) for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
        if not all(is_result(row) for row in rows):
            raise ValueError
    except (ValueError, KeyError, RecursionError, csv.Error):
        raise UserError(
            f"{path} is there already and holds no {format} results; give another --output"
        ) from None
    return rows, len(whole)


def is_result(row) -> bool:
    """Whether a row of an output file has what is counted of a result."""
    if not isinstance(row, dict) or not all(name in row for name in FIELDS):
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


# ---------------------------------------------------------------- a whole set, and one picture's steps


def evaluation_set(source: str, classifier: ImageClassifier) -> tuple[torch.Tensor, torch.Tensor, int]:
    """N×28×28 uint8 pictures, their N class indices, and how many pictures could not be used.

    `source` is mnist (the test images), fonts (the families that no training
    saw) or a folder of pictures whose names or folders tell what they are.
    """
    if source in ("mnist", "fonts"):
        from dataset import load_font_digits, load_mnist

        if source == "fonts":
            images, labels = load_font_digits(FONTS, held_out=True)
        else:
            mnist = load_mnist("data")
            images, labels = mnist.test_images, mnist.test_labels
        if classifier.classes != list(range(10)):
            raise UserError(
                f"the weights know {len(classifier.classes)} classes that are not the digits"
            )
        return images, labels, 0
    images, labels, unusable = [], [], 0
    for path in find_pictures([source]):
        result = classifier.prepare(path)
        if result.error is None and result.label is None:
            result.error = "neither its name nor its folder tells what it is"
        if result.error is not None:
            say(f"left out: {path}: {result.error}")
            unusable += 1
            continue
        images.append(result.image)
        labels.append(classifier.classes.index(result.label))
    if not images:
        raise UserError(
            f"nothing in {source} can be evaluated: it needs pictures such as digit_7.png or 7/a.png",
            status=1,
        )
    return torch.from_numpy(np.stack(images)), torch.tensor(labels), unusable


def evaluate_set(classifier: ImageClassifier, arguments) -> int:
    """Compare the answers with the truth on a whole set; print the figures and draw them."""
    images, labels, unusable = evaluation_set(arguments.evaluate, classifier)
    result = evaluate(classifier.net, classifier.inputs(images), labels.to(classifier.device))
    warm = result.at_temperature(classifier.temperature)
    if arguments.format == "json":
        print(json.dumps(figures(result, classifier.temperature)))
    else:
        for line in report(result, classifier.classes, classifier.temperature):
            print(line)
    if classifier.reject:
        answered = classifier.limits.kept(warm.logits)
        answered &= (images.flatten(1) > 0).any(dim=1)  # blank ones are refused
        right = (result.predictions == labels)[answered].sum().item()
        share = f", of which {right / answered.sum():.2%} right" if answered.any() else ""
        say(f"answered with --reject: {answered.double().mean():.2%}{share}")
    if arguments.plot:
        import plots

        with partly_done():
            plots.evaluation(warm, images, classifier.classes, arguments.plot)
        say(f"drawn: {arguments.plot}")
    return 1 if unusable else 0


def explain(classifier: ImageClassifier, picture: str, path: str, format: str) -> int:
    """Read one picture, print the result, and draw what was done with it."""
    import plots

    result = classifier.predict_batch([picture])[0]
    WRITERS[format](sys.stdout).write([result])
    if result.error is not None:
        return 1
    found, refused = steps(picture, classifier.invert), result.prediction is None
    with partly_done():
        plots.steps(found, result.probabilities, classifier.classes, path, refused)
    say(f"drawn: {path}")
    return 0


# ---------------------------------------------------------------- the command line


def parse_arguments(argv):
    parser = ArgumentParser(
        prog="inference.py",
        description="Read digits from pictures: files, or all in folders (test_digits).",
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="PICTURE|FOLDER", help="what to read (test_digits)")
    add("--weights", metavar="FILE", help=f"({WEIGHTS}, else those in pretrained/)")
    add("--arch", choices=list(NETWORKS), help="for weights that do not say what they are of")
    add("--top-k", type=number(int, 1, 1000), default=3, help="choices in json and csv (3)")
    add("--format", choices=["table", "json", "csv"], default="table", help="(table)")
    add("--plot", metavar="FILE", help="draw the pictures as the network saw them, wrong ones first")
    add(
        "--explain",
        metavar="PICTURE",
        help=f"read one picture and draw each step on its way to the answer (--plot, or {EXPLANATION})",
    )
    add(
        "--evaluate",
        metavar="SET",
        help="compare with the truth: mnist (test images), fonts (unseen ones), or a folder",
    )
    add("--batch-size", type=number(int, 1, 100_000), default=256, help="pictures at a time (256)")
    add("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="(auto)")
    add(
        "--invert",
        choices=["auto", "yes", "no"],
        default="auto",
        help="yes: the ink is dark; no: it is bright (auto)",
    )
    add("--reject", action="store_true", help="refuse what is blank, unsure or hardly a digit")
    add("--output", metavar="FILE", help="write the results to a file, or go on with it")
    add("--files-from", metavar="FILE", help="read paths from a file, one a line; - is standard input")
    arguments = parser.parse_args(argv)
    for name, kind in (("explain", "one picture"), ("evaluate", "one set")):
        others = (arguments.paths, arguments.files_from, arguments.output)
        if getattr(arguments, name) is not None and any(others):
            raise UserError(f"--{name} is for {kind} alone, without other paths and without --output")
    if arguments.explain is not None and arguments.evaluate is not None:
        raise UserError("--explain is for one picture and --evaluate for many: leave one out")
    if arguments.evaluate is not None and arguments.format == "csv":
        raise UserError("--evaluate prints a table, or one object with --format json")
    return arguments


def wanted_paths(arguments) -> Iterator[str]:
    """All that the command line asks to read."""
    if arguments.files_from is not None:
        return find_pictures(itertools.chain(arguments.paths, listed_paths(arguments.files_from)))
    if not arguments.paths and not os.path.isdir(PICTURES):
        raise UserError(f"there is no {PICTURES}/ here; make it with: python generate_test_digits.py")
    return find_pictures(arguments.paths or [PICTURES])


def batches(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(paths, size)):
        yield batch


@contextlib.contextmanager
def results_to(arguments, report: Report):
    """A writer for the results, what brings them where they belong, and how often each path is there.

    With `--output` they are added to that file, after what is already in it.
    """
    if arguments.output is None:
        yield WRITERS[arguments.format](sys.stdout), sys.stdout.flush, Counter()
        return
    # A table cannot be read back, so a file of results is JSON unless CSV is asked for.
    format = "csv" if arguments.format == "csv" else "json"
    check_writable(arguments.output)
    with open(arguments.output, "ab", buffering=0) as file:
        is_regular = os.path.isfile(arguments.output)
        if is_regular:
            lock(file, arguments.output)
        rows, length = read_done(arguments.output, format)
        for row in rows:
            report.add(row)
        if rows:
            say(f"{arguments.output} holds {len(rows):,} results; going on after them")
        if is_regular:
            file.truncate(length)
        text = io.StringIO(newline="")
        writer = JsonWriter(text) if format == "json" else CsvWriter(text, header=length == 0)

        def save() -> None:
            data = text.getvalue().encode("utf-8", "surrogateescape")
            text.seek(0)
            text.truncate()
            append(file, data)

        try:
            yield writer, save, Counter(row["path"] for row in rows)
        except Stopped as stopped:
            hint = f"the same command goes on after the results in {arguments.output}"
            raise Stopped(f"{stopped}; {hint}", stopped.status) from stopped
        save()
        if is_regular:
            os.fsync(file.fileno())
            sync_folder(os.path.dirname(os.path.realpath(arguments.output)))


def score(classifier: ImageClassifier, arguments, report: Report, keeper: PlotKeeper | None) -> None:
    """Read everything that is asked for, a batch at a time, and write each result once."""
    with results_to(arguments, report) as (writer, save, done):
        for batch in batches(wanted_paths(arguments), arguments.batch_size):
            todo = []
            for path in batch:
                if done[path] > 0:
                    done[path] -= 1
                else:
                    todo.append(path)
            if not todo:
                continue
            results = classifier.predict_batch(todo)
            try:
                writer.write(results)
                save()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise UserError(
                    f"cannot write {arguments.output or 'the results'}: {reason(error)}",
                    status=1 if report.read or report.unreadable else 2,
                ) from error
            for result in results:
                report.add(result.as_object())
                # A table on the terminal has said it; a file or a pipe has not.
                if result.error is not None and (arguments.output or not sys.stdout.isatty()):
                    say(f"not read: {result.path}: {result.error}")
            if keeper is not None:
                keeper.add(results)


@command_line
def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    plot = arguments.plot or (None if arguments.explain is None else EXPLANATION)
    if plot:
        check_writable(plot)
    classifier = ImageClassifier(
        arguments.weights,
        device=arguments.device,
        arch=arguments.arch,
        invert=arguments.invert,
        top_k=max(arguments.top_k, 2 if arguments.format == "table" else 1),
        reject=arguments.reject,
    )
    if arguments.evaluate is not None:
        return evaluate_set(classifier, arguments)
    if arguments.explain is not None:
        return explain(classifier, arguments.explain, plot, arguments.format)
    report = Report()
    keeper = PlotKeeper() if arguments.plot else None
    score(classifier, arguments, report, keeper)
    # In json and csv, stdout holds results and nothing else.
    total = sys.stdout if arguments.format == "table" else sys.stderr
    with partly_done():
        for line in report.lines():
            print(line, file=total)
        if keeper is not None and keeper.seen:
            keeper.draw(arguments.plot)
            say(f"drawn: {arguments.plot}")
    return 1 if report.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
