"""Every figure of the project; the only file that imports matplotlib.

Figures are drawn off screen and saved complete or not at all. Colours are those
of Okabe and Ito, which colour-blind people can tell apart; lines differ in
their marks too.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lenet5.imaging.inputs import to_pixels
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import one_line

if TYPE_CHECKING:
    from lenet5.evaluation.metrics import Evaluation


BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#B8A800"
WIDTH = 10  # of most figures, in hundreds of pixels: to be read on a page of 1,000


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


def short(text, most: int) -> str:
    """Text as `plain` makes it, of at most so many characters."""
    text = one_line(text)
    if text.startswith("_"):
        text = f" {text}"  # matplotlib leaves such names out of legends
    return plain(text if len(text) <= most else text[: most - 1] + "…")


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
