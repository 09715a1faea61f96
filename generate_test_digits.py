"""Draw test digits with Pillow, as files or as pictures in memory.

    $ python generate_test_digits.py
    10 pictures in test_digits
    next: python inference.py test_digits

With no arguments these are the ten digits in DejaVu Sans, which ships with
matplotlib, so they are the same on every machine. Each picture depends on its
name and the seed alone, not on what else is drawn.
"""

import contextlib
import itertools
import os
import sys
import zlib
from typing import NamedTuple

from lenet5.runtime.atomic_files import make_folder, write_file
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError, partly_done
from lenet5.runtime.outputs import check_outputs, is_foreign
from lenet5.runtime.signals import quiet_imports

with quiet_imports():
    import numpy as np
    from PIL import Image, ImageDraw, ImageFilter

    from lenet5.data.drawing_styles import CELL, PAPER, PEN, contact_sheet, noisy, shifted, thinned
    from lenet5.data.font_faces import Face, default_face, find_faces, fitting_font
    from lenet5.data.picture_files import check_drawn, marked_png, save_drawn

FOLDER = "test_digits"
SIZE = 128  # pixels, the side of a picture
OVERSAMPLING = 4  # drawn four times as large and averaged, so that hinting does not matter
MARK = b"digit of the LeNet-5 suite"  # in the files
DIGIT_HEIGHT = 0.68  # of the picture's side
# fmt: off
STYLES = ["plain", "bold", "outline", "rotated", "thin", "thick",
          "noisy", "blurred", "inverted", "shifted"]
# fmt: on


def draw_digit(digit: int, face: Face, style: str = "plain", size: int = SIZE, rng=None) -> Image.Image:
    """One digit as a size×size picture of mode "L", dark on light (but for `inverted`).

    `rng`, a NumPy generator, chooses a style's angle, noise and place.
    """
    if style not in STYLES:
        raise UserError(f"no style is called {style!r}; there are: {', '.join(STYLES)}")
    rng = np.random.default_rng(0) if rng is None else rng
    large = size * OVERSAMPLING
    stroke = {"bold": 0.012, "outline": 0.012, "thick": 0.035}.get(style, 0)
    picture = draw_glyph(str(digit), face, large, round(large * stroke), outline=style == "outline")
    if style == "thin":
        picture = thinned(picture)
    if style == "rotated":
        angle = rng.choice([-1, 1]) * rng.uniform(8, 20)  # degrees
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=PAPER)
    if style == "shifted":
        picture = shifted(picture, rng)
    picture = picture.reduce(OVERSAMPLING)
    if style == "blurred":
        picture = picture.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.015, 0.03)))
    if style == "noisy":
        picture = noisy(picture, rng)
    return picture.point(lambda level: PAPER - level) if style == "inverted" else picture


def draw_glyph(text: str, face: Face, size: int, stroke: int, outline: bool) -> Image.Image:
    """Dark text, its box of ink in the middle of a size×size sheet of paper."""
    font = fitting_font(text, face, DIGIT_HEIGHT * size, 0.8 * size)
    picture = Image.new("L", (size, size), PAPER)
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = font.getbbox(text)
    # Whole pixels: older Pillows cut a fraction off, newer ones draw it.
    place = round((size - left - right) / 2), round((size - top - bottom) / 2)
    fill = PAPER if outline else PEN
    draw.text(place, text, fill=fill, font=font, stroke_width=stroke, stroke_fill=PEN)
    return picture


