"""Render the digits in fonts for `train.py --fonts`.

    python fonts/render.py  # digits.npz, glyphs.npz and the list in README.md; three minutes

Downloads the Debian packages in packages.txt (nothing is installed), draws the ten digits of
every face as `generate_test_digits.py` does, and centres them in 28×28 as in MNIST;
glyphs.npz has the same in more pixels, for the finder's made-up pictures.
Every fourth package is held out: its families are for evaluation, and no training sees them.
"""

import io
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from generate_test_digits import OVERSAMPLING, draw_digit, draw_glyph
from lenet5.data.font_faces import MISSING, load_text_face
from lenet5.data.skeletons import BOX, FIELD
from lenet5.data.sources import debian_package
from lenet5.imaging.centring import centre_digit
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.cli import ArgumentParser, command_line
from lenet5.runtime.errors import UserError, say

PACKAGES = Path(__file__).with_name("packages.txt")  # a name a line
SIZE = 96  # pixels, the side of the sheet that a digit is drawn on
LETTERS_A_FACE = 6
# None that could be taken for a digit, such as I, l, O, S, Z, b, g or q.
LETTERS = "ACEFHKLMNPRTUVWXYadefhkmnprtuvwx&%@#?+=*$"
HELD_OUT = 4  # every fourth package, from the second on: 207 faces
README = """# Digits in fonts

`digits.npz`, made by `python fonts/render.py`: {count:,} digits in {faces} faces of
{packages} Debian packages, 28×28 as MNIST has them. `images` and `labels` have ten
digits a face, in order; `faces` and `packages` name each face, `held_out` tells
which families no training sees. `letters` are pictures of letters and signs, to be
refused, each of the face that `letter_faces` counts. The fonts themselves are not
here; their licences, as the packages state them, let their glyphs be drawn and the
drawings passed on.

| package | faces | held out | licence |
|---|---|---|---|
"""


def faces_in(folder: Path) -> dict:
    """A package's faces that draw digits, each once, by name."""
    faces = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".ttf", ".otf"):
            continue
        try:
            face = load_text_face(path)
            faces.setdefault(f"{face.family} {face.style}", face)
        except UserError as error:
            say(f"left out: {error}")
    return faces


def letters_in(face, number: int) -> list[Image.Image]:
    """Drawings of some of a face's letters and signs, chosen by the seed `number`."""
    font = ImageFont.truetype(face.path, 40, layout_engine=ImageFont.Layout.BASIC)
    missing = bytes(font.getmask(MISSING))
    masks = {letter: bytes(font.getmask(letter)) for letter in LETTERS}
    there = [letter for letter, mask in masks.items() if any(mask) and mask != missing]
    chosen = np.random.default_rng(number).permutation(there)[:LETTERS_A_FACE]
    drawn = [draw_glyph(str(letter), face, OVERSAMPLING * SIZE, 0, outline=False) for letter in chosen]
    return [picture.reduce(OVERSAMPLING) for picture in drawn]


def glyph(picture: Image.Image) -> np.ndarray:
    """A drawing's ink, bright, FIELD×FIELD uint8; the longer side of its box is BOX pixels."""
    ink = ImageChops.invert(picture)
    ink = ink.crop(ink.getbbox())
    scale = BOX / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.HAMMING)
    sheet = Image.new("L", (FIELD, FIELD))
    sheet.paste(ink, ((FIELD - ink.width) // 2, (FIELD - ink.height) // 2))
    return np.asarray(sheet)


def licence(folder: Path, package: str) -> str:
    """The licences in a package's copyright file."""
    text = (folder / "usr/share/doc" / package / "copyright").read_text(errors="replace")
    names = set(re.findall(r"^License:[ \t]*(\S.*?)\s*$", text, re.MULTILINE))
    if not names:  # an older copyright file, without such lines
        names = set(re.findall(r"SIL Open Font License|GNU General Public License|GPL", text))
    return ", ".join(sorted(name[:60] for name in names)) or "see its copyright file"


def centred(picture: Image.Image) -> np.ndarray:
    """A dark drawing on white as MNIST has digits, 28×28 uint8."""
    return centre_digit(255 - np.asarray(picture.convert("L"), np.float32))


@command_line
def main(argv=None) -> int:
    ArgumentParser(
        prog="fonts/render.py",
        description="Render the digits in fonts that train.py --fonts learns: fonts/digits.npz.",
    ).parse_args(argv)
    columns = defaultdict(list)  # of both files: one entry a picture, or a face
    digits, letters, rows = [], [], []
    for i, package in enumerate(PACKAGES.read_text().split()):
        held_out = i % HELD_OUT == 1
        with debian_package(package) as folder:
            faces = faces_in(folder)
            for name, face in sorted(faces.items()):
                some = letters_in(face, len(columns["faces"]))
                digits += [draw_digit(digit, face, size=SIZE) for digit in range(10)]
                letters += some
                columns["labels"] += range(10)
                columns["letter_faces"] += [len(columns["faces"])] * len(some)
                columns["faces"].append(name)
                columns["packages"].append(package)
                columns["held_out"].append(held_out)
            mark = "yes" if held_out else ""
            rows.append(f"| {package} | {len(faces)} | {mark} | {licence(folder, package)} |\n")
        say(f"{package}: {len(faces)} faces")
    arrays = {name: np.array(column) for name, column in columns.items()}
    arrays["labels"] = arrays["labels"].astype(np.uint8)
    for file, to_array in (("digits.npz", centred), ("glyphs.npz", glyph)):
        arrays["images"], arrays["letters"] = (
            np.stack([to_array(picture) for picture in pictures]) for pictures in (digits, letters)
        )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_file(PACKAGES.with_name(file), buffer.getvalue())
    count, faces = len(arrays["images"]), len(arrays["faces"])
    text = README.format(count=count, faces=faces, packages=len(set(columns["packages"])))
    write_file(PACKAGES.with_name("README.md"), (text + "".join(rows)).encode())
    print(f"{count:,} digits in {faces} faces, {sum(columns['held_out'])} of them held out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
