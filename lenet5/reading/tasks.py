"""The tasks of inference.py beside reading: explain, maps, filters, evaluate, embedding, robustness."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lenet5.imaging.opening import upright_picture
from lenet5.imaging.preprocess import attempt, look_at, reduced, view_of
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.labelled_pictures import evaluation_set
from lenet5.reading.results import WRITERS, Result
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import UserError, one_line, partly_done, say
from lenet5.runtime.outputs import beginning


def evaluate_set(classifier: ImageClassifier, arguments) -> int:
    """Compare with the truth; --plot draws and --output lists the mistakes."""
    import torch

    from lenet5.evaluation.metrics import evaluate_logits, loss_function, metrics_dict, metrics_table
    from lenet5.networks.registry import NETWORKS

    if arguments.output and not (beginning(arguments.output) or b"[\n").startswith(b"[\n"):
        raise UserError(f"{arguments.output} is there already and lists no mistakes: name another")
    pictures = evaluation_set(arguments.evaluate, classifier)
    logits = torch.as_tensor(classifier.network.logits(pictures.images))
    loss = loss_function(NETWORKS.get(str(classifier.network.arch)))
    result = evaluate_logits(logits, pictures.labels, loss)
    if arguments.format == "json":
        print(json.dumps(metrics_dict(result, classifier.temperature)))
    else:
        print("\n".join(metrics_table(result, classifier.classes, classifier.temperature)))
    calibrated = result.at_temperature(classifier.temperature)
    if classifier.reject:
        accepted = classifier.limits.kept(calibrated.logits)
        accepted &= pictures.images.numpy().any(axis=(1, 2))  # blank pictures are refused
        right = result.correct.numpy()[accepted]
        share = f", of which {right.mean():.2%} right" if len(right) else ""
        say(f"answered with --reject: {accepted.mean():.2%}{share}")
    if arguments.output:
        with partly_done():
            write_mistakes(classifier, pictures, calibrated.mistakes().tolist(), arguments.output)
    if arguments.plot:
        from lenet5.evaluation import evaluation_figures

        with drawing(arguments.plot):
            original = functools.partial(original_of, pictures.paths) if pictures.paths else None
            names = classifier.classes
            evaluation_figures.evaluation(calibrated, pictures.images, names, arguments.plot, original)
    return 1 if pictures.unusable else 0


def write_mistakes(classifier: ImageClassifier, pictures, mistakes: list[int], path: str) -> None:
    """A JSON list with a line for each of these pictures, as `--format json` prints it."""
    results = [
        Result(
            path=pictures.paths[i] if pictures.paths else None,
            label=classifier.classes[int(pictures.labels[i])],
            image=pictures.images[i].numpy(),
        )
        for i in mistakes
    ]
    classifier.answer(results)
    lines = ",\n".join(json.dumps(result.as_object()) for result in results)
    write_file(path, f"[\n{lines}\n]\n".encode())
    say(f"mistakes: {path}")


def original_of(paths: list[str], i: int) -> tuple[np.ndarray, str]:
    """Picture i, H×W×3 uint8, reduced, and its name."""
    return view_of(reduced(upright_picture(paths[i]))).picture, os.path.basename(paths[i])


@contextlib.contextmanager
def drawing(path: str, after_results: bool = True):
    """Say where the figure is; an error has status 1 if the results were printed before, else 2."""
    with partly_done() if after_results else contextlib.nullcontext():
        yield
    say(f"drawn: {path}")


def explain(classifier: ImageClassifier, arguments) -> int:
    """Read one picture and draw each step on its way to the network."""
    from lenet5.evaluation import reading_figures

    path = arguments.explain
    looked, error = attempt(look_at, path, classifier.find, classifier.invert)
    (result,) = classifier.predict_batch([path], [(looked[1].digit if looked else None, error)])
    WRITERS[arguments.format](sys.stdout).write([result])
    if error is not None:
        return 1
    with drawing(arguments.plot):
        reading_figures.trace(looked, result, classifier.classes, arguments.plot)
    return 0


def draw_maps(classifier: ImageClassifier, arguments) -> int:
    """Read one picture and draw what each layer makes of it."""
    import torch

    from lenet5.evaluation import network_figures
    from lenet5.evaluation.introspection import stages
    from lenet5.networks.operations import feature_maps, operations

    net = classifier.net
    (result,) = classifier.predict_batch([arguments.maps])
    WRITERS[arguments.format](sys.stdout).write([result])
    if result.image is None or result.probabilities is None:
        return 1
    states = feature_maps(net, classifier.inputs(torch.from_numpy(result.image)[None]))
    does = {"input": ""} | stages(net)
    layers = [(name, does[name], state[0]) for name, state in states.items() if name != "output"]
    best = int(result.probabilities.argmax())
    last = operations(net)["output"][-1]
    bitmap = None if last.weight is None or last.kind != "rbf" else last.weight[best]
    verdict = "refused" if result.prediction is None else f"read as {result.answer}"
    title = f"What each layer of {classifier.name} makes of {os.path.basename(arguments.maps)}"
    with drawing(arguments.plot):
        answer = (classifier.classes, result.probabilities, verdict)
        network_figures.maps(layers, answer, arguments.plot, title, bitmap)
    return 0


def draw_filters(classifier: ImageClassifier, arguments) -> int:
    """Draw the learned kernels of C1 and C3."""
    from lenet5.evaluation import network_figures
    from lenet5.evaluation.introspection import kernels

    layers = kernels(classifier.net)
    with drawing(arguments.plot, after_results=False):
        title = f"What {classifier.name} has learned to look for"
        network_figures.filters(layers, arguments.plot, title)
    return 0


def draw_embedding(classifier: ImageClassifier, arguments) -> int:
    """Draw F6 of all pictures in two dimensions."""
    from lenet5.evaluation import evaluation_figures
    from lenet5.evaluation.introspection import features, plane, stages

    net, source = classifier.net, arguments.embedding
    images, labels, _, unusable = evaluation_set(source, classifier)
    if len(labels.unique()) < 2:
        raise UserError(f"{source} has pictures of one class; --embedding needs two", status=1)
    predictions = classifier.logits(images).argmax(dim=1)
    points = plane(features(net, classifier.inputs(images)), labels)
    what = "F6 of {}" if "F6" in stages(net) else "What the outputs of {} read,"
    title = f"{what.format(classifier.name)} for the {len(labels):,} pictures of {source}"
    with drawing(arguments.plot, after_results=False):
        evaluation_figures.embedding(
            points, labels, predictions, classifier.classes, arguments.plot, title
        )
    return 1 if unusable else 0


def measure_robustness(classifier: ImageClassifier, arguments) -> int:
    """Measure accuracy against rotation, shift, scale and noise."""
    from lenet5.evaluation import evaluation_figures
    from lenet5.evaluation.robustness import DISTURBANCES, disturbed, robustness
    from lenet5.imaging.inputs import to_input

    networks = [(classifier, classifier.trained)]
    for weights in arguments.beside or []:
        other = ImageClassifier(weights, device=arguments.device, arch=arguments.arch)
        if other.classes != classifier.classes:
            raise UserError(f"{weights} knows other classes than {classifier.weights}")
        networks.append((other, other.trained))
    images, labels, _, unusable = evaluation_set(arguments.robustness, classifier)
    curves: dict[str, dict] = {}  # network → disturbance → [(amount, accuracy), …]
    for each, trained in networks:
        each.logits(images[:1])  # raises for logits that are not finite
        name = each.weights if each.name in curves else each.name
        mean, std = each.metadata["mean"], each.metadata["std"]
        inputs, truth = each.inputs(images), labels.to(trained.device)
        curves[name] = robustness(trained.net, inputs, truth, mean, std)
    if arguments.format == "json":
        print(json.dumps(curves))
    else:
        print_robustness(curves)
    first = to_input(images[:1], 0.0, 1.0)
    examples = {
        kind: [disturbed(first, kind, amount, 0.0, 1.0)[0, 0].numpy() for amount in what.shown]
        for kind, what in DISTURBANCES.items()
    }
    title = f"The {len(labels):,} pictures of {arguments.robustness}, disturbed after they were centred"
    with drawing(arguments.plot):
        evaluation_figures.robustness(curves, examples, arguments.plot, title)
    return 1 if unusable else 0


def print_robustness(curves: dict[str, dict]) -> None:
    """A table for each disturbance: a row for each amount, a column for each network."""
    names = [one_line(name) for name in curves]
    for kind, amounts in next(iter(curves.values())).items():
        print(f"{kind:>9}  " + "  ".join(f"{name:>9}" for name in names))
        for i, (amount, _) in enumerate(amounts):
            shares = (f"{100 * measured[kind][i][1]:.2f} %" for measured in curves.values())
            cells = (f"{share:>{max(9, len(name))}}" for share, name in zip(shares, names, strict=True))
            print(f"{amount:>9}  " + "  ".join(cells))


class Task(NamedTuple):
    """What inference.py does after the flag of this name, in place of reading."""

    run: Callable[[ImageClassifier, argparse.Namespace], int]  # its docstring is the flag's help
    of: str | None  # what the flag takes
    figure: str | None  # the figure's name without --plot


TASKS = {
    "explain": Task(explain, "PICTURE", "steps.png"),
    "maps": Task(draw_maps, "PICTURE", "maps.png"),
    "filters": Task(draw_filters, None, "filters.png"),
    "evaluate": Task(evaluate_set, "SET", None),
    "embedding": Task(draw_embedding, "SET", "embedding.png"),
    "robustness": Task(measure_robustness, "SET", "robustness.png"),
}


def add_task_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each task."""
    title = "instead, one of these (SET: mnist or another data set's test images, fonts, or a folder)"
    add = parser.add_argument_group(title).add_argument
    for name, (run, of, figure) in TASKS.items():
        words = (run.__doc__ or "").rstrip(".")
        what = words[:1].lower() + words[1:] + (f" (--plot, or {figure})" if figure else "")
        if of is None:
            add(f"--{name}", action="store_true", default=None, help=what)
        else:
            add(f"--{name}", metavar=of, help=what)
    add("--beside", metavar="FILE", nargs="+", help="other weights to compare with, for --robustness")


def check_task(arguments: argparse.Namespace) -> None:
    """Set `arguments.task` and the figure's name. Raises UserError for flags that do not go together."""
    given = [name for name in TASKS if getattr(arguments, name) is not None]
    name = arguments.task = given[0] if given else None
    if arguments.beside and name != "robustness":
        raise UserError("--beside is for --robustness: other weights to compare with")
    if name is None:
        return
    task = TASKS[name]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} are two things to do: leave one out")
    alone = f"--{name} is for {f'one {task.of.lower()}' if task.of else 'the network'} alone"
    if arguments.paths or arguments.files_from:
        raise UserError(f"{alone}, without other paths")
    if arguments.output and name != "evaluate":
        raise UserError(f"{alone}, without --output")
    if name in ("filters", "embedding") and arguments.format != "table":
        raise UserError(f"--{name} draws a figure and prints nothing: leave --format out")
    if name in ("evaluate", "robustness") and arguments.format == "csv":
        raise UserError(f"--{name} prints a table, or one object with --format json")
    arguments.plot = arguments.plot or task.figure
