"""Figures of an evaluation: predictions, confusion, reliability, embedding, robustness."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.patheffects import withStroke

from lenet5.evaluation import figures
from lenet5.evaluation.robustness import DISTURBANCES
from lenet5.imaging.inputs import to_pixels

if TYPE_CHECKING:
    from lenet5.evaluation.metrics import Evaluation

CLASS_COLOURS = (*figures.COLOURS, "#000000", "#8C510A")
MOST_POINTS, MOST_RINGS = 3000, 100  # of an embedding
MOST_ROWS = 12  # of five mistakes each

Original = Callable[[int], tuple[np.ndarray, str]]  # a picture and its name


def prediction_grid(
    inputs, result: Evaluation, path, mean: float, std: float, *, only_wrong: bool = False, limit=50
) -> None:
    """Predictions for N×1×H×W inputs: mistakes, the most confident first, then hits.

    `result` is the evaluation of the same inputs, `limit` the most pictures.
    """
    mistakes, hits = result.mistakes(), result.correct.nonzero().squeeze(1)
    order = (mistakes if only_wrong else torch.cat([mistakes, hits]))[:limit]
    titles, colours = [], []
    for i in order.tolist():
        read, label = int(result.predictions[i]), int(result.labels[i])
        titles.append(f"{read} ({result.confidences[i]:.0%})" + f", is {label}" * (read != label))
        colours.append(figures.GREEN if read == label else figures.RED)
    pictures = 255 * to_pixels(inputs.cpu()[order], mean, std)
    heading = f"{len(mistakes):,} of {len(result.labels):,} wrong"
    figures.picture_grid(pictures, titles, colours, path, heading)


def evaluation(result: Evaluation, images, classes, path, original: Original | None = None) -> None:
    """Confusion matrix, reliability, the most confident mistakes and the least sure hits.

    `images` are the N×28×28 uint8 images of `result`; `original(i)` gives the H×W×3 picture
    that image i comes from, and its name, which are then shown beside each mistake.
    """
    mistakes = result.mistakes()
    rows = 2 if original is None else min(MOST_ROWS, max(1, math.ceil(len(mistakes) / 5)))
    figure = figures.new_figure(figures.WIDTH, 6.6 + 1.5 * rows)
    parts: Any = figure.subfigures(3, 1, height_ratios=(5, 1.5 * rows, 1.7))
    above, middle, below = parts
    left, right = above.subfigures(1, 2, width_ratios=(1.25, 1))
    confusion_heatmap(left.subplots(), result, classes)
    reliability_diagram(right, result)
    for part, title, order, colour, panels, beside in (
        (middle, "The most confident mistakes", mistakes, figures.RED, (rows, 10), original),
        (below, "The least sure hits", result.unsure_hits(), figures.GREEN, (1, 10), None),
    ):
        part.suptitle(f"{title} (of {len(order):,})" if len(order) else f"{title}: none")
        grid = part.subplots(*panels, squeeze=False).ravel()
        for axes in grid:
            axes.axis("off")
        for axes, i in zip(grid[1::2] if beside else grid, order.tolist(), strict=False):
            figures.show_gray(axes, images[i].numpy())
            axes.set_title(verdict(result, i, classes), color=colour, fontsize=9)
        if beside is None:
            continue
        for axes, i in zip(grid[::2], order.tolist(), strict=False):
            picture, name = beside(i)
            figures.show_gray(axes, picture)
            axes.set_title(figures.short(name, 16), fontsize=7)
    figures.save(figure, path)


def verdict(result: Evaluation, i: int, classes) -> str:
    """What image i was read as, what it is, and how confident the answer is."""
    name, read = classes[int(result.labels[i])], classes[int(result.predictions[i])]
    lines = [f"{read}" if name == read else f"{read}, is {name}"]
    if name != read and len(lines[0]) > 12:
        lines = [f"{read},", f"is {name}"]
    return "\n".join([*(figures.short(line, 14) for line in lines), f"{result.confidences[i]:.1%}"])


def confusion_heatmap(axes, result: Evaluation, classes) -> None:
    """Mistakes as a share of the label's images; up to twelve classes have counts written in."""
    counts = result.confusion()
    shares = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    shares.fill_diagonal_(0)
    most = max(0.01, shares.max().item())
    axes.imshow(shares.numpy(), cmap="Oranges", vmin=0, vmax=most)
    places, names = range(len(classes)), [figures.short(name, 12) for name in classes]
    is_short = len(names) <= 12 and max(map(len, names)) <= 3
    size = 10 if len(names) <= 12 else max(3, 300 / len(names) / 1.4)
    axes.set_xticks(places, names, rotation=0 if is_short else 90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.set(xlabel="read as", ylabel="is", title=f"{100 * result.accuracy:.2f} % right")
    if len(classes) <= 12:
        for i, j in counts.nonzero().tolist():
            colour = "white" if shares[i, j] > 0.6 * most else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=9, color=colour)


