"""Draw test digits with Pillow, as files or as pictures in memory.

    $ python generate_test_digits.py
    10 pictures in test_digits
    next: python inference.py test_digits

With no arguments these are the ten digits in DejaVu Sans, which ships with
matplotlib, so they come out the same on every machine. Other fonts, styles,
sizes and numbers of pictures are flags; the same seed draws the same pictures,
and each picture depends on its own name and the seed alone, not on what else
is drawn.
"""

from lenet5.runtime.signals import end_quietly

if __name__ == "__main__":
    end_quietly()  # on Ctrl-C, until main() looks after it: the imports take a second

import contextlib
import importlib.util
import io
import itertools
import os
import re
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lenet5.runtime.atomic_files import check_writable, make_folder, write_file
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError, partly_done, reason, say

SIZE = 128  # pixels, the side of a picture
OVERSAMPLING = 4  # drawn four times as large and averaged, so that hinting does not matter
DIGIT_HEIGHT = 0.68  # of the picture's side
PAPER, PEN = 255, 0  # gray levels
STYLES = (
    "plain",
    "bold",
    "outline",
    "rotated",
    "thin",
    "thick",
    "noisy",
    "blurred",
    "inverted",
    "shifted",
)
SHEET_ROWS = 100  # a contact sheet shows at most so many
MISSING = "\uffff"  # never a character, so every font draws its sign for a missing glyph


class Face(NamedTuple):
    """One font file and what it calls itself."""

    path: str
    family: str
    style: str

    @property
    def slug(self) -> str:
        """The face's name for a file name: small letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.family} {self.style}".lower()).strip("-")


def load_face(path) -> Face:
    """The face in a font file. Raises UserError if Pillow cannot read it or it lacks a digit."""
    try:
        font = ImageFont.truetype(str(path), 40, layout_engine=ImageFont.Layout.BASIC)
        masks = [bytes(font.getmask(text)) for text in "0123456789"]
        missing = bytes(font.getmask(MISSING))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot use the font {path}: {reason(error)}") from error
    if missing in masks or len(set(masks)) < 10 or not all(any(mask) for mask in masks):
        raise UserError(f"cannot use the font {path}: it does not draw all ten digits")
    family, style = font.getname()
    return Face(str(path), family or Path(path).stem, style or "")


def default_face() -> Face:
    """DejaVu Sans as matplotlib ships it; only its path is looked up, nothing is imported."""
    package = importlib.util.find_spec("matplotlib")
    if package is None:
        raise UserError("matplotlib is missing: pip install -r requirements.txt")
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    return load_face(folder / "DejaVuSans.ttf")


def is_symbol_font(path: str) -> bool:
    """Whether a font has something else in a digit's place, as its own name for the glyph tells."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(path)
    name = font.get_glyph_name(font.get_char_index(ord("1"))).lower()
    # "one", "one.lf", "oneoldstyle", "uni0031"; names with a number in them tell nothing.
    return not name.startswith("one") and not any(c.isdigit() for c in name)


def installed_faces() -> list[Face]:
    """Every face on this machine that draws the ten digits, sorted by name, each once."""
    # This import looks through the machine's fonts, so it waits until somebody asks for them.
    from matplotlib import font_manager, get_data_path

    bundled = (Path(get_data_path()) / "fonts" / "ttf").glob("*.ttf")
    faces, unusable = {}, 0
    for path in sorted(map(str, [*font_manager.findSystemFonts(), *bundled])):
        try:
            face = load_face(path)
            usable = not is_symbol_font(path)
        except (UserError, RuntimeError):  # RuntimeError: of matplotlib's reader
            usable = False
        if not usable:
            unusable += 1
            continue
        faces.setdefault((face.family, face.style), face)
    if unusable:
        say(f"{unusable} font files without all ten digits were left out")
    return sorted(faces.values(), key=lambda face: face.slug)


