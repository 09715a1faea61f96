"""Read strips: by the space displacement network, or by over-segmentation and a graph.

The two ways of the paper (sections V and VII); each reads strips to readings.
"""

from typing import NamedTuple

import numpy as np

from lenet5.evaluation.confidence import softmax
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.decoding import search, spelled_at
from lenet5.whole_numbers.segmentation import Box, graphs_of, likeliest_path, pieces_at
from lenet5.whole_numbers.windows import STRIDE, window_count

AT_ONCE = 32  # strips in one run of the network


class Reading(NamedTuple):
    """A number as read from a strip."""

    digits: list[int]
    boxes: list[Box]  # of each digit's ink
    confidences: list[float]  # of each digit, 0 to 1
    confidence: float  # of the whole number
    shares: np.ndarray  # T×11: the network's probabilities, window by window; 0×11 without it
    windows: list[int]  # for each digit the window that is surest of it
    choices: tuple[tuple[str, float], ...] = ()  # if asked for: the likeliest and their probabilities

    @property
    def text(self) -> str:
        return "".join(map(str, self.digits))


class NetworkReader:
    """Reads strips in one run of the network over each, decoded as CTC (`decoding.py`).

    `network`: `TrainedNumbers` or `ExportedNumbers`. `choices`: how many of the likeliest numbers a
    reading names.
    """

    def __init__(self, network, choices: int = 1):
        self.network, self.choices = network, choices

    def read(self, strips: list[np.ndarray]) -> list[Reading]:
        """The number on each strip, 32×W uint8. Raises UserError if logits are not finite."""
        shares = self.shares(strips)
        return [self.decoded(strip, own) for strip, own in zip(strips, shares, strict=True)]

    def shares(self, strips: list[np.ndarray]) -> list[np.ndarray]:
        """The probabilities of the classes in each window of each strip, T×11."""
        found = [np.empty(0)] * len(strips)
        order = sorted(range(len(strips)), key=lambda i: strips[i].shape[1])
        temperature = self.network.metadata.get("temperature", 1.0)
        for start in range(0, len(order), AT_ONCE):  # those of about the same width together
            some = order[start : start + AT_ONCE]
            widest = strips[some[-1]].shape[1]
            pictures = np.zeros((len(some), strips[some[0]].shape[0], widest), np.uint8)
            for picture, i in zip(pictures, some, strict=True):
                picture[:, : strips[i].shape[1]] = strips[i]
            logits = self.network.logits(pictures).astype(np.float64)
            if not np.isfinite(logits).all():
                raise UserError("the network of numbers gives logits that are not finite")
            rows = softmax(logits.reshape(-1, logits.shape[2]) / temperature).reshape(logits.shape)
            for i, own in zip(some, rows, strict=True):
                found[i] = own[: window_count(strips[i].shape[1])]
        return found

    def decoded(self, strip: np.ndarray, shares: np.ndarray) -> Reading:
        """The likeliest number in T×11 probabilities, and the ink of its digits."""
        found = search(shares)
        spelling = spelled_at(shares, *found[0])
        boxes = pieces_at(strip, [STRIDE * window for window in spelling.windows]).boxes
        likely = [("".join(map(str, digits)), share) for digits, share in found]
        choices = tuple(likely[: self.choices]) if self.choices > 1 else ()
        return Reading(
            spelling.digits,
            boxes,
            spelling.confidences,
            spelling.confidence,
            shares,
            spelling.windows,
            choices,
        )


class GraphReader:
    """Reads strips by heuristic over-segmentation and the best path (`segmentation.py`).

    `classify` gives calibrated logits, N×10, of N×28×28 uint8 pictures.
    """

    def __init__(self, classify):
        self.classify = classify

    def read(self, strips: list[np.ndarray]) -> list[Reading]:
        """The number on each strip, 32×W uint8."""
        return [self.decoded(graph) for graph in graphs_of(strips, self.classify)]

    @staticmethod
    def decoded(graph) -> Reading:
        path = likeliest_path(graph)
        digits = graph.scores[path].argmax(axis=1).tolist()
        sure = np.exp(graph.scores[path].max(axis=1, initial=-np.inf))
        boxes = [graph.boxes[edge] for edge in path]
        middles = [(x + width // 2) // STRIDE for x, _, width, _ in boxes]
        return Reading(digits, boxes, sure.tolist(), float(sure.prod()), np.zeros((0, 11)), middles)
