"""Pictures of non-digits, to be rejected: scribbles, filled shapes, pairs of digits.

All are N×28×28 uint8, pre-processed as any picture. A network trained for a uniform output
on them (Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier Exposure",
2019) is unsure of non-digits of other kinds too. Letters in fonts: `fonts.load_letters`.
"""

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from lenet5.imaging.centring import centre_digit

SHEET = 112  # pixels, the side of the sheet that is scribbled on
TEXTURES = ("even", "shaded", "striped", "grainy")
SLIMMEST = 0.55  # width over height of a filled shape, or the reverse; a fat 1 has less


def scribble(rng: np.random.Generator) -> np.ndarray:
    """Two to five strokes (a single one may be a 1), or marks, 28×28 uint8."""
    sheet = np.zeros((SHEET, SHEET), np.uint8)
    if rng.random() < 0.2:
        marks(sheet, rng)
        return centre_digit(sheet.astype(np.float32))
    width = int(rng.integers(6, 18))
    for _ in range(rng.integers(2, 6)):
        points = rng.uniform(0.1, 0.9, (int(rng.integers(3, 7)), 2)) * SHEET
        if rng.random() < 0.6:
            points = rounded(points)
        cv2.polylines(sheet, [points.astype(np.int32)], False, 255, width, cv2.LINE_AA)
    return centre_digit(sheet.astype(np.float32))


def marks(sheet: np.ndarray, rng: np.random.Generator) -> None:
    """Draw remains of ruled paper, a frame or dust: parallel bars, or dots."""
    if rng.random() < 0.4:
        for x, y in rng.uniform(0.1, 0.9, (int(rng.integers(2, 8)), 2)) * SHEET:
            radius = int(rng.integers(3, 11))
            cv2.circle(sheet, (int(x), int(y)), radius, int(rng.integers(120, 256)), -1, cv2.LINE_AA)
        return
    level, thick = rng.random() < 0.6, int(rng.integers(3, 14))
    places = rng.uniform(0.05, 0.95, int(rng.integers(1, 6)))
    if not level:  # an upright bar, or two in one place, may be a 1
        places = np.concatenate([places, [(places[0] + rng.uniform(0.3, 0.6)) % 0.95]])
    for place in places * SHEET:
        ends = np.array([[rng.uniform(0, 0.3), 0], [rng.uniform(0.7, 1), rng.normal(0, 0.03)]]) * SHEET
        ends[:, 1] += place
        start, end = (ends if level else ends[:, ::-1]).astype(int).tolist()
        cv2.line(sheet, start, end, int(rng.integers(120, 256)), thick, cv2.LINE_AA)
    if rng.random() < 0.3:  # across them, as in a corner of a frame or on squared paper
        place = int(rng.uniform(0.05, 0.95) * SHEET)
        across = ((place, 0), (place, SHEET)) if level else ((0, place), (SHEET, place))
        cv2.line(sheet, *across, 255, thick, cv2.LINE_AA)


def shape(rng: np.random.Generator) -> np.ndarray:
    """Filled outlines with shades or a texture, 28×28 uint8; none so slim as a 1."""
    while True:
        kind = rng.choice(TEXTURES)
        polygons = silhouette(rng) if rng.random() < 0.5 else outlines(rng)
        sheet = Image.new("L", (SHEET, SHEET), 0)
        draw = ImageDraw.Draw(sheet)
        for points, level in polygons:
            draw.polygon([tuple(point) for point in points * SHEET], fill=level)
        if slimness(sheet) > SLIMMEST:
            return centre_digit(np.asarray(sheet, np.float32) * texture(rng, kind))


def slimness(sheet: Image.Image) -> float:
    """The shorter side over the longer of a sheet's ink; 0 if there is none."""
    left, top, right, bottom = sheet.getbbox() or (0, 0, 0, 1)
    return min(right - left, bottom - top) / max(right - left, bottom - top)


