"""Numbers on printed backgrounds, drawn by other means than those that are learned.

    python benchmarks/written_numbers.py              # three minutes
    python benchmarks/written_numbers.py --table      # print what was measured
    python benchmarks/written_numbers.py --sheet FILE  # fifty of the pictures
    python benchmarks/written_numbers.py --save FOLDER # all of them, for real_numbers.py

MNIST's test digits are written with Pillow as amounts, dates and plain numbers, with signs between
them, on plain paper, guilloches, hatching, halftone, forms and print; they chose nothing. For each
background and each reader: the share of numbers that are read as a whole, with --reject the share
answered and right of those answered, and the expected calibration error.
"""

import io
import itertools
import sys
from pathlib import Path

import numpy as np
from common import ROOT, make_parser, measure_anew
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from real_numbers import scores

from lenet5.data.datasets import load_mnist
from lenet5.data.font_faces import default_face
from lenet5.whole_numbers.number_reader import NumberReader

COUNT = 200  # numbers on each background
FORMATS = ("{}", "{}", "{}.{:02}", "{},{:02}", "{:,}", "{},{:02}-", "{}=", "{}/{:02}", "({})", "{}.-")
BACKGROUNDS = ("paper", "guilloche", "hatching", "halftone", "form", "print")


def text_of(rng: np.random.Generator) -> str:
    """A number with its signs."""
    whole = int(rng.integers(0, 10 ** int(rng.integers(1, 7))))
    return FORMATS[rng.integers(len(FORMATS))].format(whole, int(rng.integers(100)))


