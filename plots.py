"""Every figure of the project; the only file that imports matplotlib.

Figures are drawn off screen and saved complete or not at all. Colours are those
of Okabe and Ito, which colour-blind people can tell apart; lines differ in
their marks too.
"""

import io
import math
import warnings

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from evaluate import Evaluation
from files import one_line, write_file
from preprocess import to_pixels

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#B8A800"
RUN_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY)
RUN_MARKS = "os^Dv<>P"


def plain(text) -> str:
    """Text on one line in which a dollar sign is one, and not the beginning of a formula."""
    return one_line(text).replace("$", r"\$")


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A figure of so many hundreds of pixels."""
    figure = Figure(figsize=(width, height), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path) -> None:
    """Write a figure as PNG. Raises UserError if the file cannot be written."""
    buffer = io.BytesIO()
    # Without the version of matplotlib in it, the same figure is the same bytes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, about signs in names that its font lacks
        figure.savefig(buffer, format="png", metadata={"Software": None})
    write_file(path, buffer.getvalue())


def column(history: list[dict], name: str) -> tuple[list, list]:
    """The epochs in which a figure was measured, and the figure."""
    rows = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
    return [epoch for epoch, _ in rows], [value for _, value in rows]


def mark_every(history: list[dict]) -> int:
    return max(1, len(history) // 20)


def training_curves(history: list[dict], path, title: str, best_epoch: int | None) -> None:
    """Loss, accuracy and learning rate against the epoch, in three panels."""
    # Redrawn every epoch, so its margins are given: to work them out would double the time.
    figure = new_figure(12, 4, layout=None)
    figure.suptitle(plain(title), fontsize=11)
    loss, accuracy, rate = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.84, bottom=0.13, wspace=0.28)
    lines = (("train", BLUE, "o"), ("val", ORANGE, "s"), ("test", GREEN, "^"))
    names = {"train": "training", "val": "validation", "test": "test"}
    style = {"markersize": 5, "linewidth": 1.6, "markevery": mark_every(history)}
    for part, colour, mark in lines:
        for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
            epochs, values = column(history, f"{part}_{quantity}")
            if quantity == "accuracy":
                values = [100 * value for value in values]
            if epochs:
                axes.plot(epochs, values, color=colour, marker=mark, label=names[part], **style)
    loss.set(title="Loss", ylabel="mean of the images")
    decimal_log_scale(loss)
    accuracy.set(title="Accuracy", ylabel="% right", ylim=accuracy_limits(history))
    if best_epoch is not None:
        accuracy.axvline(best_epoch, color=GREY, linestyle=":", label="weights kept")
    loss.legend()
    accuracy.legend(loc="lower right")
    epochs, values = column(history, "lr")
    rate.plot(epochs, values, color=RED, marker="D", **style)
    rate.set(title="Learning rate", ylabel="at the end of the epoch")
    rate.yaxis.set_major_formatter("{x:g}")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    save(figure, path)


def decimal_log_scale(axes) -> None:
    """A logarithmic y axis marked 0.02, 0.05, 0.1: easier to read than powers, and to draw."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def accuracy_limits(history: list[dict]) -> tuple[float, float]:
    """Axis limits in % from the evaluations alone: the first epoch's training is far below them."""
    measured = column(history, "val_accuracy")[1] + column(history, "test_accuracy")[1]
    low, high = 100 * min(measured), 100 * max(measured)
    margin = max(0.15, (high - low) / 5)
    return max(0, low - margin), min(100, high + margin)


def run_comparison(runs: dict[str, list[dict]], path) -> None:
    """Loss and accuracy of several runs over each other; solid is validation, dotted training."""
    figure = new_figure(15, 6.4)
    loss, accuracy = figure.subplots(1, 2)
    for i, (name, history) in enumerate(runs.items()):
        colour, mark = RUN_COLOURS[i % len(RUN_COLOURS)], RUN_MARKS[i % len(RUN_MARKS)]
        held_out = "val" if column(history, "val_accuracy")[0] else "test"
        for axes, quantity, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            for part, line in (("train", ":"), (held_out, "-")):
                epochs, values = column(history, f"{part}_{quantity}")
                axes.plot(
                    epochs,
                    [factor * value for value in values],
                    line,
                    color=colour,
                    marker=mark if line == "-" else None,
                    markersize=5,
                    markevery=mark_every(history),
                    label=plain(name) if line == "-" else None,
                )
    loss.set(title="Loss (dotted: training)", ylabel="mean of the images")
    decimal_log_scale(loss)
    accuracy.set(title="Accuracy (solid: validation, or test without it)", ylabel="% right")
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    save(figure, path)


