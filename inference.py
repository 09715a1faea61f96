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

PyTorch is imported only where weights want it: a network that `python export.py --onnx
lenet5.onnx` wrote (`--weights lenet5.onnx`) is read with onnxruntime.
"""

from __future__ import annotations

from lenet5.runtime.signals import end_quietly

if __name__ == "__main__":
    end_quietly()  # on Ctrl-C, until main() looks after it: nothing is to be saved yet

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exported import ExportedNetwork, is_exported
from lenet5.data.picture_files import find_pictures, listed_paths
from lenet5.evaluation.confidence import evidence, limits_of
from lenet5.imaging.mnist_format import SIDE
from lenet5.imaging.opening import PictureError
from lenet5.imaging.preprocess import Steps, all_mnist_like, attempt, steps
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import append, check_writable, lock, sync_folder
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import Stopped, UserError, one_line, partly_done, reason, say
from lenet5.runtime.signals import end_now, end_quietly, handling_signals
from results import WRITERS, Done, PlotKeeper, Report, Result, read_done
from workers import Preparation

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lenet5.evaluation.metrics import Evaluation
    from trained import TrainedNetwork

WEIGHTS = "lenet5_model.pth"
PRETRAINED = Path(__file__).resolve().parent / "pretrained" / "lenet5.pth"
PICTURES = "test_digits"
FONTS = Path(__file__).resolve().parent / "fonts" / "digits.npz"


class ImageClassifier:
    """Reads pictures with the network of a weights file.

        classifier = ImageClassifier("lenet5_model.pth")
        classifier.predict("digit.png")                  # 7
        classifier.predict_batch(["a.png", "b.jpg"])     # two Results

    Without a file: lenet5_model.pth, else the weights that come with the
    project. An .onnx file that export.py wrote is read with onnxruntime, without
    PyTorch. `invert`: "auto", "yes" (dark ink) or "no". `top_k`: how many
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
        self.network = open_network(weights, arch, device)
        self.weights, self.metadata = self.network.path, self.network.metadata
        names = self.metadata["classes"]
        self.classes = [int(n) if n.isascii() and n.isdigit() and str(int(n)) == n else n for n in names]
        self.invert, self.top_k = invert, min(top_k, len(self.classes))
        self.temperature = self.metadata.get("temperature", 1.0)
        self.reject, self.limits = reject, limits_of(self.metadata)

    @property
    def name(self) -> str:
        """The network's name, and its file's where that says something else."""
        file, arch = os.path.basename(self.weights), self.network.arch
        return arch if file == f"{arch}.pth" else f"{arch} ({file})"

    @property
    def trained(self) -> TrainedNetwork:
        """The network in PyTorch. Raises UserError for an exported one, whose layers nobody sees."""
        if isinstance(self.network, ExportedNetwork):
            raise UserError(
                f"{self.weights} does not show its layers, which are wanted here: "
                "take the .pth that it was made from"
            )
        return self.network

    @property
    def net(self) -> nn.Module:
        """The module of PyTorch that `trained` has."""
        return self.trained.net

    @property
    def device(self) -> torch.device:
        """What `net` is on."""
        return self.trained.device

    def predict(self, picture) -> int | str | None:
        """The class of one picture: a path, a PIL image or an array.

        Raises PictureError if it cannot be read; None if `reject` refuses it.
        """
        return only_prediction(self.predict_batch([picture]))

    def predict_batch(self, pictures: Iterable, prepared: list[tuple] | None = None) -> list[Result]:
        """One Result for each path, PIL image or array, in their order.

        A picture that cannot be read has its `error` set, and the others are read. `prepared`
        is what `all_mnist_like` gives of them, where another process has called it.
        """
        pictures = list(pictures)
        if prepared is None:
            prepared = all_mnist_like(pictures, self.invert)
        results = [self.result_of(picture) for picture in pictures]
        for result, (image, error) in zip(results, prepared, strict=True):
            result.image, result.error = image, error
        return self.read(results)

    def read(self, results: list[Result]) -> list[Result]:
        """The same Results with what the network says of their pictures."""
        readable = [result for result in results if result.error is None]
        if readable:
            logits = self.logits(np.stack([result.image for result in readable]))
            for result, probabilities in zip(readable, self.network.softmax(logits), strict=True):
                self.decide(result, probabilities)
            if self.reject:
                self.refuse(readable, logits)
        return results

    def prepare(self, picture) -> Result:
        """A Result with the picture as the network will see it, or with the error."""
        return self.prepare_in_steps(picture)[0]

    def prepare_in_steps(self, picture) -> tuple[Result, Steps | None]:
        """The same, and each step of the picture on its way, or None."""
        result = self.result_of(picture)
        found, result.error = attempt(steps, picture, self.invert)
        result.image = None if found is None else found.digit
        return result, found

    def result_of(self, picture) -> Result:
        """A Result that says which picture it is of, and no more yet."""
        path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
        return Result(path=path, label=None if path is None else self.label_of(path))

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """The N×1×32×32 inputs of `net` of N×28×28 uint8 pictures, on its device."""
        return self.trained.inputs(images)

    def logits(self, images: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """N×classes calibrated logits of N×28×28 uint8 pictures, as MNIST has them.

        A tensor of PyTorch's network, and an array of an exported one, whatever the pictures are.
        """
        check_pictures(images)
        logits = self.network.logits(images) / self.temperature
        if not np.isfinite(np.asarray(logits)).all():
            raise UserError("the network's answers are not finite numbers: train its weights anew")
        return logits

    def probabilities(self, images: np.ndarray | torch.Tensor) -> np.ndarray:
        """N×classes calibrated probabilities of N×28×28 uint8 pictures, as MNIST has them.

            classifier.probabilities(image[None])[0]  # of one picture in memory

        The shortest way to an answer, for pictures that need no preparation.
        """
        return self.network.softmax(self.logits(images))

    def decide(self, result: Result, probabilities: np.ndarray) -> None:
        """Fill in what the probabilities say."""
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        result.probabilities = probabilities
        result.top = [(self.classes[i], float(probabilities[i])) for i in order]
        result.prediction, result.confidence = result.top[0]

    def refuse(self, results: list[Result], logits) -> None:
        """Take back the answers of which N×classes calibrated logits are not sure enough."""
        for result, found in zip(results, evidence(logits).tolist(), strict=True):
            if not result.image.any():
                result.reason = "blank: there is no ink in the picture"
            else:
                result.reason = self.doubt(result.confidence, found)
            if result.reason is not None:
                result.prediction = None

    def doubt(self, confidence: float, found: float) -> str | None:
        """Why an answer of this confidence and evidence is refused; None if it is not."""
        little = found < self.limits.evidence
        # Little evidence for any class means more where that was learned from what is no digit.
        if little and self.metadata.get("non_digits") is True:
            return f"not a digit: evidence {found:.2f}, which is below {self.limits.evidence:.2f}"
        if confidence < self.limits.confidence:
            return f"unsure: {confidence:.3f} sure, which is below {self.limits.confidence:.3f}"
        if little:
            return f"unsure: evidence {found:.2f}, which is below {self.limits.evidence:.2f}"
        return None

    def label_of(self, path: str) -> int | str | None:
        """The true class where a name tells it: digit_N….png, or the folder that the file is in."""
        name = re.match(r"digit_(\d)(?!\d)", os.path.basename(path))
        folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
        label = name[1] if name else folder
        return next((c for c in self.classes if str(c) == label), None)


def open_network(weights, arch: str | None, device: str) -> TrainedNetwork | ExportedNetwork:
    """The network of a file, or else of the default weights, with what runs it."""
    if weights and is_exported(weights):
        return ExportedNetwork(weights, arch, device)
    from trained import TrainedNetwork  # imports PyTorch

    return TrainedNetwork(weights or default_weights(), arch, device)


def check_pictures(images) -> None:
    """Raise ValueError unless pictures in memory are N×28×28 uint8, an array or a tensor."""
    is_bytes = images.dtype == np.uint8 or str(images.dtype) == "torch.uint8"
    if not is_bytes or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"N×28×28 uint8 are wanted, not {tuple(images.shape)} of {images.dtype}")