def reliability_diagram(figure, result: Evaluation) -> None:
    """Accuracy against confidence with 95 % intervals, above the number of answers in each bin."""
    images, confidence, accuracy = result.reliability()
    there = images > 0
    x, y, n = (values[there].numpy() for values in (100 * confidence, 100 * accuracy, images))
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    axes.plot([0, 100], [0, 100], "--", color=figures.GREY, label="as right as it is sure")
    low, high = wilson_interval(y / 100, n)
    axes.vlines(
        x, 100 * low, 100 * high, color=figures.BLUE, linewidth=5, alpha=0.3, label="95 % interval"
    )
    axes.plot(x, y, "o", color=figures.BLUE, label="answers")
    axes.set(ylabel="% right", ylim=(-3, 103), xlim=(-3, 103))
    axes.set_title(f"Reliability (calibration error {100 * result.calibration_error():.2f} %)")
    axes.legend(loc="lower right", fontsize=9)
    edges = np.linspace(0, 100, len(images) + 1)
    counts.bar(
        edges[:-1], images.numpy(), width=edges[1], align="edge", color=figures.SKY, edgecolor="white"
    )
    limits = (0.7, 3 * max(1, images.max().item()))
    counts.set(yscale="log", ylabel="answers", xlabel="% sure", ylim=limits)
    counts.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    counts.grid(alpha=0.3)


def wilson_interval(share: np.ndarray, count: np.ndarray, z: float = 1.96):
    """The 95 % interval, low and high, of shares (0 to 1) observed in so many trials.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def embedding(points: torch.Tensor, labels, predictions, classes, path, title: str) -> None:
    """N×2 points, each marked by its class; rings around those that were read wrong."""
    figure = figures.new_figure(figures.WIDTH, 8)
    axes = figure.subplots()
    wrong = labels != predictions
    ringed = wrong & (wrong.cumsum(0) <= MOST_RINGS)
    shown = ringed | (torch.arange(len(points)) < MOST_POINTS)
    names = [figures.short(name, 24) for name in classes]
    are_marks = all(len(name) == 1 and name.isascii() and name.isalnum() for name in names)
    scatter_classes(axes, points, labels, shown, names, are_marks)
    if wrong.any():
        words = "read wrong" if ringed.equal(wrong) else f"read wrong ({MOST_RINGS} of {wrong.sum():,})"
        x, y = points[ringed].T
        axes.scatter(x, y, 150, facecolors="none", edgecolors="black", linewidths=1.2, label=words)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    part = f" (here {shown.sum():,})" if not shown.all() else ""
    seen = "in the plane in which their classes are best told apart"
    axes.set_title(f"{figures.plain(title)}{part},\n{seen}", fontsize=11)
    if wrong.any() or not are_marks:
        axes.legend(loc="best", fontsize=9)
    figures.save(figure, path)


def scatter_classes(axes, points, labels, shown, names: list[str], are_marks: bool) -> None:
    """The `shown` points, marked by class name or index, and the names at the medians."""
    for i in labels.unique().tolist():
        mark, colour = names[i] if are_marks else str(i), CLASS_COLOURS[i % len(CLASS_COLOURS)]
        x, y = points[shown & (labels == i)].T
        marker = rf"$\mathrm{{{mark}}}$"
        label = None if are_marks else names[i]
        axes.scatter(x, y, 34 * len(mark), colour, marker=marker, linewidths=0.3, label=label)
        axes.annotate(
            names[i],
            points[labels == i].median(dim=0).values.tolist(),
            ha="center",
            va="center",
            fontsize=19 if are_marks else 12,
            fontweight="bold",
            path_effects=[withStroke(linewidth=4, foreground="white")],
        )


def robustness(curves: dict, examples: dict, path, title: str) -> None:
    """Accuracy against the amount of each disturbance, for one network or several.

    `curves`: network → kind → [(amount, accuracy from 0 to 1), …]; `examples`:
    kind → the H×W pictures of `Disturbance.shown`.
    """
    figure = figures.new_figure(figures.WIDTH, 8.4)
    figure.suptitle(figures.plain(title), fontsize=11)
    parts: Any = figure.subfigures(2, 2)
    for part, (kind, disturbance) in zip(parts.flat, DISTURBANCES.items(), strict=True):
        axes, strip = part.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        for i, (network, measured) in enumerate(curves.items()):
            amounts, shares = zip(*measured[kind], strict=True)
            values = [100 * share for share in shares]
            axes.plot(amounts, values, label=figures.short(network, 28), **figures.curve_style(i))
        axes.axvline(disturbance.none, color=figures.GREY, linestyle=":")
        axes.set(title=kind.capitalize(), ylabel="% right", ylim=(0, 102))
        axes.grid(alpha=0.3)
        if kind == "rotation":
            axes.legend(loc="lower center", fontsize=9)
        half = 0.45 * (disturbance.shown[1] - disturbance.shown[0])
        style = {"cmap": "gray", "vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "nearest"}
        for amount, picture in zip(disturbance.shown, examples[kind], strict=True):
            strip.imshow(picture, extent=(amount - half, amount + half, 0, 1), **style)
        limits = (disturbance.amounts[0] - half, disturbance.amounts[-1] + half)
        strip.set(xlim=limits, yticks=[], xlabel=disturbance.unit)
        strip.spines[:].set_visible(False)
    figures.save(figure, path)
