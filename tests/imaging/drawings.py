"""A drawn digit, and a finder without a network: what stands out from the picture's corner is ink."""

import io

import numpy as np
from PIL import Image, ImageDraw

from lenet5.imaging.preprocess import mnist_like


def seven(size=(120, 160), ink=0, paper=255, width=14, mode="L"):
    """A drawn 7, off the centre of its sheet."""
    image = Image.new("L", size, paper)
    draw = ImageDraw.Draw(image)
    w, h = size
    points = [(0.2 * w, 0.15 * h), (0.7 * w, 0.15 * h), (0.4 * w, 0.8 * h)]
    draw.line(points, fill=ink, width=width, joint="curve")
    return image.convert(mode)


def contrast(pictures: np.ndarray) -> np.ndarray:
    """A finder: each pixel's distance from the corner's gray level, as a share of the largest."""
    gray = pictures.astype(np.float32).mean(axis=1)
    away = np.abs(gray - gray[:, :1, :1])
    away /= np.maximum(away.max(axis=(1, 2), keepdims=True), 8)
    return np.stack([away, away], axis=1)


def centred(source, invert: str = "auto") -> np.ndarray:
    """The 28×28 digit of a picture in which all that stands out from the corner is ink."""
    return mnist_like(source, contrast, invert)


def distance(a, b):
    """Mean absolute difference of two 28×28 pictures, as a share of full ink."""
    return np.abs(a.astype(float) - b.astype(float)).mean() / 255


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    buffer.seek(0)
    return Image.open(buffer)
