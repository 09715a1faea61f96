"""Render the digits in fonts that `train.py --fonts` learns from, and those that it never sees.

    python fonts/render.py  # fonts/digits.npz and the list in fonts/README.md; three minutes

Fetches the Debian packages in packages.txt with `apt-get download` (nothing is installed),
draws the ten digits of every face as `generate_test_digits.py` does, and brings
them to 28×28 by the pre-processing that every picture goes through. Every fourth
package is held out: its families are for evaluation, and no training sees them.
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from generate_test_digits import OVERSAMPLING, draw_digit, draw_glyph
from lenet5.data.font_faces import MISSING, load_text_face
from lenet5.imaging.preprocess import mnist_like
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.cli import ArgumentParser, command_line
from lenet5.runtime.errors import UserError, reason, say

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


def fetch(folder: Path) -> list[Path]:
    """Unpack every package into a folder of its own."""
    names = PACKAGES.read_text().split()
    try:
        command = ["apt-get", "download", "-q", *names]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"fetching the fonts needs Debian's apt-get: {reason(error)}") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"apt-get download failed: {said}; perhaps apt-get update helps") from error
    folders = []
    for name in names:
        archive = next(folder.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg", "-x", archive, folder / name], check=True)
        folders.append(folder / name)
    return folders


def faces_in(folder: Path) -> dict:
    """The faces of a package that draw digits, each once, by name."""
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


def letters_in(face, number: int) -> list[np.ndarray]:
    """Some letters and signs of a face, others for each `number`, of those that it has."""
    font = ImageFont.truetype(face.path, 40, layout_engine=ImageFont.Layout.BASIC)
    missing = bytes(font.getmask(MISSING))
    there = [
        letter for letter in LETTERS if any(mask := bytes(font.getmask(letter))) and mask != missing
    ]
    chosen = np.random.default_rng(number).permutation(there)[:LETTERS_A_FACE]
    drawn = [draw_glyph(str(letter), face, OVERSAMPLING * SIZE, 0, outline=False) for letter in chosen]
    return [mnist_like(picture.reduce(OVERSAMPLING)) for picture in drawn]


def licence(folder: Path) -> str:
    """What a package's copyright file calls its licences."""
    path = folder / "usr" / "share" / "doc" / folder.name / "copyright"
    text = path.read_text(errors="replace")
    names = {line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("License:")}
    # Older copyright files have no such lines, only the licences' names.
    names = names - {""} or set(
        re.findall(r"SIL Open Font License|GNU General Public License|GPL", text)
    )
    return ", ".join(sorted(name[:60] for name in names)) or "see its copyright file"


@command_line
def main(argv=None) -> int:
    ArgumentParser(
        prog="fonts/render.py",
        description="Render the digits in fonts that train.py --fonts learns: fonts/digits.npz.",
    ).parse_args(argv)
    images, faces, packages, held_out, rows = [], [], [], [], ""
    letters, letter_faces = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for i, folder in enumerate(fetch(Path(temporary))):
            found = faces_in(folder)
            for name, face in sorted(found.items()):
                images += [mnist_like(draw_digit(digit, face, size=SIZE)) for digit in range(10)]
                some = letters_in(face, len(faces))
                letters += some
                letter_faces += [len(faces)] * len(some)
                faces.append(name)
                packages.append(folder.name)
                held_out.append(i % HELD_OUT == 1)
            mark = "yes" if i % HELD_OUT == 1 else ""
            rows += f"| {folder.name} | {len(found)} | {mark} | {licence(folder)} |\n"
            say(f"{folder.name}: {len(found)} faces")
    buffer = io.BytesIO()
    labels = np.tile(np.arange(10, dtype=np.uint8), len(faces))
    np.savez_compressed(
        buffer,
        images=np.stack(images),
        labels=labels,
        faces=np.array(faces),
        packages=np.array(packages),
        held_out=np.array(held_out),
        letters=np.stack(letters),
        letter_faces=np.array(letter_faces),
    )
    here = Path(__file__).parent
    write_file(here / "digits.npz", buffer.getvalue())
    text = README.format(count=len(images), faces=len(faces), packages=len(set(packages))) + rows
    write_file(here / "README.md", text.encode())
    print(f"{len(images):,} digits in {len(faces)} faces, {sum(held_out)} of them held out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
