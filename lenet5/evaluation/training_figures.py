"""Figures of training: curves, comparison of runs, pruning."""

from __future__ import annotations

from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lenet5.evaluation.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    WIDTH,
    YELLOW,
    new_figure,
    plain,
    save,
)

RUN_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY)
RUN_MARKS = "os^Dv<>P"


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
