"""Kinds of pictures that people have, drawn here: how many of each the shipped networks read."""

import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from generate_test_digits import default_face, draw_digit
from lenet5.data.skeletons import JITTER, SKELETONS, random_writer, strokes
from lenet5.reading.classifier import ImageClassifier
from tests.conftest import PRETRAINED, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from photographs import TROUBLES, photograph

SIDE = 200  # pixels of most sheets
BLACK, RED, BLUE, GRID = (0, 0, 0), (200, 30, 30), (30, 40, 140), (120, 150, 200)


@pytest.fixture(scope="module")
def classifier():
    return ImageClassifier(PRETRAINED, device="cpu")


# ---------------------------------------------------------------- digits and sheets


def printed(digit: int, side: int = SIDE) -> Image.Image:
    """The ink of a digit of DejaVu Sans, two thirds as high as its sheet; 255 is ink."""
    return ImageOps.invert(draw_digit(digit, default_face(), size=side))


def lines(paths, side: int, width: int) -> Image.Image:
    """The ink of K×2 points each, in shares of the side, drawn with a pen."""
    sheet = Image.new("L", (side, side), 0)
    for path in paths:
        points = [(side * x, side * y) for x, y in np.asarray(path)]
        ImageDraw.Draw(sheet).line(points, fill=255, width=width, joint="curve")
    return sheet


def handwritten(digit: int, rng, side: int = SIDE, width: int = 9) -> Image.Image:
    """The ink of a random skeleton of a digit, 0.63 of the sheet."""
    way = SKELETONS[digit][rng.integers(len(SKELETONS[digit]))]
    paths = strokes(way, random_writer(rng), JITTER, rng)
    return lines([path / 64 for path in paths], side, width)


def on_sheet(ink: Image.Image, colour=BLACK, paper=(255, 255, 255)) -> Image.Image:
    return Image.composite(Image.new("RGB", ink.size, colour), Image.new("RGB", ink.size, paper), ink)


def written(digit: int, rng, **how) -> Image.Image:
    """A digit on white paper, printed or written."""
    return on_sheet(printed(digit) if rng.random() < 0.5 else handwritten(digit, rng), **how)


# ---------------------------------------------------------------- lines around a digit


def in_a_box(digit, rng, insets=(20,), width=2):
    sheet = written(digit, rng)
    for inset in insets:
        corners = (inset, inset, SIDE - 1 - inset, SIDE - 1 - inset)
        ImageDraw.Draw(sheet).rectangle(corners, outline=BLACK, width=width)
    return sheet


def in_a_comb(digit, rng):
    """A form's comb, open above."""
    sheet = written(digit, rng)
    ImageDraw.Draw(sheet).line([(25, 140), (25, 182), (175, 182), (175, 140)], fill=BLACK, width=2)
    return sheet


def in_a_table(digit, rng):
    """The lines of the cell below and at the left go on beyond the picture."""
    sheet = written(digit, rng)
    ImageDraw.Draw(sheet).line([(0, 181), (SIDE, 181)], fill=BLACK, width=2)
    ImageDraw.Draw(sheet).line([(24, 0), (24, SIDE)], fill=BLACK, width=2)
    return sheet


def underlined(digit, rng):
    sheet = written(digit, rng)
    ImageDraw.Draw(sheet).line([(50, 184), (150, 181)], fill=BLACK, width=6)
    return sheet


