"""Simulated photographs of digits: accuracy with each trouble, and with all together.

    python benchmarks/photographs.py          # five minutes on a core
    python benchmarks/photographs.py --table  # print what was measured
    python benchmarks/photographs.py --table --write  # and put it into docs/shipped-weights.md

The digits are held-out training images of MNIST (those that chose the epoch of
the shipped weights; no test image), enlarged and written with a pen on a sheet
of paper that has each trouble by the chances of a table.
"""

import io
import sys
from typing import NamedTuple

import cv2
import numpy as np
from common import ROOT, held_out, make_parser, markdown, measure_anew, percent, write_between
from PIL import Image

from lenet5.reading.classifier import ImageClassifier

PICTURES = 300  # of each trouble alone; three times as many with everything


class Troubles(NamedTuple):
    """Chances from 0 to 1 of each trouble in a photograph."""

    light: float = 0.0  # brighter on one side, darker in the corners
    shadow: float = 0.0  # with a soft edge across the paper
    texture: float = 0.0  # of the paper
    ruled: float = 0.0  # lines, or squares
    colour: float = 0.0  # of ink and paper
    pen: float = 0.0  # thinner or thicker
    faint: float = 0.0  # low contrast
    small: float = 0.0  # on a large sheet, off the centre
    frame: float = 0.0  # a drawn frame, or the table beside the sheet
    dust: float = 0.0
    tilt: float = 0.0  # turned, and seen at an angle
    blur: float = 0.0
    noise: float = 0.0  # of the sensor
    jpeg: float = 0.0
    negative: float = 0.0  # chalk on a board
    edge: float = 0.0  # the digit touches the picture's edge


TROUBLES = {
    "none": Troubles(),
    **{name: Troubles(**{name: 1.0}) for name in Troubles._fields},
    "everything": Troubles(
        light=0.8, shadow=0.4, texture=0.7, ruled=0.4, colour=0.6, pen=0.7, faint=0.3, small=0.6,
        frame=0.2, dust=0.3, tilt=0.6, blur=0.6, noise=0.8, jpeg=0.7, negative=0.1, edge=0.03,
    ),
}  # fmt: skip
# fmt: off
INKS = [(25, 25, 30), (20, 40, 140), (160, 25, 35), (20, 100, 50),
        (70, 70, 75), (90, 40, 120), (60, 35, 20)]
PAPERS = [(250, 250, 250), (244, 238, 220), (228, 226, 222),
          (250, 240, 170), (220, 232, 244), (205, 185, 150)]
# fmt: on
RULES = [(130, 160, 210), (150, 150, 155), (200, 140, 140), (110, 190, 200)]
TABLES = [(70, 50, 35), (40, 42, 48), (120, 90, 60)]


def chosen(colours: list, rng) -> np.ndarray:
    return np.array(colours[rng.integers(len(colours))], np.float32)


def smooth_noise(shape, scale: float, rng) -> np.ndarray:
    """Normal noise with details of `scale` pixels, deviation 1."""
    size = [max(2, int(np.ceil(n / scale)) + 1) for n in shape]
    field = rng.normal(0, 1, size).astype(np.float32)
    field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return field / max(field.std(), 1e-6)