def only_prediction(results: list[Result]):
    """What one picture was read as. Raises PictureError if it could not be read."""
    (result,) = results
    if result.error is not None:
        name = f"{result.path}: " if result.path else ""
        raise PictureError(f"{name}{result.error}")
    return result.prediction


def default_weights() -> str:
    """lenet5_model.pth here, else the weights that come with the project; a line says which."""
    if os.path.exists(WEIGHTS):
        return WEIGHTS
    say(f"no {WEIGHTS} here (python train.py makes it); using {PRETRAINED}")
    return str(PRETRAINED)


# ---------------------------------------------------------------- which pictures


# ---------------------------------------------------------------- a whole set


def evaluation_set(source: str, classifier: ImageClassifier) -> tuple[torch.Tensor, torch.Tensor, int]:
    """N×28×28 uint8 pictures, their N class indices, and how many pictures could not be used.

    `source` is a published data set (its test images), fonts (the families that no
    training saw) or a folder of pictures whose names or folders tell what they are.
    """
    import torch

    from lenet5.data.datasets import DATASETS, load_dataset
    from lenet5.data.fonts import load_font_digits

    if source in (*DATASETS, "fonts"):
        if source == "fonts":
            classes = list(range(10))
            images, labels = load_font_digits(FONTS, held_out=True)
        else:
            found = load_dataset(source, "data")
            images, labels, classes = found.test_images, found.test_labels, found.classes
        if [str(name) for name in classifier.classes] != [str(name) for name in classes]:
            count = len(classifier.classes)
            raise UserError(f"the weights know {count} classes that are not those of {source}")
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


