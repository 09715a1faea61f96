"""Figures of a network: its kernels, and its feature maps of a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from lenet5.evaluation.figures import BLUE, RED, WIDTH, answer_bars, new_figure, plain, save

if TYPE_CHECKING:
    import torch

    from lenet5.evaluation.introspection import Kernels

SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "white", RED]).with_extremes(bad="#BBBBBB")
KEY = "white: 0, orange: positive, blue: negative"
MOST_MAPS = 16  # of a layer whose kernels are drawn, and of the one below


def filters(layers: list[Kernels], path, title: str) -> None:
    """The kernels of each layer: a column for each map, a row for each map below (the first 16)."""
    shown = [kernels.weight[:MOST_MAPS, :MOST_MAPS] for kernels in layers]
    heights = [0.9 + 9.6 * weight.shape[1] / len(weight) for weight in shown]
    figure = new_figure(WIDTH, sum(heights) + 0.4)
    figure.suptitle(f"{plain(title)}\n{KEY}", fontsize=11)
    parts: Any = figure.subfigures(len(layers), 1, squeeze=False, height_ratios=heights)
    for part, kernels, weight in zip(parts.flat, layers, shown, strict=True):
        maps, maps_below, side, _ = weight.shape
        axes = part.subplots()
        step, full, is_sparse = show_kernels(axes, weight.cpu().numpy().astype(float))
        count = len(kernels.weight)
        which = f"each of its {maps}" if maps == count else f"the first {maps} of its {count}"
        words = (
            f"{kernels.layer}: {side}×{side} weights of {which} maps, full colour from ±{full:.2f} on"
        )
        axes.set_title(words + "; grey: not connected" * is_sparse, fontsize=11)
        below = "input" if maps_below == 1 else f"map of {kernels.below}"
        axes.set(xlabel=f"map of {kernels.layer}", ylabel=below)
        axes.set_xticks([(i + 0.5) * step for i in range(maps)], range(maps))
        if maps_below > 1:
            axes.set_yticks([(i + 0.5) * step for i in range(maps_below)], range(maps_below))
        axes.tick_params(length=0)
    save(figure, path)


def show_kernels(axes, weight: np.ndarray) -> tuple[int, float, bool]:
    """Draw maps×maps below×k×k weights; the step between kernels, the full colour, whether any is 0."""
    missing = (weight == 0).all(axis=(2, 3))
    # A few weights are far larger than the others, which would look white beside them.
    full = max(1e-9, np.quantile(np.abs(weight[weight != 0]), 0.98)) if weight.any() else 1.0
    weight = np.where(missing[:, :, None, None], np.nan, weight)
    tiles = weight.swapaxes(0, 1).reshape(-1, *weight.shape[2:])
    values, step = mosaic(tiles, len(weight))
    show_signed(axes, values, full)
    return step, full, bool(missing.any())


def maps(layers: list[tuple[str, str, torch.Tensor]], answer, path, title: str, bitmap=None) -> None:
    """The states of each layer for one picture, from the input to the answer.

    `layers` are (name, what it does, C×H×W or units), the input first; `answer` is
    (classes, probabilities, title). With `bitmap`, the 84 numbers that the last layer is
    compared with, both are drawn as 7×12.
    """
    panels = [layer_panel(*layer) for layer in layers]
    if bitmap is not None:
        name, does, states = layers[-1]
        panels[-1] = (f"{name}: {len(states)} units as 7×12\n{does}", mosaic(tiles_of(states), 7)[0])
        panels.append(("what the answer wants F6 to be:\nits bitmap", mosaic(tiles_of(bitmap), 7)[0]))
    rows = math.ceil((len(panels) + 1) / 3)
    figure = new_figure(WIDTH, 3.1 * rows + 0.6)
    figure.suptitle(
        f"{plain(title)}\n{KEY}; the fullest colour is a layer's largest number", fontsize=11
    )
    grid = figure.add_gridspec(rows, 3)
    for i, (words, values) in enumerate(panels):
        axes = figure.add_subplot(grid[i // 3, i % 3])
        if i == 0:
            axes.imshow(values, cmap="gray", interpolation="nearest")
            axes.axis("off")
        else:
            show_signed(axes, values)
        axes.set_title(words, fontsize=10)
    answer_bars(figure.add_subplot(grid[rows - 1, len(panels) % 3 :]), *answer)
    save(figure, path)


def layer_panel(name: str, does: str, states: torch.Tensor) -> tuple[str, np.ndarray]:
    """A layer's title, and its states side by side."""
    tiles = tiles_of(states)
    count, height, width = tiles.shape
    if name == "input":
        return f"input: {width}×{height}\n", tiles[0]
    words = f"{count} maps of {width}×{height}" if height > 1 else f"{count} units"
    return f"{name}: {words}\n{does}", mosaic(tiles, columns_for(count))[0]


def tiles_of(states: torch.Tensor) -> np.ndarray:
    """C×H×W maps, or units as C×1×1."""
    values = states.cpu().numpy().astype(float)
    return values if values.ndim == 3 else values.reshape(-1, 1, 1)


def mosaic(tiles: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """N×H×W tiles in so many columns, with thin gaps of NaN; and the step from tile to tile.

    Each number is repeated zoom×zoom times, so that a gap can be thinner than a tile's pixel.
    """
    count, height, _ = tiles.shape
    zoom, gap = (math.ceil(48 / height), 4) if height > 1 else (16, 1)
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    tiles = np.pad(tiles, ((0, -count % columns), (gap, 0), (gap, 0)), constant_values=np.nan)
    _, down, across = tiles.shape
    whole = tiles.reshape(-1, columns, down, across).swapaxes(1, 2).reshape(-1, columns * across)
    return np.pad(whole, ((0, gap), (0, gap)), constant_values=np.nan), across


def columns_for(count: int) -> int:
    """The least number of columns that fills whole rows and is no less than the number of rows."""
    return next(n for n in range(math.isqrt(count - 1) + 1, count + 1) if count % n == 0)


def show_signed(axes, values: np.ndarray, full: float | None = None) -> None:
    """Numbers as colours: 0 white, `full` (else the largest) saturated, NaN grey."""
    full = full or np.nanmax(np.abs(values), initial=1e-9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.imshow(values, cmap=SIGNED, vmin=-full, vmax=full, interpolation="nearest")
