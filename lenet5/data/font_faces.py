"""Font files: which draw the ten digits, and how to find them by name."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

from lenet5.runtime.errors import UserError, reason, say

MISSING = "\uffff"  # never a character: every font draws its glyph for missing characters


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
    if package is None or package.origin is None:
        raise UserError("matplotlib is missing: pip install -r requirements.txt")
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    return load_face(folder / "DejaVuSans.ttf")


def load_text_face(path) -> Face:
    """`load_face`, with a UserError also for a symbol font, whose glyph for 1 has another name."""
    from matplotlib.ft2font import FT2Font

    face = load_face(path)
    try:
        font = FT2Font(str(path))
        name = font.get_glyph_name(font.get_char_index(ord("1"))).lower()
    except RuntimeError as error:
        raise UserError(f"cannot use the font {path}: {reason(error)}") from error
    # "one", "one.lf", "oneoldstyle", "uni0031"; a name with a number in it tells nothing.
    if not name.startswith("one") and not any(c.isdigit() for c in name):
        raise UserError(f"cannot use the font {path}: it is a symbol font")
    return face


def installed_faces() -> list[Face]:
    """Every face on this machine that draws the ten digits, sorted by name, each once."""
    from matplotlib import font_manager, get_data_path  # the import looks through the machine's fonts

    bundled = (Path(get_data_path()) / "fonts" / "ttf").glob("*.ttf")
    paths = sorted(map(str, [*font_manager.findSystemFonts(), *bundled]))
    faces: dict[tuple[str, str], Face] = {}
    usable = 0
    for path in paths:
        with contextlib.suppress(UserError):
            face = load_text_face(path)
            faces.setdefault((face.family, face.style), face)
            usable += 1
    if usable < len(paths):
        say(f"{len(paths) - usable} font files without all ten digits were left out")
    return sorted(faces.values(), key=lambda face: face.slug)


def find_faces(names: list[str]) -> list[Face]:
    """The faces for the values of `--fonts`: files, family names, or `all`.

    A family name gives its regular face, "Family Style" that one. Raises UserError for an
    unknown name.
    """
    faces: list[Face] = []
    installed: list[Face] | None = None
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


def fitting_font(text: str, face: Face, height: float, width: float) -> ImageFont.FreeTypeFont:
    """The face at the size at which `text` is at most so high and so wide, in pixels."""
    trial = ImageFont.truetype(face.path, 100, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = trial.getbbox(text)
    size = 100 * min(height / (bottom - top), width / (right - left))
    return ImageFont.truetype(face.path, max(1, int(size)), layout_engine=ImageFont.Layout.BASIC)