class Drawing(NamedTuple):
    """What to draw: a digit in a face and a style, for the `copy`-th time."""

    digit: int
    face: Face
    style: str
    copy: int

    @property
    def name(self) -> str:
        return f"digit_{self.digit}_{self.face.slug}_{self.style}_{self.copy}"

    def draw(self, size: int, seed: int) -> Image.Image:
        """The picture; from the second copy on, turned and moved a little."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        picture = draw_digit(self.digit, self.face, self.style, size, rng)
        if self.copy == 1:
            return picture
        angle, shift = rng.uniform(-6, 6), rng.uniform(-0.06, 0.06, 2) * size  # degrees, pixels
        return picture.rotate(
            angle,
            Image.Resampling.BILINEAR,
            translate=tuple(shift.tolist()),
            fillcolor=picture.getpixel((0, 0)) if self.style != "noisy" else 220,
        )


def plan(faces: list[Face], styles: list[str], per_digit: int | None, seed: int) -> list[Drawing]:
    """The drawings for each digit: `per_digit` of them, or one in each face and style.

    Fewer than faces times styles are a seeded choice; more are copies in turn.
    """
    kinds = list(itertools.product(faces, styles))
    count = len(kinds) if per_digit is None else per_digit
    drawings = []
    for digit in range(10):
        chosen = kinds
        if count < len(kinds):
            order = np.random.default_rng([seed, digit]).permutation(len(kinds))
            chosen = [kinds[i] for i in sorted(order[:count].tolist())]
        copies = ((i % len(chosen), 1 + i // len(chosen)) for i in range(count))
        drawings += [Drawing(digit, *chosen[kind], copy) for kind, copy in copies]
    return drawings


def check_own(paths: list[str]) -> None:
    """Raise UserError if pictures are there that these scripts did not draw."""
    for path in paths:
        if is_foreign(path, False, MARK):
            raise UserError(f"{path} was not drawn by this script: give another --output")


def parse_arguments(argv):
    parser = ArgumentParser(prog="generate_test_digits.py", description="Draw test digits as PNG files.")
    add, count = parser.add_argument, number(int, 1, 1_000_000)
    add("--output", default=FOLDER, help="folder for the pictures")
    add("--size", type=number(int, 8, 4096), default=SIZE, help=f"side in pixels ({SIZE})")
    add("--fonts", nargs="+", metavar="FONT", help="font files, family names, or all (DejaVu Sans)")
    styles = f"{', '.join(STYLES)}, or all (plain)"
    add("--styles", nargs="+", metavar="STYLE", choices=[*STYLES, "all"], help=styles)
    each = "pictures of each digit (one in each font and style)"
    add("--per-digit", type=count, metavar="N", help=each)
    add("--seed", type=number(int, 0), default=0, help="for all that is random (0)")
    add("--sheet", metavar="FILE", help="also draw a contact sheet, a PNG or JPEG file")
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    styles = list(dict.fromkeys(arguments.styles or ["plain"]))
    styles = STYLES if "all" in styles else styles
    faces = find_faces(arguments.fonts) if arguments.fonts else [default_face()]
    make_folder(arguments.output)
    if arguments.sheet:
        folder = os.path.realpath(arguments.output)
        if os.path.realpath(arguments.sheet).startswith(folder + os.sep):
            raise UserError("--sheet must be outside the output folder: inference.py reads all in it")
        check_outputs({"--sheet": arguments.sheet}, {})
        check_drawn(arguments.sheet)
    # The ten pictures of the bare command are named by their digit alone.
    is_bare = not (arguments.fonts or arguments.styles or arguments.per_digit)
    drawings = plan(faces, styles, arguments.per_digit, arguments.seed)
    names = [f"digit_{one.digit}" if is_bare else one.name for one in drawings]
    paths = [os.path.join(arguments.output, f"{name}.png") for name in names]
    if arguments.output != FOLDER:
        check_own(paths)
    cells = {}
    for drawing, path in zip(drawings, paths, strict=True):
        picture = drawing.draw(arguments.size, arguments.seed)
        with partly_done() if drawing is not drawings[0] else contextlib.nullcontext():
            write_file(path, marked_png(picture, MARK))
        if arguments.sheet:
            cells[drawing] = picture.resize((CELL, CELL), Image.Resampling.LANCZOS)
    with partly_done():
        print(f"{len(drawings):,} pictures in {arguments.output}")
        if arguments.sheet:
            save_drawn(arguments.sheet, contact_sheet(cells))
            print(f"contact sheet: {arguments.sheet}")
        print(f"next: python inference.py {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