def silhouette(rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
    """An upright outline that is its own mirror image, such as a vase, a bottle or a shirt.

    Polygons, K×2 from 0 to 1, with their levels; the second, if any, is the gap between two legs.
    """
    heights = np.concatenate([[0.05], np.sort(rng.uniform(0.05, 0.95, int(rng.integers(1, 6)))), [0.95]])
    heights = np.repeat(heights, rng.integers(1, 3, len(heights)))  # twice is a step, as of a sleeve
    widths = rng.uniform(0.3, 1, len(heights)) * rng.uniform(0.15, 0.45)
    right = np.stack([0.5 + widths, heights], axis=1)
    if rng.random() < 0.5:
        right = rounded(right)
    polygons = [(np.concatenate([right, [1, 0] + right[::-1] * [-1, 1]]), 255)]
    if rng.random() <= 0.3:
        half, top = rng.uniform(0.01, 0.25) * widths[-1], rng.uniform(0.15, 0.6)
        polygons.append((np.array([[0.5, top], [0.5 + half, 1], [0.5 - half, 1]]), 0))
    return polygons


def outlines(rng: np.random.Generator) -> list[tuple[np.ndarray, int]]:
    """One to three overlapping outlines, with their levels."""
    return [(outline(rng), int(rng.integers(100, 256))) for _ in range(rng.integers(1, 4))]


def outline(rng: np.random.Generator) -> np.ndarray:
    """The corners of a polygon, or the points of a curve, K×2 from 0 to 1."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 10))))
    radii = rng.uniform(0.15, 0.45, len(angles))[:, None]
    points = rng.uniform(0.35, 0.65, 2) + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return rounded(np.concatenate([points, points[:1]])) if rng.random() < 0.5 else points


def texture(rng: np.random.Generator, kind: str) -> np.ndarray:
    """The brightness of a filled shape, SHEET×SHEET from 0 to 1."""
    if kind == "even":
        return np.ones((SHEET, SHEET), np.float32)
    if kind == "grainy":
        grain = Image.fromarray(rng.integers(60, 256, (28, 28)).astype(np.uint8))
        return np.asarray(grain.resize((SHEET, SHEET)), np.float32) / 255
    y, x = np.mgrid[:SHEET, :SHEET] / SHEET
    direction = rng.uniform(0, np.pi)
    along = np.cos(direction) * x + np.sin(direction) * y
    waves = rng.uniform(0.3, 1) if kind == "shaded" else rng.uniform(3, 9)
    depth = rng.uniform(0.3, 0.8)
    wave = np.sin(2 * np.pi * (waves * along + rng.random()))
    return (1 - depth * (0.5 + 0.5 * wave)).astype(np.float32)


def rounded(points: np.ndarray) -> np.ndarray:
    """A polygon with its corners cut three times (Chaikin, 1974): a curve."""
    for _ in range(3):
        before, after = points[:-1], points[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


def scribbles(count: int, seed: int) -> torch.Tensor:
    """`count` scribbles, N×28×28 uint8."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([scribble(rng) for _ in range(count)]))


def shapes(count: int, seed: int) -> torch.Tensor:
    """`count` filled shapes, N×28×28 uint8."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([shape(rng) for _ in range(count)]))


def digit_pairs(images: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """`count` pictures of two of the N×28×28 uint8 `images` side by side, up to 12 pixels apart."""
    rng = np.random.default_rng(seed)
    chosen = images[torch.from_numpy(rng.integers(0, len(images), 2 * count))].numpy()
    pairs = []
    for left, right in zip(chosen[::2], chosen[1::2], strict=True):
        left, right = (digit[:, np.flatnonzero(digit.any(0))] for digit in (left, right))
        lower = np.roll(right, int(rng.integers(-3, 4)), axis=0)
        gap = np.zeros((28, int(rng.integers(0, 13))), np.uint8)
        pairs.append(centre_digit(np.hstack([left, gap, lower]).astype(np.float32)))
    return torch.from_numpy(np.stack(pairs))
