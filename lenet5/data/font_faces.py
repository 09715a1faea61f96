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

MISSING = "\uffff"  # never a character: every font draws its sign for a missing glyph


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


def load_text_face(path) -> Face:
    """`load_face`, with a UserError also for a symbol font: one that names its glyph for 1 otherwise."""
    from matplotlib.ft2font import FT2Font

    face = load_face(path)
    try:
        font = FT2Font(str(path))
        name = font.get_glyph_name(font.get_char_index(ord("1"))).lower()
    except RuntimeError as error:
        raise UserError(f"cannot use the font {path}: {reason(error)}") from error
    # "one", "one.lf", "oneoldstyle", "uni0031"; names with a number in them tell nothing.
    if not name.startswith("one") and not any(c.isdigit() for c in name):
        raise UserError(f"cannot use the font {path}: it is a symbol font")
    return face


def load_text_face_or_none(path) -> Face | None:
    with contextlib.suppress(UserError):
        return load_text_face(path)
    return None


def installed_faces() -> list[Face]:
    """Every face on this machine that draws the ten digits, sorted by name, each once."""
    # This import looks through the machine's fonts, so it waits until somebody asks for them.
    from matplotlib import font_manager, get_data_path

    bundled = (Path(get_data_path()) / "fonts" / "ttf").glob("*.ttf")
    faces, unusable = {}, 0
    for path in sorted(map(str, [*font_manager.findSystemFonts(), *bundled])):
        face = load_text_face_or_none(path)
        if face is None:
            unusable += 1
        else:
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


def fitting_font(text: str, face: Face, height: float, width: float) -> ImageFont.FreeTypeFont:
    """The face at the size at which `text` is at most so high and so wide, in pixels."""
    trial = ImageFont.truetype(face.path, 100, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = trial.getbbox(text)
    size = 100 * min(height / (bottom - top), width / (right - left))
    return ImageFont.truetype(face.path, max(1, int(size)), layout_engine=ImageFont.Layout.BASIC)