def evaluation_of(classifier: ImageClassifier, images: torch.Tensor, labels: torch.Tensor) -> Evaluation:
    """What a network makes of N×28×28 uint8 pictures with N labels, before the temperature."""
    import torch

    from lenet5.evaluation.metrics import compare, loss_function
    from lenet5.networks.registry import NETWORKS

    logits = torch.as_tensor(classifier.network.logits(images))
    return compare(logits, labels, loss_function(NETWORKS.get(classifier.network.arch)))


def evaluate_set(classifier: ImageClassifier, arguments) -> int:
    """Compare the answers with the truth on a whole set; print the figures and draw them."""
    from lenet5.evaluation import evaluation_figures
    from lenet5.evaluation.metrics import figures, report

    images, labels, unusable = evaluation_set(arguments.evaluate, classifier)
    result = evaluation_of(classifier, images, labels)
    warm = result.at_temperature(classifier.temperature)
    if arguments.format == "json":
        print(json.dumps(figures(result, classifier.temperature)))
    else:
        for line in report(result, classifier.classes, classifier.temperature):
            print(line)
    if classifier.reject:
        answered = classifier.limits.kept(warm.logits)
        answered &= images.numpy().any(axis=(1, 2))  # blank ones are refused
        right = (result.predictions == labels).numpy()[answered].sum()
        share = f", of which {right / answered.sum():.2%} right" if answered.any() else ""
        say(f"answered with --reject: {answered.mean():.2%}{share}")
    if arguments.plot:
        with drawing(arguments.plot):
            evaluation_figures.evaluation(warm, images, classifier.classes, arguments.plot)
    return 1 if unusable else 0


# ---------------------------------------------------------------- figures


@contextlib.contextmanager
def drawing(path: str, is_all: bool = False):
    """A line that says where the figure that is drawn in here is.

    Unless the figure `is_all` that is made, there are results, and without it they are partly done.
    """

    with contextlib.nullcontext() if is_all else partly_done():
        yield
    say(f"drawn: {path}")


def explain(classifier: ImageClassifier, arguments) -> int:
    """Read one picture, print the result, and draw what was done with it."""
    from lenet5.evaluation import network_figures

    result, found = classifier.prepare_in_steps(arguments.explain)
    write_one(classifier, result, arguments.format)
    if result.error is not None:
        return 1
    with drawing(arguments.plot):
        refused = result.prediction is None
        network_figures.steps(found, result.probabilities, classifier.classes, arguments.plot, refused)
    return 0


def write_one(classifier: ImageClassifier, result: Result, format: str) -> None:
    """Read one prepared picture and print the result."""
    WRITERS[format](sys.stdout).write(classifier.read([result]))