def with_bars(digit, rng, sides):
    sheet, bar = written(digit, rng), round(0.14 * SIDE)
    size = {"upright": (SIDE + 2 * bar, SIDE), "level": (SIDE, SIDE + 2 * bar)}[sides]
    letterbox = Image.new("RGB", size, BLACK)
    letterbox.paste(sheet, ((size[0] - SIDE) // 2, (size[1] - SIDE) // 2))
    return letterbox


# ---------------------------------------------------------------- shapes and colours


def on_a_shape(digit, rng, shape, ground=RED, ink=(255, 255, 255), outline=None):
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    corners, draw = (12, 12, SIDE - 13, SIDE - 13), ImageDraw.Draw(sheet)
    if shape == "disc":
        draw.ellipse(corners, fill=ground, outline=outline, width=4)
    else:
        draw.rounded_rectangle(corners, 35, fill=ground, outline=outline, width=4)
    mask = printed(digit, 140) if rng.random() < 0.5 else handwritten(digit, rng, 140, 8)
    sheet.paste(ink, (30, 30), mask)
    return sheet


def circled(digit, rng):
    return on_a_shape(digit, rng, "disc", ground="white", ink=BLACK, outline=BLACK)


def translucent(digit, rng, mode, alpha):
    ink = printed(digit) if rng.random() < 0.5 else handwritten(digit, rng)
    picture = Image.new("LA", ink.size, (0, 0))
    picture.putalpha(ink.point(lambda level: level * alpha // 255))
    return picture.convert(mode)


def same_luma(digit, rng, side):
    """Red on green that a gray picture cannot tell apart."""
    red, green = (200, 30, 30), (30, 117, 30)
    levels = {Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0)) for colour in (red, green)}
    assert max(levels) - min(levels) <= 1
    ink = printed(digit, side) if rng.random() < 0.5 else handwritten(digit, rng, side, side // 12)
    return on_sheet(ink, red, green)


def outlined(digit, rng):
    """A broad outline filled with a colour."""
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    font = ImageFont.truetype(default_face().path, 150)
    fill = [(240, 200, 40), (220, 60, 60), (80, 160, 230)][rng.integers(3)]
    style = {"fill": fill, "stroke_width": 8, "stroke_fill": BLACK}
    ImageDraw.Draw(sheet).text((100, 100), str(digit), font=font, anchor="mm", **style)
    return sheet


# ---------------------------------------------------------------- thin lines, large and long sheets


def hairline(digit, rng):
    """One-pixel lines on 2,400 pixels."""
    return on_sheet(handwritten(digit, rng, 2400, 1))


def ballpoint(digit, rng):
    """A pen as thin as the squares of the paper."""
    sheet, side = Image.new("RGB", (400, 400), "white"), 400
    for place in range(int(rng.integers(4, 24)), side, 24):
        ImageDraw.Draw(sheet).line([(place, 0), (place, side)], fill=GRID, width=2)
        ImageDraw.Draw(sheet).line([(0, place), (side, place)], fill=GRID, width=2)
    sheet.paste(BLUE, mask=handwritten(digit, rng, side, 2))
    return sheet


def in_a_strip(digit, rng, size):
    sheet = Image.new("L", size, 255)
    font = ImageFont.truetype(default_face().path, 40)
    ImageDraw.Draw(sheet).text((size[0] // 3, size[1] // 2), str(digit), font=font, anchor="mm", fill=0)
    return sheet


# ---------------------------------------------------------------- the world's forms of digits

# Control points in tenths of the sheet; each stroke is a polyline.
OVAL = [(5, 2), (3.4, 3.2), (3, 5), (3.4, 6.8), (5, 8), (6.6, 6.8), (7, 5), (6.6, 3.2), (5, 2)]
FORMS = {
    "1 with a flag and a base": (1, [[(3, 4), (5, 2), (5, 8)], [(3, 8), (7, 8)]]),
    "7 with a bar": (7, [[(3, 2), (7, 2), (4.5, 8)], [(3.8, 5), (6.8, 5)]]),
    "open 4": (4, [[(4, 2), (3, 5.6), (7, 5.6)], [(6, 3.4), (6, 8)]]),
    "closed 4": (4, [[(6, 8), (6, 2), (2.8, 6), (7.4, 6)]]),
    "slashed 0": (0, [OVAL, [(6.9, 2.4), (3.1, 7.6)]]),
}
CORNERS = {"a": (3, 2), "b": (7, 2), "c": (3, 5), "d": (7, 5), "e": (3, 8), "f": (7, 8)}
SEGMENTS = ("ab bd df ef ce ac", "bd df", "ab bd cd ce ef", "ab bd cd df ef", "ac cd bd df",
            "ab ac cd df ef", "ab ac ce ef df cd", "ab bd df", "ab bd df ef ce ac cd",
            "cd ac ab bd df ef")  # fmt: skip


def formed(which, rng):
    """One of FORMS with its points a little off, in a pen of some width."""
    paths = [np.array(path) / 10 + rng.normal(0, 0.012, (len(path), 2)) for path in FORMS[which][1]]
    return on_sheet(lines(paths, SIDE, int(rng.integers(5, 13))))


def seven_segments(digit, rng):
    """Bars apart from each other, bright on dark or dark on bright."""
    sheet = Image.new("L", (SIDE, SIDE), 0)
    for ends in SEGMENTS[digit].split():
        start, end = (SIDE / 10 * np.array(CORNERS[corner]) for corner in ends)
        gap = 9 * (end - start) / np.abs(end - start).max()
        points = [tuple(start + gap), tuple(end - gap)]
        ImageDraw.Draw(sheet).line(points, fill=255, width=14)
    bright, dark = [((255, 60, 40), (30, 10, 10)), ((40, 40, 40), (190, 200, 180))][rng.integers(2)]
    return on_sheet(sheet, bright, dark)


# ---------------------------------------------------------------- how many are read


def kinds() -> dict:
    """By name: a function of a digit and a generator; pictures of each digit; how many must be right."""
    found = {
        "box": (in_a_box, 2, 19),
        "double frame": (lambda d, r: in_a_box(d, r, (12, 20)), 2, 19),
        "comb": (in_a_comb, 2, 19),
        "table": (in_a_table, 2, 19),
        "underlined": (underlined, 2, 19),
        "circled": (circled, 2, 19),
        "outlined and filled": (outlined, 2, 19),
        "one-pixel lines": (hairline, 2, 19),
        "ballpoint on squares": (ballpoint, 6, 45),
        "seven segments": (seven_segments, 2, 19),
    }
    for sides in ("upright", "level"):
        found[f"{sides} bars"] = (lambda d, r, sides=sides: with_bars(d, r, sides), 2, 19)
    for shape in ("disc", "rounded square"):
        found[f"white on a red {shape}"] = (lambda d, r, shape=shape: on_a_shape(d, r, shape), 2, 18)
    for mode in ("RGBA", "LA"):
        for alpha in (40, 80, 127):
            draw = lambda d, r, how=(mode, alpha): translucent(d, r, *how)  # noqa: E731
            found[f"{mode} with an alpha of {alpha}"] = (draw, 1, 10)
    for side in (28, 40, 64):
        found[f"red on green, {side} pixels"] = (lambda d, r, side=side: same_luma(d, r, side), 2, 19)
    for size in ((3000, 50), (50, 3000), (20_000, 48)):
        name = "a strip of {}×{}".format(*size)
        found[name] = (lambda d, r, size=size: in_a_strip(d, r, size), 1, 9)
    return found


KINDS = kinds()


def pictures_of(kind: str) -> tuple[list, list[int]]:
    """The pictures of a kind, and their digits."""
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    if kind in FORMS:
        return [formed(kind, rng) for _ in range(10)], [FORMS[kind][0]] * 10
    draw, copies, _ = KINDS[kind]
    digits = [digit for _ in range(copies) for digit in range(10)]
    return [draw(digit, rng) for digit in digits], digits


@pytest.mark.parametrize("kind", [*KINDS, *FORMS])
def test_pictures_people_have(classifier, kind):
    pictures, digits = pictures_of(kind)
    answers = [result.prediction for result in classifier.predict_batch(pictures)]
    wrong = [(digit, answer) for digit, answer in zip(digits, answers, strict=True) if digit != answer]
    needed = KINDS[kind][2] if kind in KINDS else 9
    assert len(digits) - len(wrong) >= needed, f"(is, read as): {wrong}"


# ---------------------------------------------------------------- MNIST's digits as people have them


def right(classifier, pictures, labels) -> float:
    answers = [result.prediction for result in classifier.predict_batch(pictures)]
    return float(np.mean(np.array(answers) == labels.numpy()))


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
def test_photographs(trouble, mnist, classifier):
    """Training images as photographs; benchmarks/photographs.py has the figures for more of them."""
    rng = np.random.default_rng(3)
    images = mnist.train_images[:40].numpy() / np.float32(255)
    pictures = [photograph(ink, rng, TROUBLES[trouble]) for ink in images]
    least = 0.8 if trouble == "everything" else 0.9
    assert right(classifier, pictures, mnist.train_labels[:40]) >= least


@pytest.mark.parametrize("side", [8, 10, 12])
@pytest.mark.parametrize("dark", [True, False])
def test_a_digit_that_fills_a_tiny_picture(mnist, classifier, side, dark):
    pictures = []
    for image in mnist.train_images[:200].numpy():
        small = Image.fromarray(image[4:24, 4:24]).resize((side, side), Image.Resampling.BOX)
        pictures.append(ImageOps.invert(small) if dark else small)
    assert right(classifier, pictures, mnist.train_labels[:200]) >= (0.95 if side == 8 else 0.96)


@pytest.mark.parametrize("margin", [0, 8, 24])
@pytest.mark.parametrize("dark", [True, False])
def test_a_digit_that_fills_a_picture(mnist, classifier, margin, dark):
    """Cut out along its ink, eight times as large."""
    pictures = []
    for image in mnist.train_images[:60].numpy():
        small = Image.fromarray(image).crop(Image.fromarray(image).getbbox())
        large = np.pad(np.asarray(small.resize((8 * small.width, 8 * small.height))), margin)
        pictures.append(255 - large if dark else large)
    assert right(classifier, pictures, mnist.train_labels[:60]) >= 0.95
