"""Figures of training: a batch, curves, comparison of runs, pruning."""

from __future__ import annotations

from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lenet5.evaluation import figures
from lenet5.imaging.inputs import to_pixels


def batch_grid(inputs, labels, path, mean: float, std: float) -> None:
    """A batch of N×1×H×W inputs as pictures with their labels; `mean` and `std` of the network."""
    pictures = 255 * to_pixels(inputs.cpu(), mean, std)
    figures.picture_grid(pictures, labels.tolist(), [figures.GREY] * len(labels), path)


def column(history: list[dict], name: str) -> tuple[list, list]:
    """The epochs in which a metric was measured, and its values; accuracies in %."""
    rows = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
    factor = 100 if name.endswith("accuracy") else 1
    return [epoch for epoch, _ in rows], [factor * value for _, value in rows]


def training_curves(history: list[dict], path, title: str, best_epoch: int | None) -> None:
    """Loss, accuracy and learning rate against the epoch, in three panels."""
    # Redrawn every epoch: a layout computed by matplotlib would double the time.
    figure = figures.new_figure(12, 4, layout=None)
    figure.suptitle(figures.plain(title), fontsize=11)
    loss, accuracy, rate = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.84, bottom=0.13, wspace=0.28)
    style = {"markersize": 5, "linewidth": 1.6, "markevery": mark_every(history)}
    for part, label, colour, mark in (
        ("train", "training", figures.BLUE, "o"),
        ("val", "validation", figures.ORANGE, "s"),
        ("test", "test", figures.GREEN, "^"),
    ):
        for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
            epochs, values = column(history, f"{part}_{metric}")
            if epochs:
                axes.plot(epochs, values, color=colour, marker=mark, label=label, **style)
    label_panels(loss, accuracy, history, epochs=len(history))
    if best_epoch is not None:
        accuracy.axvline(best_epoch, color=figures.GREY, linestyle=":", label="weights kept")
    loss.legend()
    accuracy.legend(loc="lower right")
    rate.plot(*column(history, "lr"), color=figures.RED, marker="D", **style)
    rate.set(title="Learning rate", ylabel="at the end of the epoch")
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_locator(MaxNLocator(5))  # room for long numbers
    rate.yaxis.set_major_formatter("{x:g}")
    epoch_axis(rate, len(history))
    figures.save(figure, path)


def run_comparison(runs: dict[str, list[dict]], path) -> None:
    """Loss and accuracy of several runs; solid: validation (else test), dotted: training."""
    figure = figures.new_figure(figures.WIDTH, 5.6)
    loss, accuracy = figure.subplots(1, 2)
    for i, (name, history) in enumerate(runs.items()):
        held_out = "val" if column(history, "val_accuracy")[0] else "test"
        style = {"markersize": 5, "markevery": mark_every(history)}
        for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
            training = {"color": figures.curve_style(i)["color"]}
            axes.plot(*column(history, f"train_{metric}"), ":", **training, **style)
            values = column(history, f"{held_out}_{metric}")
            axes.plot(*values, "-", label=figures.plain(name), **figures.curve_style(i), **style)
    every = [row for history in runs.values() for row in history]
    label_panels(loss, accuracy, every, epochs=max(map(len, runs.values())))
    loss.set_title("Loss (dotted: training)")
    accuracy.set_title("Accuracy (solid: validation, else test)")
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    figures.save(figure, path)


def mark_every(history: list[dict]) -> int:
    """Epochs from marker to marker."""
    return max(1, len(history) // 20)


def label_panels(loss, accuracy, history: list[dict], epochs: int) -> None:
    """Titles and scales of the two panels that show a history."""
    loss.set(title="Loss", ylabel="mean of the images", yscale="log")
    # Ticks at 0.02, 0.05, 0.1: easier to read than powers, and faster to draw.
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    accuracy.set(title="Accuracy", ylabel="% right", ylim=accuracy_limits(history))
    epoch_axis(loss, epochs)
    epoch_axis(accuracy, epochs)


def epoch_axis(axes, epochs: int) -> None:
    """An x axis with whole numbers of epochs, and a grid."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if epochs == 1:
        axes.set_xlim(0.5, 1.5)
    axes.grid(alpha=0.3)


def accuracy_limits(history: list[dict]) -> tuple[float, float]:
    """Axis limits in %, from the evaluations: training's first epochs are far below them."""
    measured = column(history, "val_accuracy")[1] + column(history, "test_accuracy")[1]
    if len(history) == 1:
        measured += column(history, "train_accuracy")[1]
    low, high = min(measured), max(measured)
    margin = max(0.15, (high - low) / 5)
    return max(0, low - margin), min(100, high + margin)


def pruning_curve(curves: dict[str, list[tuple[int, list[float]]]], path, title: str) -> None:
    """Test accuracy against the parameters that are left, a curve for each network.

    `curves`: network → [(parameters, accuracies of several trainings), …]; the curve shows
    their mean, the marks each.
    """
    figure = figures.new_figure(figures.WIDTH, 5)
    axes = figure.subplots()
    for i, (name, points) in enumerate(curves.items()):
        counts, means = zip(*((n, 100 * sum(v) / len(v)) for n, v in points), strict=True)
        style = figures.curve_style(i)
        axes.plot(counts, means, "-", color=style["color"], linewidth=1.8)
        places = [(count, 100 * value) for count, values in points for value in values]
        axes.plot(
            *zip(*places, strict=True), markersize=6, linestyle="", label=figures.plain(name), **style
        )
    ticks = sorted({count for points in curves.values() for count, _ in points})
    axes.set(xscale="log", title=figures.plain(title), xlabel="parameters that are left")
    axes.set_xticks(ticks, [f"{count:,}\n{count / ticks[-1]:.0%}" for count in ticks])
    axes.minorticks_off()
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figures.save(figure, path)
