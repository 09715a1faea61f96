"""Effects on drawn digits, and the contact sheet of many."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lenet5.data.font_faces import default_face

PAPER, PEN = 255, 0  # gray levels
SHEET_ROWS = 100  # the most that a contact sheet shows
CELL = 64  # pixels, the side of a contact sheet's pictures


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


def contact_sheet(cells: dict) -> Image.Image:
    """A grid of `Drawing`s: a column a digit, a row a face, style and copy.

    `cells` has a CELL×CELL picture of each.
    """
    rows = sorted({(d.face.slug, d.style, d.copy) for d in cells})
    gap, label = 4, 260
    step = CELL + gap
    tops = {row: gap + i * step for i, row in enumerate(rows[:SHEET_ROWS])}
    height = len(tops) * step + gap + (20 if len(rows) > len(tops) else 0)
    sheet = Image.new("L", (label + 10 * step + gap, height), 200)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(default_face().path, 12, layout_engine=ImageFont.Layout.BASIC)
    for (slug, style, copy), top in tops.items():
        draw.text((gap, top + 16), slug[:38], fill=0, font=font)
        draw.text((gap, top + 34), f"{style} {copy}", fill=80, font=font)
    for drawing, picture in cells.items():
        row = drawing.face.slug, drawing.style, drawing.copy
        if row in tops:
            sheet.paste(picture, (label + drawing.digit * step, tops[row]))
    if len(rows) > len(tops):
        draw.text((gap, height - 18), f"{len(tops)} of {len(rows)} rows", fill=0, font=font)
    return sheet
