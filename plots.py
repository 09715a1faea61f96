"""Every figure of the project; the only file that imports matplotlib.

Figures are drawn off screen and saved complete or not at all. Colours are those
of Okabe and Ito, which colour-blind people can tell apart; lines differ in
their marks too.
"""

from __future__ import annotations  # tensors are named below; most figures are drawn without PyTorch

import io
import itertools
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lenet5.imaging.inputs import to_pixels
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import one_line

if TYPE_CHECKING:
    import torch

    from evaluate import Evaluation
    from look import Kernels

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#B8A800"
RUN_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY)
CLASS_COLOURS = (*RUN_COLOURS, "#000000", "#8C510A")
RUN_MARKS = "os^Dv<>P"
WIDTH = 10  # of most figures, in hundreds of pixels: to be read on a page of 1,000
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "white", RED]).with_extremes(bad="#BBBBBB")


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
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_locator(MaxNLocator(5))  # longer numbers have no room
    rate.yaxis.set_major_formatter("{x:g}")
    for axes in (loss, accuracy, rate):
        epoch_axis(axes, len(history))
    save(figure, path)


def epoch_axis(axes, epochs: int) -> None:
    """An x axis of so many epochs, marked with whole numbers, and a grid."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if epochs == 1:  # a point, around which there is room for its number alone
        axes.set_xlim(0.5, 1.5)
    axes.grid(alpha=0.3)


def decimal_log_scale(axes) -> None:
    """A logarithmic y axis marked 0.02, 0.05, 0.1: easier to read than powers, and to draw."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def accuracy_limits(history: list[dict]) -> tuple[float, float]:
    """Axis limits in % from the evaluations: the training of the first of epochs is far below them."""
    measured = column(history, "val_accuracy")[1] + column(history, "test_accuracy")[1]
    if len(history) == 1:
        measured += column(history, "train_accuracy")[1]
    low, high = 100 * min(measured), 100 * max(measured)
    margin = max(0.15, (high - low) / 5)
    return max(0, low - margin), min(100, high + margin)


def run_comparison(runs: dict[str, list[dict]], path) -> None:
    """Loss and accuracy of several runs over each other; solid is validation, dotted training."""
    figure = new_figure(WIDTH, 5.6)
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
    accuracy.set(title="Accuracy (solid: validation, else test)", ylabel="% right")
    accuracy.set_ylim(accuracy_limits([row for history in runs.values() for row in history]))
    for axes in (loss, accuracy):
        epoch_axis(axes, max(map(len, runs.values())))
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
    figure = new_figure(max(5.0, WIDTH / 10 * columns), 1.25 * rows + 0.4)
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
    figure = new_figure(WIDTH, 2.7)
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
    verdict = "refused" if refused else f"read as {plain(classes[best])}"
    answer_bars(answer, classes, probabilities, verdict)
    save(figure, path)


