"""What all figures share: colours, text, axes, grids of pictures, saving.

Figures are drawn off screen. The colours are those of Okabe and Ito, which colour-blind people
can tell apart; curves differ in their markers too.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import one_line
from lenet5.runtime.outputs import MARK, format_of

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#B8A800"
COLOURS, MARKERS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY), "os^Dv<>P"  # of curves
WIDTH = 10  # of most figures, in units of 100 pixels


def plain(text) -> str:
    """Text on one line, with dollar signs that do not start a formula."""
    return one_line(text).replace("$", r"\$")


def short(text, length: int) -> str:
    """Text as `plain` makes it, cut to a length."""
    text = one_line(text)
    if text.startswith("_"):
        text = f" {text}"  # matplotlib leaves out labels that start with _
    return plain(text if len(text) <= length else text[: length - 1] + "…")


def curve_style(i: int) -> dict[str, Any]:
    """Colour and marker of the curve with this index."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """An off-screen figure; width and height in units of 100 pixels."""
    figure = Figure(figsize=(width, height), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path) -> None:
    """Write a figure in the format that its name tells, with the mark. Raises UserError."""
    buffer, format, mark = io.BytesIO(), format_of(path), MARK.decode()
    # Without matplotlib's version and the date the same figure gives the same bytes.
    formats: dict[str, dict[str, Any]] = {
        "png": {"metadata": {"Software": mark}},
        "jpg": {"pil_kwargs": {"comment": mark}},
        "svg": {"metadata": {"Creator": mark, "Date": None}},
        "pdf": {"metadata": {"Creator": mark, "Producer": None, "CreationDate": None}},
    }
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": mark}):
        warnings.simplefilter("ignore")  # about characters that matplotlib's font lacks
        figure.savefig(buffer, format=format, **formats[format])
    write_file(path, buffer.getvalue())


def show_gray(axes, pixels, white: float = 255) -> None:
    """An H×W picture, 0 black, without axes."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=white, interpolation="nearest")
    axes.axis("off")


def picture_grid(pictures, titles, colours, path, heading: str = "") -> None:
    """Gray pictures (N×H×W, 0 to 255) in a grid, each with a title in a colour."""
    columns = min(10, max(1, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    figure = new_figure(max(5.0, WIDTH / 10 * columns), 1.25 * rows + 0.4)
    figure.suptitle(plain(heading))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, picture, title, colour in zip(grid, pictures, titles, colours, strict=False):
        show_gray(axes, picture)
        axes.set_title(plain(title), color=colour, fontsize=9)
    save(figure, path)


def answer_bars(axes, classes, probabilities, title: str) -> None:
    """The probability of each class, of more than twelve the likeliest; the largest is blue."""
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