def draw_maps(classifier: ImageClassifier, arguments) -> int:
    """Read one picture, print the result, and draw what each layer makes of it."""
    import torch

    from lenet5.evaluation import network_figures
    from lenet5.evaluation.introspection import stages
    from lenet5.networks.operations import feature_maps, operations

    net = classifier.net
    result = classifier.prepare(arguments.maps)
    write_one(classifier, result, arguments.format)
    if result.error is not None:
        return 1
    states = feature_maps(net, classifier.inputs(torch.from_numpy(result.image)[None]))
    done = {"input": ""} | stages(net)
    layers = [(name, done[name], state[0]) for name, state in states.items() if name != "output"]
    best = int(result.probabilities.argmax())
    last = operations(net)[-1]
    bitmap = last.weight[best] if last.kind == "distance" else None
    verdict = "refused" if result.prediction is None else f"read as {one_line(classifier.classes[best])}"
    with drawing(arguments.plot):
        title = f"What each layer of {classifier.name} makes of {os.path.basename(arguments.maps)}"
        answer = (classifier.classes, result.probabilities, verdict)
        network_figures.maps(layers, answer, arguments.plot, title, bitmap)
    return 0


def draw_filters(classifier: ImageClassifier, arguments) -> int:
    """Draw what C1 and C3 have learned to look for."""
    from lenet5.evaluation import network_figures
    from lenet5.evaluation.introspection import kernels

    net = classifier.net
    with drawing(arguments.plot, is_all=True):
        title = f"What {classifier.name} has learned to look for"
        network_figures.filters(kernels(net), arguments.plot, title)
    return 0


def draw_embedding(classifier: ImageClassifier, arguments) -> int:
    """Draw F6 of a whole set in two dimensions."""
    from lenet5.evaluation import evaluation_figures
    from lenet5.evaluation.introspection import features, plane, stages

    net = classifier.net
    images, labels, unusable = evaluation_set(arguments.embedding, classifier)
    if len(labels.unique()) < 2:
        raise UserError(
            f"{arguments.embedding} has pictures of one class; --embedding needs two", status=1
        )
    predictions = classifier.logits(images).argmax(dim=1)
    points = plane(features(net, classifier.inputs(images)), labels)
    with drawing(arguments.plot, is_all=True):
        has_f6 = "F6" in stages(net)
        what = f"F6 of {classifier.name}" if has_f6 else f"What the outputs of {classifier.name} read,"
        title = f"{what} for the {len(labels):,} pictures of {arguments.embedding}"
        evaluation_figures.embedding(
            points, labels, predictions, classifier.classes, arguments.plot, title
        )
    return 1 if unusable else 0


def draw_robustness(classifier: ImageClassifier, arguments) -> int:
    """Accuracy on a whole set that is turned, moved, made larger or noisy: print and draw it."""
    from lenet5.evaluation import evaluation_figures
    from lenet5.evaluation.robustness import DISTURBANCES, disturbed, robustness
    from lenet5.imaging.inputs import to_input

    classifiers = [classifier]
    for weights in arguments.beside or []:
        classifiers.append(ImageClassifier(weights, device=arguments.device, arch=arguments.arch))
        if classifiers[-1].classes != classifier.classes:
            raise UserError(f"{weights} knows other classes than {classifier.weights}")
    nets = [each.net for each in classifiers]  # an exported one is refused before all is read
    images, labels, unusable = evaluation_set(arguments.robustness, classifier)
    curves = {}
    for each, net in zip(classifiers, nets, strict=True):
        each.logits(images[:1])  # raises where the answers are no numbers, which have no accuracy
        mean, std = each.metadata["mean"], each.metadata["std"]
        name = each.weights if each.name in curves else each.name
        curves[name] = robustness(net, each.inputs(images), labels.to(each.device), mean, std)
    if arguments.format == "json":
        print(json.dumps(curves))
    else:
        print_robustness(curves)
    examples = {
        kind: [
            disturbed(to_input(images[:1], 0.0, 1.0), kind, amount, 0.0, 1.0)[0, 0].numpy()
            for amount in disturbance.shown
        ]
        for kind, disturbance in DISTURBANCES.items()
    }
    with drawing(arguments.plot):
        title = (
            f"The {len(labels):,} pictures of {arguments.robustness}, disturbed after they were centred"
        )
        evaluation_figures.robustness(curves, examples, arguments.plot, title)
    return 1 if unusable else 0