def evaluation(result: Evaluation, pictures, classes, path) -> None:
    """Confusion matrix, reliability, the most confident mistakes and the least sure hits.

    `pictures` are the N×28×28 uint8 pictures that `result` is of.
    """
    figure = new_figure(WIDTH, 9.6)
    above, *below = figure.subfigures(3, 1, height_ratios=(5, 3, 1.7))
    left, right = above.subfigures(1, 2, width_ratios=(1.25, 1))
    confusion_heatmap(left.subplots(), result, classes)
    reliability_diagram(right, result)
    groups = (("The most confident mistakes", result.mistakes(), RED, 2),)
    groups += (("The least sure hits", result.unsure_hits(), GREEN, 1),)
    for part, (title, order, colour, rows) in zip(below, groups, strict=True):
        part.suptitle(f"{title} (of {len(order):,})" if len(order) else f"{title}: none")
        for axes, i in itertools.zip_longest(part.subplots(rows, 10).flat, order[: 10 * rows].tolist()):
            axes.axis("off")
            if i is None:
                continue
            axes.imshow(pictures[i].numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            name, read = classes[int(result.labels[i])], classes[int(result.predictions[i])]
            words = [f"{read}"] if name == read else [f"{read}, is {name}"]
            if len(words[0]) > 12:
                words = [f"{read},", f"is {name}"]
            words = [short(word, 14) for word in words]
            axes.set_title("\n".join([*words, f"{result.confidences[i]:.1%}"]), color=colour, fontsize=9)
    save(figure, path)


def short(text, most: int) -> str:
    """Text as `plain` makes it, of at most so many characters."""
    text = one_line(text)
    if text.startswith("_"):
        text = f" {text}"  # matplotlib leaves such names out of legends
    return plain(text if len(text) <= most else text[: most - 1] + "…")


def confusion_heatmap(axes, result: Evaluation, classes) -> None:
    """Mistakes by their share of the class's images; the counts are written in where there is room."""
    counts = result.confusion()
    mistakes = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    mistakes.fill_diagonal_(0)
    most = max(0.01, mistakes.max().item())
    axes.imshow(mistakes.numpy(), cmap="Oranges", vmin=0, vmax=most)
    places, names = range(len(classes)), [short(name, 12) for name in classes]
    is_short = len(names) <= 12 and max(map(len, names)) <= 3
    size = 10 if len(names) <= 12 else max(3, 300 / len(names) / 1.4)
    axes.set_xticks(places, names, rotation=0 if is_short else 90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.set(xlabel="read as", ylabel="is", title=f"{100 * result.accuracy:.2f} % right")
    if len(classes) <= 12:
        for i in places:
            for j in places:
                if counts[i, j]:
                    colour = "white" if mistakes[i, j] > 0.6 * most else "black"
                    axes.text(
                        j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=9, color=colour
                    )


def reliability_diagram(figure, result: Evaluation) -> None:
    """How often answers are right against how sure they are, above how many there are of each."""
    images, confidence, accuracy = result.reliability()
    there = images > 0
    x, y, n = (values[there].numpy() for values in (100 * confidence, 100 * accuracy, images))
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    axes.plot([0, 100], [0, 100], "--", color=GREY, label="as right as it is sure")
    low, high = wilson_interval(y / 100, n)
    axes.vlines(x, 100 * low, 100 * high, color=BLUE, linewidth=5, alpha=0.3, label="95 % interval")
    axes.plot(x, y, "o", color=BLUE, label="answers")
    axes.set(ylabel="% right", ylim=(-3, 103), xlim=(-3, 103))
    axes.set_title(f"Reliability (calibration error {100 * result.calibration_error():.2f} %)")
    axes.legend(loc="lower right", fontsize=9)
    edges = np.linspace(0, 100, len(images) + 1)
    counts.bar(edges[:-1], images.numpy(), width=edges[1], align="edge", color=SKY, edgecolor="white")
    counts.set(
        yscale="log", ylabel="answers", xlabel="% sure", ylim=(0.7, 3 * max(1, images.max().item()))
    )
    counts.yaxis.set_major_formatter("{x:,.0f}")
    for each in (axes, counts):
        each.grid(alpha=0.3)


def wilson_interval(share: np.ndarray, count: np.ndarray, z: float = 1.96):
    """The 95 % interval, low and high, of shares (0 to 1) that were seen among so many.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


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
    import torch

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


# ---------------------------------------------------------------- inside a network


def mosaic(tiles: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """N×H×W tiles side by side in so many columns, with thin gaps of NaN; and from tile to tile.

    Each number becomes zoom×zoom of them, so that a gap may be thinner than a pixel of a tile.
    """
    count, height, width = tiles.shape
    zoom = math.ceil(48 / height) if height > 1 else 16
    gap = 4 if height > 1 else 1
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    across, down = zoom * width + gap, zoom * height + gap
    whole = np.full((math.ceil(count / columns) * down + gap, columns * across + gap), np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // columns * down + gap, i % columns * across + gap
        whole[top : top + zoom * height, left : left + zoom * width] = tile
    return whole, across


def columns_for(count: int) -> int:
    """The least columns that hold so many tiles in whole rows, none of them shorter than high."""
    return next(
        columns for columns in range(math.isqrt(count - 1) + 1, count + 1) if count % columns == 0
    )


def show_signed(axes, values: np.ndarray, full: float | None = None) -> None:
    """Numbers as colours: 0 is white, `full` or the largest is full, and what is not there is grey."""
    full = full or np.nanmax(np.abs(values), initial=1e-9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.imshow(values, cmap=SIGNED, vmin=-full, vmax=full, interpolation="nearest")


MOST_MAPS = 16  # of a layer whose kernels are drawn, and of the one below


def filters(layers: list[Kernels], path, title: str) -> None:
    """The kernels of each layer: a column for each of its maps, a row for each map below.

    Of a layer with more maps than a page has room for, those that come first.
    """
    all_maps = [len(k.weight) for k in layers]
    layers = [k._replace(weight=k.weight[:MOST_MAPS, :MOST_MAPS]) for k in layers]
    heights = [0.9 + 9.6 * k.weight.shape[1] / len(k.weight) for k in layers]
    figure = new_figure(WIDTH, sum(heights) + 0.4)
    figure.suptitle(f"{plain(title)}\nwhite: 0, orange: positive, blue: negative", fontsize=11)
    parts = np.ravel(figure.subfigures(len(layers), 1, height_ratios=heights))
    for part, (layer, below, weight), count in zip(parts, layers, all_maps, strict=True):
        maps, maps_below, side, _ = weight.shape
        kernels = weight.cpu().numpy().astype(float)
        # Few weights are far larger than the others, which would all be white beside them.
        full = max(1e-9, np.quantile(np.abs(kernels[kernels != 0]), 0.98)) if kernels.any() else 1.0
        kernels[(kernels == 0).all(axis=(2, 3))] = np.nan  # a connection that does not exist
        axes = part.subplots()
        whole, step = mosaic(kernels.swapaxes(0, 1).reshape(-1, side, side), maps)
        show_signed(axes, whole, full)
        which = f"each of its {maps} maps" if maps == count else f"the first {maps} of its {count} maps"
        words = f"{layer}: {side}×{side} weights of {which}, full colour from ±{full:.2f} on"
        missing = "; grey: not connected" if np.isnan(kernels).any() else ""
        axes.set_title(words + missing, fontsize=11)
        axes.set_xlabel(f"map of {layer}")
        axes.set_ylabel("input" if maps_below == 1 else f"map of {below}")
        axes.set_xticks([(i + 0.5) * step for i in range(maps)], range(maps))
        if maps_below > 1:
            axes.set_yticks([(i + 0.5) * step for i in range(maps_below)], range(maps_below))
        axes.tick_params(length=0)
    save(figure, path)


def maps(layers: list[tuple[str, str, torch.Tensor]], answer, path, title: str, bitmap=None) -> None:
    """The states of each layer for one picture, from the input to the answer.

    `layers` are (name, what it does, C×H×W or units), the input first; `answer` is
    (classes, probabilities, the words above them). With `bitmap`, the 84 numbers
    that the last layer is compared with, both are shown as 7×12.
    """
    panels = []
    for name, done, states in layers:
        tiles = states.cpu().numpy().astype(float)
        tiles = tiles.reshape(len(tiles), *tiles.shape[1:] if tiles.ndim == 3 else (1, 1))
        count, height, width = tiles.shape
        size = f"{width}×{height}"
        words = f"{name}: {count} maps of {size}" if height > 1 else f"{name}: {count} units"
        if name == "input":
            panels.append((f"input: {size}\n", tiles[0]))
            continue
        if bitmap is not None and states is layers[-1][2]:
            panels.append((f"{words} as 7×12\n{done}", mosaic(tiles, 7)[0]))
            drawn = bitmap.cpu().numpy().astype(float).reshape(-1, 1, 1)
            panels.append(("what the answer wants F6 to be:\nits bitmap", mosaic(drawn, 7)[0]))
        else:
            panels.append((f"{words}\n{done}", mosaic(tiles, columns_for(count))[0]))
    rows = math.ceil((len(panels) + 1) / 3)
    figure = new_figure(WIDTH, 3.1 * rows + 0.6)
    key = "white: 0, orange: positive, blue: negative; the fullest colour is a layer's largest number"
    figure.suptitle(f"{plain(title)}\n{key}", fontsize=11)
    grid = figure.add_gridspec(rows, 3)
    for i, (words, values) in enumerate(panels):
        axes = figure.add_subplot(grid[i // 3, i % 3])
        if i == 0:
            axes.imshow(values, cmap="gray", interpolation="nearest")
            axes.axis("off")
        else:
            show_signed(axes, values)
        axes.set_title(words, fontsize=10)
    axes = figure.add_subplot(grid[rows - 1, len(panels) % 3 :])
    answer_bars(axes, *answer)
    save(figure, path)


def answer_bars(axes, classes, probabilities, title: str) -> None:
    """The probability of each class, up to twelve; the likeliest is blue."""
    order = range(len(classes)) if len(classes) <= 12 else np.argsort(-probabilities)[:12]
    best = int(probabilities.argmax())
    axes.barh(
        [short(classes[i], 14) for i in order],
        [100 * probabilities[i] for i in order],
        color=[BLUE if i == best else GREY for i in order],
    )
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="% sure")
    axes.set_title(f"{title}\n{100 * probabilities[best]:.2f} %", fontsize=10)


MOST_POINTS, MOST_RINGS = 3000, 100  # in a figure of F6


def embedding(points: torch.Tensor, labels, predictions, classes, path, title: str) -> None:
    """N×2 points, each marked by its class; rings around those that were read wrong."""
    import torch

    figure = new_figure(WIDTH, 8)
    axes = figure.subplots()
    names = [short(name, 24) for name in classes]
    are_marks = all(len(name) == 1 and name.isascii() and name.isalnum() for name in names)
    wrong = labels != predictions
    ringed = wrong & (wrong.cumsum(0) <= MOST_RINGS)
    shown = ringed | (torch.arange(len(points)) < MOST_POINTS)
    for i in labels.unique().tolist():
        mark = names[i] if are_marks else str(i)
        x, y = points[shown & (labels == i)].T
        axes.scatter(
            x,
            y,
            s=34 * len(mark),
            linewidths=0.3,
            marker=rf"$\mathrm{{{mark}}}$",
            color=CLASS_COLOURS[i % len(CLASS_COLOURS)],
            label=None if are_marks else names[i],
        )
    for i in labels.unique().tolist():
        axes.annotate(
            names[i],
            points[labels == i].median(dim=0).values.tolist(),
            ha="center",
            va="center",
            fontsize=19 if are_marks else 12,
            fontweight="bold",
            path_effects=[withStroke(linewidth=4, foreground="white")],
        )
    words = "read wrong" if ringed.equal(wrong) else f"read wrong ({MOST_RINGS} of {wrong.sum():,})"
    ring = {"s": 150, "facecolors": "none", "edgecolors": "black", "linewidths": 1.2}
    if wrong.any():
        axes.scatter(*points[ringed].T, label=words, **ring)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    part = f" (here {shown.sum():,})" if not shown.all() else ""
    seen = "in the plane in which their classes are best told apart"
    axes.set_title(f"{plain(title)}{part},\n{seen}", fontsize=11)
    if wrong.any() or not are_marks:
        axes.legend(loc="best", fontsize=9)
    save(figure, path)


def robustness(curves: dict, examples: dict, path, title: str) -> None:
    """Accuracy against the amount of each disturbance, for one network or several.

    `curves`: network → kind → [(amount, accuracy from 0 to 1), …]; `examples`:
    kind → the H×W pictures of `Disturbance.shown`.
    """
    from look import DISTURBANCES

    figure = new_figure(WIDTH, 8.4)
    figure.suptitle(plain(title), fontsize=11)
    for part, (kind, disturbance) in zip(
        figure.subfigures(2, 2).flat, DISTURBANCES.items(), strict=True
    ):
        axes, strip = part.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        for i, (network, measured) in enumerate(curves.items()):
            amounts, shares = zip(*measured[kind], strict=True)
            style = {"color": RUN_COLOURS[i % len(RUN_COLOURS)], "marker": RUN_MARKS[i % len(RUN_MARKS)]}
            axes.plot(amounts, [100 * share for share in shares], label=short(network, 28), **style)
        axes.axvline(disturbance.none, color=GREY, linestyle=":")
        axes.set(title=kind.capitalize(), ylabel="% right", ylim=(0, 102))
        axes.grid(alpha=0.3)
        if kind == "rotation":
            axes.legend(loc="lower center", fontsize=9)
        first, last = disturbance.amounts[0], disturbance.amounts[-1]
        half = 0.45 * (disturbance.shown[1] - disturbance.shown[0])
        for amount, picture in zip(disturbance.shown, examples[kind], strict=True):
            strip.imshow(
                picture,
                cmap="gray",
                extent=(amount - half, amount + half, 0, 1),
                vmin=0,
                vmax=1,
                aspect="auto",
                interpolation="nearest",
            )
        strip.set(xlim=(first - half, last + half), yticks=[], xlabel=disturbance.unit)
        strip.spines[:].set_visible(False)
    save(figure, path)


# ---------------------------------------------------------------- whole numbers


def numbers(
    found: list[tuple], titles: list[str], classes: list[str], apart: int, path, heading
) -> None:
    """Each number's strip with its digits' boxes, and below it the scores and the chosen path.

    `found`: for each number its H×W strip, T×classes probabilities, boxes (x, y, width,
    height), digits, and the window of each digit. A window's column is as wide as windows
    are `apart` in pixels, so that it stands below its middle in the strip.
    """
    rows = len(found)
    figure = new_figure(WIDTH, 0.5 + 2.4 * rows)
    figure.suptitle(plain(heading), fontsize=11)
    all_axes = figure.subplots(2 * rows, 1, height_ratios=[1, 1.6] * rows, squeeze=False)[:, 0]
    widest = max(160, *(strip.shape[1] for strip, *_ in found))  # all are drawn at one scale
    for i, (strip, shares, boxes, digits, windows) in enumerate(found):
        picture, scores = all_axes[2 * i : 2 * i + 2]
        extent = (0, strip.shape[1], strip.shape[0], 0)
        picture.imshow(strip, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
        picture.set_title(plain(titles[i]), fontsize=10)
        for (x, y, w, h), digit in zip(boxes, digits, strict=True):
            if w and h:
                picture.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=ORANGE))
            picture.annotate(str(digit), (x + w / 2, 1), color=SKY, ha="center", va="top", fontsize=8)
        scores.imshow(
            shares.T,
            cmap="Blues",
            vmin=0,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(-apart / 2, apart * (len(shares) - 0.5), len(classes) - 0.5, -0.5),
        )
        scores.plot([apart * w for w in windows], digits, color=ORANGE, marker="o", fillstyle="none")
        scores.set_yticks(range(len(classes)), [short(name, 8) for name in classes], fontsize=6)
        for axes in (picture, scores):
            axes.set_xlim(0, widest)
        picture.set(xticks=[], yticks=[])
        scores.set_xlabel("pixel of the strip: the middle of each window" if i == rows - 1 else "")
    save(figure, path)
