"""Effects on drawn digits, and the contact sheet of many."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lenet5.data.font_faces import default_face

PAPER, PEN = 255, 0  # gray levels
SHEET_ROWS = 100  # a contact sheet shows at most so many


def thinned(picture: Image.Image) -> Image.Image:
    """Erode strokes from both sides until about half of the ink is left."""
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
    """The picture at 55 to 80 % of its size, at a random place on a sheet of the old size."""
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


def contact_sheet(pictures: dict) -> Image.Image:
    """A grid of `Drawing`s' pictures: a column a digit, a row a face, style and copy."""
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