def print_robustness(curves: dict) -> None:
    """A table for each kind of disturbance: a row an amount, a column a network."""
    names = [one_line(name) for name in curves]
    for kind, amounts in next(iter(curves.values())).items():
        print(f"{kind:>9}  " + "  ".join(f"{name:>9}" for name in names))
        for i, (amount, _) in enumerate(amounts):
            shares = (f"{100 * measured[kind][i][1]:.2f} %" for measured in curves.values())
            cells = (f"{share:>{max(9, len(name))}}" for share, name in zip(shares, names, strict=True))
            print(f"{amount:>9}  " + "  ".join(cells))


# What the command line does instead of reading: how, of what, and its figure's name without --plot.
TASKS = {
    "explain": (explain, "one picture", "steps.png"),
    "maps": (draw_maps, "one picture", "maps.png"),
    "filters": (draw_filters, "the network", "filters.png"),
    "evaluate": (evaluate_set, "one set", None),
    "embedding": (draw_embedding, "one set", "embedding.png"),
    "robustness": (draw_robustness, "one set", "robustness.png"),
}


# ---------------------------------------------------------------- the command line


def add_common_flags(add) -> None:
    """Those flags that every reader of pictures has, to a parser's `add_argument`."""
    add("--batch-size", type=number(int, 1, 100_000), default=256, help="pictures at a time (256)")
    add(
        "--workers",
        type=number(int, 0, 256),
        metavar="N",
        help="processes that prepare pictures (as many as cores once it takes long; 0: none)",
    )
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


def network_name(text: str) -> str:
    """An argparse `type`: one of the networks, whose names only those ask for who give one."""
    from lenet5.networks.registry import NETWORKS  # imports PyTorch

    if text not in NETWORKS:
        raise argparse.ArgumentTypeError(f"{text!r} is no network; choose from {', '.join(NETWORKS)}")
    return text


def parse_arguments(argv):
    parser = ArgumentParser(
        prog="inference.py",
        description="Read digits from pictures: files, or all in folders (test_digits).",
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="PICTURE|FOLDER", help="what to read (test_digits)")
    add(
        "--weights",
        metavar="FILE",
        help=f"weights, or an exported .onnx ({WEIGHTS}, else those in pretrained/)",
    )
    add(
        "--arch",
        type=network_name,
        help="for weights that do not say what they are of: a network's name",
    )
    add("--top-k", type=number(int, 1, 1000), default=3, help="choices in json and csv (3)")
    add("--format", choices=["table", "json", "csv"], default="table", help="(table)")
    add("--plot", metavar="FILE", help="draw the pictures as the network saw them, wrong ones first")
    add_common_flags(add)
    title = "instead, one of these (SET: mnist or another data set's test images, fonts, or a folder)"
    draw = parser.add_argument_group(title).add_argument
    draw(
        "--explain",
        metavar="PICTURE",
        help="read one picture and draw each step on its way to the network (--plot, or steps.png)",
    )
    draw(
        "--maps",
        metavar="PICTURE",
        help="read one picture and draw what each layer makes of it (--plot, or maps.png)",
    )
    draw(
        "--filters",
        action="store_true",
        default=None,
        help="draw the learned kernels of C1 and C3 (--plot, or filters.png)",
    )
    draw(
        "--evaluate",
        metavar="SET",
        help="compare with the truth; --plot draws mistakes, confusion and reliability",
    )
    draw(
        "--embedding",
        metavar="SET",
        help="draw F6 of all pictures in two dimensions (--plot, or embedding.png)",
    )
    draw(
        "--robustness",
        metavar="SET",
        help="accuracy against rotation, shift, scale and noise (--plot, or robustness.png)",
    )
    draw("--beside", metavar="FILE", nargs="+", help="other weights to compare with, for --robustness")
    arguments = parser.parse_args(argv)
    check_task(arguments)
    return arguments


