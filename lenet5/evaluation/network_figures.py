"""Figures of a network: kernels, feature maps, steps of the pre-processing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from lenet5.evaluation.figures import BLUE, GREY, ORANGE, RED, SKY, WIDTH, new_figure, plain, save, short

if TYPE_CHECKING:
    import torch

    from lenet5.evaluation.introspection import Kernels


SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "white", RED]).with_extremes(bad="#BBBBBB")


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