def pruning_curve(curves: dict[str, list[tuple[int, list[float]]]], path, title: str) -> None:
    """Test accuracy against the parameters that are left, a line a network.

    Each point of a curve is a number of parameters and the accuracies of several
    trainings, of which the line shows the mean and the marks each.
    """
    figure = new_figure(10, 5)
    axes = figure.subplots()
    for i, (name, points) in enumerate(curves.items()):
        colour, mark = RUN_COLOURS[i], RUN_MARKS[i]
        counts = [count for count, _ in points]
        means = [100 * sum(values) / len(values) for _, values in points]
        axes.plot(counts, means, "-", color=colour, linewidth=1.8)
        places = [(count, 100 * value) for count, values in points for value in values]
        axes.plot(*zip(*places, strict=True), mark, color=colour, markersize=6, label=plain(name))
    ticks = sorted({count for points in curves.values() for count, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{count:,}\n{count / ticks[-1]:.0%}" for count in ticks])
    axes.minorticks_off()
    axes.set_title(plain(title))
    axes.set_xlabel("parameters that are left")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save(figure, path)


def picture_grid(pictures, titles, colours, path, heading: str = "") -> None:
    """Gray pictures (N×H×W, 0 to 255) in a grid, each with a title in a colour."""
    columns = min(10, max(1, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    figure = new_figure(max(5.0, 1.3 * columns), 1.5 * rows + 0.5)
    figure.suptitle(plain(heading))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, picture, title, colour in zip(grid.flat, pictures, titles, colours, strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(plain(title), color=colour, fontsize=9)
    save(figure, path)


def steps(found, probabilities, classes, path, refused: bool = False) -> None:
    """A picture on its way to the network (`preprocess.Steps`), and what the network says of it."""
    figure = new_figure(15, 3.6)
    *panels, answer = figure.subplots(1, 5)
    ink = "dark" if found.dark else "bright"
    shown = (
        (found.picture, "the picture", 255),
        (found.everything, f"all {ink} ink, in even light", None),
        (found.ink, "the digit's ink", None),
        (found.digit, "centred as in MNIST", 255),
    )
    for axes, (pixels, title, most) in zip(panels, shown, strict=True):
        most = most or max(1, pixels.max())
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=most, interpolation="nearest")
        axes.set_title(f"{title}\n{pixels.shape[1]}×{pixels.shape[0]}", fontsize=10)
        axes.axis("off")
    best = int(probabilities.argmax())
    colours = [BLUE if i == best else GREY for i in range(len(classes))]
    answer.barh([plain(name) for name in classes], 100 * probabilities, color=colours)
    answer.invert_yaxis()
    answer.set(xlim=(0, 100), xlabel="% sure")
    verdict = "refused" if refused else f"read as {plain(classes[best])}"
    answer.set_title(f"{verdict}\n{100 * probabilities[best]:.2f} %", fontsize=10)
    save(figure, path)


def evaluation(result: Evaluation, pictures, classes, path, shown: int = 18) -> None:
    """The confusion matrix, the most confident mistakes and the least sure hits, in one figure.

    `pictures` are the N×28×28 uint8 pictures that `result` is of.
    """
    figure = new_figure(16, 6.6)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.5))
    confusion_heatmap(left.subplots(), result, classes)
    groups = (("the most confident mistakes", result.mistakes(), RED),)
    groups += (("the least sure hits", result.unsure_hits(), GREEN),)
    for part, (title, order, colour) in zip(right.subfigures(2, 1), groups, strict=True):
        part.suptitle(f"{title} (of {len(order):,})" if len(order) else f"{title}: none")
        for axes, i in zip(
            part.subplots(2, shown // 2).flat, [*order.tolist(), *[None] * shown], strict=False
        ):
            axes.axis("off")
            if i is None:
                continue
            axes.imshow(pictures[i].numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            name, read = classes[int(result.labels[i])], classes[int(result.predictions[i])]
            words = f"{read}" if name == read else f"{read}, is {name}"
            axes.set_title(f"{plain(words)}\n{result.confidences[i]:.1%}", color=colour, fontsize=8)
    save(figure, path)


def confusion_heatmap(axes, result: Evaluation, classes) -> None:
    """Mistakes by their share of the class's images; the counts are written in where there is room."""
    counts = result.confusion()
    mistakes = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    mistakes.fill_diagonal_(0)
    axes.imshow(mistakes.numpy(), cmap="Oranges", vmin=0, vmax=max(0.01, mistakes.max().item()))
    places = range(len(classes))
    axes.set_xticks(places, [plain(name) for name in classes], rotation=0 if len(classes) <= 10 else 90)
    axes.set_yticks(places, [plain(name) for name in classes])
    axes.set(xlabel="read as", ylabel="is", title=f"{100 * result.accuracy:.2f} % right")
    if len(classes) <= 12:
        for i in places:
            for j in places:
                if counts[i, j]:
                    axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=8)


def batch_grid(inputs, labels, path, mean: float, std: float, predictions=None) -> None:
    """A batch of N×1×H×W network inputs as pictures with their labels.

    `mean` and `std` are those of the network, to undo its normalisation. With
    `predictions`, each picture says what was read, in red where it is wrong.
    """
    pictures = 255 * to_pixels(inputs.cpu(), mean, std)
    if predictions is None:
        titles, colours = [f"{label}" for label in labels.tolist()], [GREY] * len(labels)
    else:
        pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
        titles = [f"{read}" if read == label else f"{read}, is {label}" for label, read in pairs]
        colours = [GREEN if read == label else RED for label, read in pairs]
    picture_grid(pictures, titles, colours, path)


def prediction_grid(
    inputs, result: Evaluation, path, mean: float, std: float, *, only_wrong: bool = False, limit=50
) -> None:
    """How a network read N×1×H×W inputs: its mistakes, the most confident first, then its hits.

    `result` is what `evaluate` made of the same inputs. Of at most `limit`
    pictures each title says what was read, how confidently, and what was right.
    """
    hits = (result.predictions == result.labels).nonzero().squeeze(1)
    mistakes = result.mistakes()
    order = (mistakes if only_wrong else torch.cat([mistakes, hits]))[:limit]
    pictures = 255 * to_pixels(inputs.cpu()[order], mean, std)
    titles, colours = [], []
    for read, label, sure in zip(
        result.predictions[order].tolist(),
        result.labels[order].tolist(),
        result.confidences[order].tolist(),
        strict=True,
    ):
        titles.append(f"{read} ({sure:.0%})" + ("" if read == label else f", is {label}"))
        colours.append(GREEN if read == label else RED)
    heading = f"{len(mistakes):,} of {len(result.labels):,} wrong"
    picture_grid(pictures, titles, colours, path, heading)