def written(text: str, images: np.ndarray, by_digit: list, rng: np.random.Generator) -> Image.Image:
    """The text in digits of MNIST, bright on black, on one base line."""
    height = int(rng.integers(18, 44))
    spacing, pen = rng.uniform(-0.15, 0.4) * height, max(1, round(height * rng.uniform(0.06, 0.12)))
    ink = Image.new("L", (60 + len(text) * 2 * height, 2 * height))
    draw, x, base = ImageDraw.Draw(ink), 30.0, 1.5 * height
    for character in text:
        jitter = rng.normal(0, 0.04) * height
        if character.isdigit():
            glyph = images[rng.choice(by_digit[int(character)])]
            rows, columns = np.flatnonzero(glyph.any(axis=1)), np.flatnonzero(glyph.any(axis=0))
            glyph = glyph[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            own = height * rng.uniform(0.9, 1.1)
            size = max(1, round(glyph.shape[1] * own / glyph.shape[0])), round(own)
            mark = Image.fromarray(glyph).resize(size, Image.Resampling.BICUBIC)
            ink.paste(255, (round(x), round(base - own + jitter)), mark)
            x += size[0] + spacing
            continue
        draw_sign(draw, character, x, base + jitter, height, pen)
        x += 0.35 * height + max(0.0, spacing)
    return ink.crop((0, 0, round(x) + 30, ink.height))


def draw_sign(
    draw: ImageDraw.ImageDraw, sign: str, x: float, base: float, height: int, pen: int
) -> None:
    """A sign with its left end at x."""
    h = height
    strokes = {
        ".": [(0.1, -0.06, 0.16, 0)],
        ",": [(0.2, -0.06, 0.08, 0.2)],
        "-": [(0.05, -0.45, 0.35, -0.45)],
        "=": [(0.05, -0.55, 0.35, -0.55), (0.05, -0.3, 0.35, -0.3)],
        "/": [(0.3, -1.0, 0.0, 0.1)],
    }
    for x0, y0, x1, y1 in strokes.get(sign, ()):
        draw.line((x + x0 * h, base + y0 * h, x + x1 * h, base + y1 * h), 255, pen)
    if sign in "()":
        left = x + (0.1 if sign == "(" else -0.25) * h
        box = (left, base - 1.1 * h, left + 0.5 * h, base + 0.1 * h)
        draw.arc(box, *((110, 250) if sign == "(" else (-70, 70)), fill=255, width=pen)


def background(kind: str, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Printed paper of a size, RGB."""
    paper = tuple(int(level) for level in rng.integers(190, 256, 3))
    colour = tuple(max(0, level - int(rng.integers(25, 110))) for level in paper)
    sheet = Image.new("RGB", size, paper)
    draw, (width, height) = ImageDraw.Draw(sheet), size
    step = int(rng.integers(3, 8))
    if kind == "guilloche":
        xs = np.arange(0, width, 2)
        for k in range(-height, 2 * height, step):
            wave = k + rng.uniform(2, 3) * step * np.sin(xs / rng.uniform(9, 11) + k)
            draw.line([*zip(xs.tolist(), wave.tolist(), strict=True)], colour, 1)
    elif kind == "hatching":
        lean = int(rng.integers(-height, height))
        for k in range(-2 * height, width + 2 * height, step):
            draw.line((k, 0, k + lean, height), colour, 1)
    elif kind == "halftone":
        for x in range(0, width, step):
            for y in range((x // step % 2) * step // 2, height, step):
                draw.ellipse((x, y, x + step // 2, y + step // 2), colour)
    elif kind == "form":
        black = (40, 40, 60)
        draw.rectangle((3, 3, width - 4, height - 4), outline=black, width=int(rng.integers(1, 4)))
        draw.line((0, 0.8 * height, width, 0.8 * height), black, int(rng.integers(1, 3)))
    elif kind == "print":
        font = ImageFont.truetype(default_face().path, max(8, height // 5))
        for y in range(2, height, height // 4):
            draw.text((int(rng.integers(-20, 5)), y), "PAY TO THE BEARER  " * 6, colour, font)
    return sheet


def picture_of(kind: str, images: np.ndarray, by_digit: list, rng) -> tuple[Image.Image, str]:
    """A picture of a number, and its digits."""
    text = text_of(rng)
    ink = written(text, images, by_digit, rng)
    ink = ink.rotate(rng.normal(0, 1.5), Image.Resampling.BICUBIC)
    sheet = background(kind, ink.size, rng)
    pen = tuple(int(level) for level in rng.integers(0, 110, 3))
    strength = rng.uniform(0.65, 1.0)
    sheet.paste(pen, (0, 0), ink.point(lambda level: round(level * strength)))
    sheet = sheet.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    noisy = np.asarray(sheet) + rng.normal(0, rng.uniform(0, 8), (*sheet.size[::-1], 1))
    buffer = io.BytesIO()
    done = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    done.save(buffer, "JPEG", quality=int(rng.integers(50, 95)))
    return Image.open(buffer), "".join(filter(str.isdigit, text))


def pictures() -> dict[str, list[tuple[Image.Image, str]]]:
    """By background: pictures and digits."""
    rng, mnist = np.random.default_rng(0), load_mnist(ROOT / "data")
    images, labels = mnist.test_images.numpy(), mnist.test_labels.numpy()
    by_digit = [np.flatnonzero(labels == digit) for digit in range(10)]
    return {
        kind: [picture_of(kind, images, by_digit, rng) for _ in range(COUNT)] for kind in BACKGROUNDS
    }


def measure() -> list[dict]:
    rows, made = [], pictures()
    for way in ("network", "graph"):
        reader = NumberReader(reader=way, device="cpu", one=True, reject=True)
        for kind, pairs in made.items():
            found = reader.predict_batch([picture for picture, _ in pairs])
            rows.append({"reader": way, "background": kind, **scores(found, [b for _, b in pairs])})
    return rows


def print_table(rows: list[dict]) -> None:
    print("reader   background   right  answered  of these right  calibration")
    for row in rows:
        shares = [row[name] for name in ("right", "answered", "right_of_answered", "calibration_error")]
        cells = ["-" if share is None else f"{100 * share:.1f}" for share in shares]
        words = " ".join(f"{cell:>{space}}" for cell, space in zip(cells, (6, 9, 15, 12), strict=True))
        print(f"{row['reader']:8} {row['background']:10} {words}")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--sheet", metavar="FILE")
    parser.add_argument("--save", metavar="FOLDER", type=Path)
    options = parser.parse_args()
    if options.save:
        made = pictures()
        options.save.mkdir(parents=True, exist_ok=True)
        for i, (picture, digits) in enumerate(itertools.chain(*made.values())):
            picture.save(options.save / f"{digits}_{i}.jpg", quality=95)
        return 0
    if options.sheet:
        some = [picture for pairs in zip(*pictures().values(), strict=True) for picture, _ in pairs][:50]
        sheet = Image.new("RGB", (4 * 330, 80 * -(-len(some) // 4)), "white")
        for i, picture in enumerate(some):
            picture.thumbnail((320, 76))
            sheet.paste(picture, (330 * (i % 4), 80 * (i // 4)))
        sheet.save(options.sheet)
        return 0
    print_table(measure_anew("written_numbers", measure, options.table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
