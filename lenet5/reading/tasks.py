"""What inference.py does instead of reading: evaluate, explain, draw."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING

import numpy as np

from lenet5.data.picture_files import find_pictures
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.results import WRITERS, Result
from lenet5.runtime.errors import UserError, one_line, partly_done, say
from lenet5.runtime.project_files import project_file

if TYPE_CHECKING:
    import torch

    from lenet5.evaluation.metrics import Evaluation


FONTS = project_file("fonts/digits.npz")


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
