"""Figures of reading: a picture's way to the network, the digits of a number."""

from __future__ import annotations

from matplotlib.patches import Rectangle

from lenet5.evaluation import figures


def trace(looked, result, classes, path) -> None:
    """What `preprocess.look_at` gives of a picture: where the ink was found; and the `Result`."""
    picture, found = looked
    figure = figures.new_figure(figures.WIDTH, 2.7)
    *panels, answer = figure.subplots(1, 5)
    shown = (
        (picture, "the picture"),
        (found.view.picture, "looked at"),
        (found.ink, "the digit's ink"),
        (found.digit, "centred as in MNIST"),
    )
    for axes, (pixels, title) in zip(panels, shown, strict=True):
        figures.show_gray(axes, pixels, 255)
        axes.set_axis_on()  # a frame, since many pictures are white
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{title}\n{pixels.shape[1]}×{pixels.shape[0]}", fontsize=10)
    probabilities = result.probabilities
    read = figures.plain(classes[int(probabilities.argmax())])
    verdict = "refused" if result.prediction is None else f"read as {read}"
    figures.answer_bars(answer, classes, probabilities, verdict)
    figures.save(figure, path)


def numbers(
    found: list[tuple], titles: list[str], classes: list[str], stride: int, path, heading
) -> None:
    """Each number's strip with its digits' boxes, above the windows' probabilities and the best path.

    `found`: for each number its H×W strip, T×classes probabilities, boxes (x, y, width,
    height), digits, and the window of each digit. Windows are `stride` pixels apart. Without
    probabilities (0×classes) the path is drawn alone.
    """
    rows = len(found)
    figure = figures.new_figure(figures.WIDTH, 0.5 + 2.4 * rows)
    figure.suptitle(figures.plain(heading), fontsize=11)
    panels = figure.subplots(2 * rows, 1, height_ratios=[1, 1.6] * rows, squeeze=False).reshape(-1, 2)
    widest = max(160, *(strip.shape[1] for strip, *_ in found))  # one scale for all
    for (picture, scores), title, number in zip(panels, titles, found, strict=True):
        strip, probabilities, boxes, digits, windows = number
        show_boxes(picture, strip, boxes, digits)
        picture.set_title(figures.plain(title), fontsize=10)
        # A window's column is as wide as the stride, so it stands below its place in the strip.
        across = (-stride / 2, stride * (len(probabilities) - 0.5))
        style = {"cmap": "Blues", "vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "nearest"}
        if len(probabilities):
            scores.imshow(probabilities.T, extent=(*across, len(classes) - 0.5, -0.5), **style)
        scores.set_ylim(len(classes) - 0.5, -0.5)
        places = [stride * window for window in windows]
        scores.plot(places, digits, color=figures.ORANGE, marker="o", fillstyle="none")
        scores.set_yticks(range(len(classes)), [figures.short(name, 8) for name in classes], fontsize=6)
        picture.set_xlim(0, widest)
        scores.set_xlim(0, widest)
    panels[-1][1].set_xlabel("pixel of the strip: the middle of each window")
    figures.save(figure, path)


def show_boxes(axes, strip, boxes, digits) -> None:
    """An H×W strip with a box around each digit that has a size."""
    extent = (0, strip.shape[1], strip.shape[0], 0)
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
    for (x, y, w, h), digit in zip(boxes, digits, strict=True):
        if w and h:
            axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=figures.ORANGE))
        axes.annotate(str(digit), (x + w / 2, 1), color=figures.SKY, ha="center", va="top", fontsize=8)
    axes.set(xticks=[], yticks=[])
