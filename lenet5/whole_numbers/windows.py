"""The windows of the space displacement network along a strip, and what they are classified as."""

import numpy as np

from lenet5.imaging.inputs import normalised
from lenet5.imaging.mnist_format import STRIP_HEIGHT

STRIDE = 2  # pixels from window to window
MULTIPLE = 4  # the network's input is as wide as a multiple of this
WINDOW = 32  # pixels
BETWEEN = "between"  # the eleventh class
CLASSES = [*map(str, range(10)), BETWEEN]
BLANK = 10  # its index


def window_count(width):
    """How many windows have their middle on a strip so many pixels wide, or just beside its end."""
    return width // STRIDE + 1


def strip_input(pictures: np.ndarray, mean: float, std: float) -> np.ndarray:
    """N×32×W uint8 strips as N×1×32×(W' + 32) float32, W' the next multiple of 4.

    Padded by half a window: the first window's middle is the strip's first pixel.
    """
    count, _, width = pictures.shape
    padded = width + -width % MULTIPLE + WINDOW
    inputs = np.full((count, 1, STRIP_HEIGHT, padded), -mean / std, np.float32)
    half = WINDOW // 2
    inputs[:, 0, :, half : half + width] = normalised(pictures.astype(np.float32), mean, std)
    return inputs
