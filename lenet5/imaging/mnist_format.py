"""MNIST's picture format: sides, centre and gray level of the ink."""

from __future__ import annotations

SIDE = 28  # of an MNIST picture, in pixels
DIGIT_SIDE = 20  # the longer side of a digit's bounding box in it
MIDDLE = 14.0  # where MNIST has the centre of mass: 14.0 ± 0.5 in all 60,000 training images
INK = 253.0  # gray level of MNIST's saturated strokes: the median over its training images
PADDING = 2  # 28×28 to the 32×32 of the paper (section II.B), on each side
STRIP_HEIGHT = 32  # of the strip to which a whole number is brought