def find_faces(names: list[str]) -> list[Face]:
    """The faces for what `--fonts` was given: files, family names, or `all`.

    A family name gives its regular face, "Family Style" that one.
    Raises UserError for a name that nothing fits.
    """
    faces, installed = [], None
    for name in names:
        if name != "all" and (os.path.isfile(name) or name.lower().endswith((".ttf", ".otf", ".ttc"))):
            faces.append(load_face(name))
            continue
        installed = installed_faces() if installed is None else installed
        found = installed if name == "all" else by_name(name, installed)
        if not found:
            raise UserError(f"no font here is called {name!r}; give a file, a family name, or all")
        faces.extend(found)
    return list({face.path: face for face in faces}.values())


def by_name(name: str, faces: list[Face]) -> list[Face]:
    """The regular face of a family, or the one face of a full name, however it is spelled."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    full = [f for f in faces if plain(f.family + f.style) == plain(name)]
    family = [f for f in faces if plain(f.family) == plain(name)]
    regular = [f for f in family if plain(f.style) in ("regular", "book", "roman", "normal", "medium")]
    return (full or regular or family)[:1]


def draw_digit(
    digit: int,
    face: Face,
    style: str = "plain",
    size: int = SIZE,
    rng: np.random.Generator | None = None,
) -> Image.Image:
    """One digit as a size×size picture of mode "L", dark on light (but for `inverted`).

    `rng` decides what a style leaves open (angle, noise, place); without one
    the picture is the style's plainest. Raises UserError for an unknown style.
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
    place = ((size - left - right) / 2, (size - top - bottom) / 2)
    # Whole pixels: older Pillows would cut a fraction off, newer ones draw it.
    place = (round(place[0]), round(place[1]))
    fill = PAPER if outline else PEN
    draw.text(place, text, fill=fill, font=font, stroke_width=stroke, stroke_fill=PEN)
    return picture


def fitting_font(text: str, face: Face, height: float, width: float) -> ImageFont.FreeTypeFont:
    """The face at the size at which `text` is at most so high and so wide, in pixels."""
    trial = ImageFont.truetype(face.path, 100, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = trial.getbbox(text)
    size = 100 * min(height / (bottom - top), width / (right - left))
    return ImageFont.truetype(face.path, max(1, int(size)), layout_engine=ImageFont.Layout.BASIC)


def thinned(picture: Image.Image) -> Image.Image:
    """Strokes worn down from both sides, until about half of the ink is left."""
    ink = np.asarray(picture) < 128
    keep = ink.sum() * 0.5
    while True:
        inner = ink.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                inner &= np.roll(ink, step, axis)
        if inner.sum() < keep:
            return Image.fromarray(np.where(ink, PEN, PAPER).astype(np.uint8))
        ink = inner


def shifted(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The sheet at 55 to 80 % of its size, somewhere else on a sheet of the old size."""
    side = picture.width
    small = picture.resize((round(side * rng.uniform(0.55, 0.8)),) * 2, Image.Resampling.BOX)
    x, y = rng.integers(0, side - small.width, size=2, endpoint=True)
    sheet = Image.new("L", picture.size, PAPER)
    sheet.paste(small, (int(x), int(y)))
    return sheet


def noisy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Normal noise of 25 gray levels on gray paper, and one pixel in 200 black or white."""
    levels = 40 + np.asarray(picture, dtype=np.float64) * (180 / 255)
    levels += rng.normal(0, 25, levels.shape)
    dots = rng.random(levels.shape)
    levels[dots < 0.0025], levels[dots > 0.9975] = PEN, PAPER
    return Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))


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
        # The first copy of a plain digit is just that; a further one is moved and turned a little.
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        picture = draw_digit(self.digit, self.face, self.style, size, rng)
        if self.copy == 1:
            return picture
        ground = picture.getpixel((0, 0)) if self.style != "noisy" else 220
        return picture.rotate(
            rng.uniform(-6, 6),
            Image.Resampling.BILINEAR,
            translate=tuple(float(d) for d in rng.uniform(-0.06, 0.06, 2) * size),
            fillcolor=ground,
        )