def check_task(arguments) -> None:
    """Raise UserError for flags that do not go together; give a task's figure its name."""
    given = [name for name in TASKS if getattr(arguments, name) is not None]
    arguments.task = given[0] if given else None
    if arguments.beside and arguments.task != "robustness":
        raise UserError("--beside is for --robustness: other weights to compare with")
    if not given:
        return
    _, kind, figure = TASKS[arguments.task]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} are two things to do: leave one out")
    if any((arguments.paths, arguments.files_from, arguments.output)):
        raise UserError(
            f"--{arguments.task} is for {kind} alone, without other paths and without --output"
        )
    if arguments.task in ("filters", "embedding") and arguments.format != "table":
        raise UserError(f"--{arguments.task} draws a figure and prints nothing: leave --format out")
    if arguments.task in ("evaluate", "robustness") and arguments.format == "csv":
        raise UserError(f"--{arguments.task} prints a table, or one object with --format json")
    arguments.plot = arguments.plot or figure


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


def score(classifier, arguments, report: Report, keeper, preparation, writers: dict = WRITERS) -> None:
    """Read everything that is asked for, a batch at a time, and write each result once.

    `classifier` has a `predict_batch` as ImageClassifier has, `keeper` (or None) an `add`
    as PlotKeeper has. Of several processes the first one finds and writes, and all read.
    """
    if not distributed.is_first():
        while read_together(classifier, preparation, None):
            pass
        return
    with results_to(arguments, report, writers) as (writer, save, done):
        at_once = arguments.batch_size * distributed.count()
        todo = (done.left(batch) for batch in batches(wanted_paths(arguments), at_once))
        for results in read_all(classifier, preparation, filter(None, todo)):
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


def read_all(classifier, preparation, todo: Iterator[list[str]]) -> Iterator[list]:
    """The results of each batch of paths, in their order."""
    if distributed.count() == 1:
        for paths, prepared in preparation.ahead(todo):
            with contextlib.nullcontext() if preparation.workers is None else one_thread():
                results = classifier.predict_batch(paths, prepared)
            yield results
        return
    for paths in todo:
        yield read_together(classifier, preparation, paths)
    read_together(classifier, preparation, [])  # the others need not wait for more


@contextlib.contextmanager
def one_thread():
    """Run the network in one thread meanwhile: the cores are for those that prepare pictures.

    PyTorch's threads wait for each other awake, and where one of them has no core, the
    others wait for nothing.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # the network is one that does without
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_together(classifier, preparation, paths: list[str] | None) -> list:
    """A result for each path that the first process gives, in their order; each reads its share.

    Paths that other processes give do not count; no path tells them that all is read.
    """
    paths = distributed.from_first(lambda: paths)
    mine = paths[distributed.share(0, len(paths))]
    results = classifier.predict_batch(mine, preparation.of(mine)) if paths else []
    results = distributed.of_all(results)
    return list(itertools.chain.from_iterable(results))


@command_line
@distributed.as_one
def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    if arguments.plot and distributed.is_first():
        check_writable(arguments.plot)
    if arguments.task is not None and not distributed.is_first():
        return 0  # the first process does it alone
    if arguments.task is not None:
        task, *_ = TASKS[arguments.task]
        return task(classifier_of(arguments), arguments)
    # Where several processes share the pictures out, there is one for each core without workers.
    unasked = None if distributed.count() == 1 else 0
    workers = unasked if arguments.workers is None else arguments.workers
    with Preparation(workers, "digits", arguments.invert) as preparation:  # they begin meanwhile
        keeper = PlotKeeper() if arguments.plot else None
        return score_and_report(classifier_of(arguments), arguments, keeper, preparation)


def classifier_of(arguments) -> ImageClassifier:
    """What the command line asks to read with."""
    with handling_signals(end_now):  # it imports PyTorch or onnxruntime; nothing is to be saved yet
        return ImageClassifier(
            arguments.weights,
            device=arguments.device,
            arch=arguments.arch,
            invert=arguments.invert,
            top_k=max(arguments.top_k, 2 if arguments.format == "table" else 1),
            reject=arguments.reject,
        )


def score_and_report(classifier, arguments, keeper, preparation, writers: dict = WRITERS) -> int:
    """Read what is asked for, say how much was right, draw it; the exit status."""
    report = Report()
    score(classifier, arguments, report, keeper, preparation, writers)
    # In json and csv, stdout holds results and nothing else.
    total = sys.stdout if arguments.format == "table" else sys.stderr
    with partly_done():
        for line in report.lines() if distributed.is_first() else ():
            print(line, file=total)
        if keeper is not None and keeper.seen:
            keeper.draw(arguments.plot)
            say(f"drawn: {arguments.plot}")
    return 1 if report.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