def pen_stroke(ink: np.ndarray, height: int, rng, pen: bool) -> np.ndarray:
    """The digit's box at `height` pixels with a pen's sharp edges, thinner or thicker by chance."""
    ink = cropped(ink, 0.2)
    ink = np.pad(ink, 1 + ink.shape[0] // 10).astype(np.float32)
    scale = height / (ink.shape[0] - 2 * (1 + (ink.shape[0] - 2) // 12))
    size = (max(3, round(ink.shape[1] * scale)), max(3, round(ink.shape[0] * scale)))
    ink = cv2.resize(ink, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    if scale > 1.5:  # an enlarged pixel's edge is `scale` wide, a pen's is not
        ink = cv2.GaussianBlur(ink, (0, 0), 0.35 * scale)
        level = rng.uniform(0.18, 0.45) if pen else 0.33
        ink = np.clip((ink - level) * scale + 0.5, 0, 1)
    return cropped(ink, 0.3)


def cropped(ink: np.ndarray, level: float) -> np.ndarray:
    rows, columns = np.flatnonzero((ink > level).any(1)), np.flatnonzero((ink > level).any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def photograph(ink: np.ndarray, rng: np.random.Generator, troubles: Troubles) -> Image.Image:
    """An RGB picture of a digit on a sheet, with the troubles that chance brings."""
    has = {name: rng.random() < chance for name, chance in zip(Troubles._fields, troubles, strict=True)}
    side = int(np.exp(rng.uniform(np.log(90), np.log(900))))
    aspect = rng.uniform(0.75, 1.33)
    height, width = int(side * aspect**0.5), int(side / aspect**0.5)
    share = rng.uniform(0.12, 0.4) if has["small"] else rng.uniform(0.45, 0.8)
    tall = max(14, int(min(height, width) * share))
    digit = pen_stroke(ink, tall, rng, has["pen"])
    if digit.shape[1] > 0.9 * width:
        digit = cv2.resize(digit, (int(0.9 * width), digit.shape[0]), interpolation=cv2.INTER_AREA)
    page, pen = written_page(digit, (height, width), tall, rng, has)
    if has["frame"]:
        page = framed(page, pen, rng)
    if has["negative"]:
        page = (255 - page) * rng.uniform(0.75, 0.95) + rng.uniform(10, 40)
    page *= lighting(page.shape[:2], rng, has["light"], has["shadow"])[..., None]
    if has["blur"]:
        page = cv2.GaussianBlur(page, (0, 0), rng.uniform(0.4, 1.0 + 0.025 * tall))
    if has["noise"]:
        page = page + rng.normal(0, rng.uniform(2, 10), page.shape)
        page += rng.normal(0, rng.uniform(1, 5), page.shape[:2])[..., None]
    picture = Image.fromarray(page.clip(0, 255).round().astype(np.uint8))
    if has["jpeg"]:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        picture = Image.open(buffer).convert("RGB")
    return picture


def written_page(digit, shape: tuple[int, int], tall: int, rng, has: dict) -> tuple:
    """An H×W×3 sheet of paper with the digit's strokes (h×w, 0 to 1) on it, and the pen's colour."""
    height, width = shape
    paper = chosen(PAPERS, rng) if has["colour"] else np.full(3, 245, np.float32)
    pen = chosen(INKS, rng) if has["colour"] else np.array((25, 25, 30), np.float32)
    if has["faint"]:
        pen = paper + (pen - paper) * rng.uniform(0.2, 0.45)
    page = np.ones((height, width, 3), np.float32) * paper
    if has["texture"]:
        grain = 0.012 * smooth_noise(shape, 2, rng) + 0.012 * smooth_noise(shape, 9, rng)
        page *= (1 + grain)[..., None]
    if has["ruled"]:
        rule(page, tall, rng)
    free_y, free_x = height - digit.shape[0], width - digit.shape[1]
    low, high = (0.1, 0.9) if has["small"] else (0.4, 0.6)
    top, left = int(free_y * rng.uniform(low, high)), int(free_x * rng.uniform(low, high))
    if has["edge"]:
        top, left = [(0, left), (free_y, left), (top, 0), (top, free_x)][rng.integers(4)]
    amount = np.zeros(shape, np.float32)
    amount[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    pressure = 1.0
    if has["texture"]:
        pressure = 1 - 0.15 * np.abs(smooth_noise(shape, max(3, tall / 6), rng))
    cover = (amount * np.clip(pressure, 0, 1))[..., None]
    page = page * (1 - cover) + pen * cover
    if has["dust"]:
        colour = pen.tolist()
        for _ in range(rng.integers(3, 25)):
            y, x = int(rng.integers(height)), int(rng.integers(width))
            radius = max(1, int(tall * rng.uniform(0.004, 0.03)))
            cv2.circle(page, (x, y), radius, colour, -1, cv2.LINE_AA)
    return (tilted(page, rng) if has["tilt"] else page), pen


def rule(page: np.ndarray, height: int, rng) -> None:
    """Draw ruled lines or squares on an H×W×3 sheet."""
    spacing = max(8, int(height * rng.uniform(0.35, 1.6)))
    width = max(1, round(spacing * rng.uniform(0.01, 0.03)))
    colour, strength = chosen(RULES, rng), rng.uniform(0.35, 0.9)
    squared = rng.random() < 0.5
    for y in range(rng.integers(spacing), page.shape[0], spacing):
        page[y : y + width] = page[y : y + width] * (1 - strength) + colour * strength
    if squared:
        for x in range(rng.integers(spacing), page.shape[1], spacing):
            page[:, x : x + width] = page[:, x : x + width] * (1 - strength) + colour * strength


def tilted(page: np.ndarray, rng) -> np.ndarray:
    """Turned by up to 10 degrees and seen at a slight angle."""
    height, width = page.shape[:2]
    square = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = square + rng.uniform(-0.04, 0.04, (4, 2)).astype(np.float32) * [width, height]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-10, 10), 1.0)
    moved = (moved @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    view = cv2.getPerspectiveTransform(square, moved)
    return cv2.warpPerspective(page, view, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def framed(page: np.ndarray, pen, rng) -> np.ndarray:
    """A frame drawn around the digit, or the table that shows beside the sheet."""
    height, width = page.shape[:2]
    if rng.random() < 0.5:
        inset = int(min(height, width) * rng.uniform(0.0, 0.04))
        thick = max(1, int(min(height, width) * rng.uniform(0.004, 0.02)))
        corner = width - 1 - inset, height - 1 - inset
        cv2.rectangle(page, (inset, inset), corner, pen.tolist(), thick)
        return page
    table = chosen(TABLES, rng)
    for side in rng.permutation(4)[: rng.integers(1, 5)]:
        depth = int((height if side < 2 else width) * rng.uniform(0.02, 0.08))
        sides = np.s_[:depth], np.s_[height - depth :], np.s_[:, :depth], np.s_[:, width - depth :]
        page[sides[side]] = table
    return page


def lighting(shape, rng, light: bool, shadow: bool) -> np.ndarray:
    """H×W factors on the brightness."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height - 0.5, x / width - 0.5
    factor = np.ones(shape, np.float32)
    if light:
        angle = rng.uniform(0, 2 * np.pi)
        factor *= 1 - rng.uniform(0.1, 0.55) * (np.cos(angle) * x + np.sin(angle) * y + 0.5)
        factor *= 1 - rng.uniform(0, 0.5) * (x**2 + y**2) * 2
    if shadow:
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35)
        ripples = 0.03 * smooth_noise(shape, max(shape) / 3, rng)
        distance = np.cos(angle) * x + np.sin(angle) * y - offset + ripples
        softness = rng.uniform(0.01, 0.1)
        factor *= 1 - rng.uniform(0.25, 0.6) / (1 + np.exp(-distance / softness))
    return factor


def measure(trouble: str, classifier: ImageClassifier, digits: np.ndarray, labels: np.ndarray) -> dict:
    rng = np.random.default_rng(1)
    count = 3 * PICTURES if trouble == "everything" else PICTURES
    pictures = (photograph(ink, rng, TROUBLES[trouble]) for ink in digits[:count])
    results = [classifier.predict_batch([picture])[0] for picture in pictures]
    right = np.array([result.top[0][0] for result in results]) == labels[:count]
    answered = np.array([result.prediction is not None for result in results])
    return {
        "trouble": trouble,
        "pictures": count,
        "right": int(right.sum()),
        "by_digit": [float(right[labels[:count] == digit].mean()) for digit in range(10)],
        "answered": int(answered.sum()),
        "right_of_answered": int(right[answered].sum()),
    }


def write_table(rows: list[dict]) -> None:
    """Put the figures into the page about the shipped weights."""
    heads = [
        "disturbance",
        "pictures",
        "right",
        "worst digit",
        "answered with `--reject`",
        "of these right",
    ]
    lines = []
    for row in rows:
        worst = int(np.argmin(row["by_digit"]))
        lines.append(
            [
                row["trouble"],
                str(row["pictures"]),
                percent(row["right"] / row["pictures"]),
                f"{worst}: {percent(row['by_digit'][worst])}",
                percent(row["answered"] / row["pictures"]),
                percent(row["right_of_answered"] / max(row["answered"], 1)),
            ]
        )
    write_between("photographs", markdown(heads, lines), "docs/shipped-weights.md")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    def measure_all() -> list[dict]:
        images, labels = (part.numpy() for part in held_out())
        digits = images / np.float32(255)
        classifier = ImageClassifier(ROOT / "pretrained" / "lenet5.pth", reject=True)
        return [measure(trouble, classifier, digits, labels) for trouble in TROUBLES]

    rows = measure_anew("photographs", measure_all, options.table)
    for row in rows:
        share = 100 * row["right"] / row["pictures"]
        worst = int(np.argmin(row["by_digit"]))
        print(
            f"{row['trouble']:12} {row['right']:5} of {row['pictures']:,}  {share:6.2f} %"
            f"  worst: {worst}, {100 * row['by_digit'][worst]:.1f} %"
            f"  with --reject {row['right_of_answered']} of {row['answered']}"
        )
    if options.write:
        write_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