def plan(faces: list[Face], styles: list[str], per_digit: int | None, seed: int) -> list[Drawing]:
    """The drawings for each digit: `per_digit` of them, or one in each face and style.

    With fewer drawings than faces times styles, a seeded choice; with more, all
    of them again and again.
    """
    kinds = list(itertools.product(faces, styles))
    drawings = []
    for digit in range(10):
        order = list(range(len(kinds)))
        if per_digit is not None and per_digit < len(kinds):
            chosen = np.random.default_rng([seed, digit]).permutation(len(kinds))[:per_digit]
            order = sorted(int(i) for i in chosen)
        for i in range(len(order) if per_digit is None else per_digit):
            face, style = kinds[order[i % len(order)]]
            drawings.append(Drawing(digit, face, style, 1 + i // len(order)))
    return drawings


def contact_sheet(pictures: dict[Drawing, Image.Image]) -> Image.Image:
    """All pictures in a grid: a column a digit, a row a face, style and copy, named on the left."""
    rows = sorted({(d.face.slug, d.style, d.copy) for d in pictures})
    shown = rows[:SHEET_ROWS]
    cell, label, gap = 64, 260, 4
    height = len(shown) * (cell + gap) + gap + (20 if len(rows) > len(shown) else 0)
    sheet = Image.new("L", (label + 10 * (cell + gap) + gap, height), 200)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(default_face().path, 12, layout_engine=ImageFont.Layout.BASIC)
    top = {row: gap + i * (cell + gap) for i, row in enumerate(shown)}
    for (slug, style, copy), y in top.items():
        draw.text((gap, y + 16), f"{slug[:38]}", fill=0, font=font)
        draw.text((gap, y + 34), f"{style} {copy}", fill=80, font=font)
    for drawing, picture in pictures.items():
        y = top.get((drawing.face.slug, drawing.style, drawing.copy))
        if y is not None:
            small = picture.resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(small, (label + drawing.digit * (cell + gap), y))
    if len(rows) > len(shown):
        draw.text((gap, height - 18), f"{len(shown)} of {len(rows)} rows", fill=0, font=font)
    return sheet


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def parse_arguments(argv) -> tuple:
    parser = ArgumentParser(prog="generate_test_digits.py", description="Draw test digits as PNG files.")
    parser.add_argument("--output", default="test_digits", help="folder for the pictures")
    parser.add_argument(
        "--size", type=number(int, 8, 4096), default=SIZE, help=f"side in pixels ({SIZE})"
    )
    parser.add_argument(
        "--fonts", nargs="+", metavar="FONT", help="font files, family names, or all (DejaVu Sans)"
    )
    parser.add_argument(
        "--styles",
        nargs="+",
        metavar="STYLE",
        choices=[*STYLES, "all"],
        help=f"{', '.join(STYLES)}, or all (plain)",
    )
    parser.add_argument(
        "--per-digit",
        type=number(int, 1, 1_000_000),
        metavar="N",
        help="pictures of each digit (one in each font and style)",
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="for all that is random (0)")
    parser.add_argument("--sheet", metavar="FILE", help="also draw a contact sheet, a PNG file")
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    styles = list(dict.fromkeys(arguments.styles or ["plain"]))
    styles = list(STYLES) if "all" in styles else styles
    faces = find_faces(arguments.fonts) if arguments.fonts else [default_face()]
    make_folder(arguments.output)
    if arguments.sheet:
        folder = os.path.realpath(arguments.output)
        if os.path.realpath(arguments.sheet).startswith(folder + os.sep):
            raise UserError("--sheet must be outside the output folder: inference.py reads all in it")
        check_writable(arguments.sheet)
    # The ten pictures of the bare command are named by their digit alone.
    simple = not (arguments.fonts or arguments.styles or arguments.per_digit)
    drawings = plan(faces, styles, arguments.per_digit, arguments.seed)
    pictures = {}
    for drawing in drawings:
        picture = drawing.draw(arguments.size, arguments.seed)
        name = f"digit_{drawing.digit}" if simple else drawing.name
        with partly_done() if drawing is not drawings[0] else contextlib.nullcontext():
            write_file(os.path.join(arguments.output, f"{name}.png"), png(picture))
        # The sheet needs no more than its own small cells.
        if arguments.sheet:
            pictures[drawing] = picture.resize((64, 64), Image.Resampling.LANCZOS)
    with partly_done():
        if arguments.sheet:
            write_file(arguments.sheet, png(contact_sheet(pictures)))
        print(f"{len(drawings):,} pictures in {arguments.output}")
        if arguments.sheet:
            print(f"contact sheet: {arguments.sheet}")
        print(f"next: python inference.py {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
