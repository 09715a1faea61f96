"""Heuristic over-segmentation (section V of the paper).

The ink of a strip is cut wherever a digit might end. One to four neighbouring pieces make
up a segment, which the network of single digits reads. Segments are the edges of a graph
whose nodes are the cuts; the path with the best sum of scores is the number (Viterbi).
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from lenet5.evaluation.confidence import kl_from_uniform, softmax
from lenet5.imaging.centring import BOX_LEVEL, centre_digit
from lenet5.imaging.mnist_format import DIGIT_SIDE, SIDE
from lenet5.whole_numbers.viterbi import viterbi

DUST = 8  # pixels of a strip: smaller ink is no piece of a digit
APART = 4  # pixels between one cut and the next
NARROW = 7  # pixels: ink as narrow is not cut
LIGHT = 0.75  # of the ink in the heaviest columns beside it: a column with less may be a cut
MOST_PIECES = 4  # of a segment
WIDEST = 1.7  # of a digit's 20 pixels: a wider segment is no digit
LOW = 0.55  # of the strip's height of ink: a lower segment is hardly a whole digit
# Chosen on held-out training images.
DOUBT, DOUBT_WIDTH, LOW_COST = 3.0, 0.5, 2.0  # nats

Box = tuple[int, int, int, int]  # x, y, width, height in the strip


class Pieces(NamedTuple):
    """The ink of one strip, cut."""

    labels: np.ndarray  # H×W int32: 0 is paper, 1 to P the pieces from left to right
    boxes: list[Box]  # of each piece


class Graph(NamedTuple):
    """A strip's segments, the edges of a graph, with their scores by the network of single digits."""

    last: int  # node, which is the number of pieces; the first is 0
    ends: list[tuple[int, int]]  # of each edge: its first piece, and the one after its last
    boxes: list[Box]  # of each edge
    scores: np.ndarray  # edges×10 nats: the logarithm of the probability that it is that digit


def ink_components(strip: np.ndarray) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """The connected components of an H×W strip's ink that are no dust.

    Their labels, H×W, and for each its label, x, y, width and height.
    """
    mask = (strip > BOX_LEVEL * max(int(strip.max()), 1)).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    rows = enumerate(boxes.tolist())
    return labels, [(i, *box[:4]) for i, box in rows if i > 0 and box[4] >= DUST]


def cut_ink(labels: np.ndarray, spans: list[tuple[int, int, int, int]], count: int) -> Pieces:
    """`count` pieces of ink, each the parts of components of `labels` that have its number.

    `spans`: of each part the component, its columns (from, to before) and its number.
    """
    cut = np.zeros(labels.shape, np.int32)
    for component, start, stop, number in spans:
        cut[:, start:stop][labels[:, start:stop] == component] = number
    boxes = [cv2.boundingRect((cut == n).astype(np.uint8)) for n in range(1, count + 1)]
    return Pieces(cut, [(x, y, width, height) for x, y, width, height in boxes])


def pieces(strip: np.ndarray) -> Pieces:
    """The ink of an H×W uint8 strip, cut between its components and where a component has little."""
    labels, components = ink_components(strip)
    found = []  # (middle, component, from column, to column)
    for i, x, y, width, height in components:
        area = np.s_[y : y + height, x : x + width]
        ends = [0, *cut_columns((labels[area] == i) * strip[area]), width]
        found += [(x + (a + b) / 2, i, x + a, x + b) for a, b in pairwise(ends)]
    spans = [(i, a, b, number) for number, (_, i, a, b) in enumerate(sorted(found), start=1)]
    return cut_ink(labels, spans, len(spans))


def cut_columns(ink: np.ndarray) -> list[int]:
    """Where an H×W piece of ink may be cut: the columns with less ink than those around them."""
    width = ink.shape[1]
    if width <= NARROW:
        return []
    amount = np.convolve(ink.sum(axis=0, dtype=np.float32), (0.25, 0.5, 0.25), "same")
    columns: list[int] = []
    for x in range(APART - 1, width - APART + 1):
        near = amount[max(0, x - 2) : x + 3]
        if amount[x] > near.min():
            continue
        # The heaviest column to either side, no farther than a digit is wide.
        left = amount[max(0, x - DIGIT_SIDE // 2) : x].max()
        right = amount[x + 1 : x + 1 + DIGIT_SIDE // 2].max()
        if amount[x] < LIGHT * min(left, right) and (not columns or x - columns[-1] >= APART):
            columns.append(x)
    return columns


def pieces_at(strip: np.ndarray, middles: list[int]) -> Pieces:
    """The ink of an H×W uint8 strip as one piece for each digit, given their middles.

    A component goes to the nearest middle; one that holds several is cut between them at the
    column with the least ink. A digit without ink has a box of 0×0 at its middle.
    """
    labels, components = ink_components(strip)
    places, spans = np.array(middles, int), []
    for i, x, y, width, height in components if middles else []:
        area = np.s_[y : y + height, x : x + width]
        ink = np.where(labels[area] == i, strip[area], 0).sum(axis=0, dtype=np.float32)
        inside = np.flatnonzero((places >= x) & (places < x + width))
        if not inside.size:
            inside = np.array([np.abs(places - (x + width / 2)).argmin()])
        ends = [0]
        for a, b in pairwise(places[inside] - x):
            near = np.arange(a + (b - a) // 4, b - (b - a) // 4 + 1)
            # Of columns with as little ink, the one in the middle.
            weight = ink[near] + 1e-3 * np.abs(near - (a + b) / 2)
            ends.append(max(ends[-1], int(near[weight.argmin()])))
        ends.append(width)
        spans += [
            (i, x + a, x + b, number + 1)
            for number, (a, b) in zip(inside.tolist(), pairwise(ends), strict=True)
        ]
    cut, boxes = cut_ink(labels, spans, len(middles))
    pairs = zip(boxes, middles, strict=True)
    return Pieces(cut, [box if box[2] else (middle, 0, 0, 0) for box, middle in pairs])


def picture_of(strip: np.ndarray, found: Pieces, box: Box, begin: int, end: int) -> np.ndarray:
    """The pieces from `begin` to before `end`, with their soft edge, as MNIST has a digit: 28×28 uint8.

    `box` is around them.
    """
    x, y, width, height = box
    area = np.s_[max(0, y - 2) : y + height + 2, max(0, x - 2) : x + width + 2]
    own = (found.labels[area] > begin) & (found.labels[area] <= end)
    if not own.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    near = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8))
    return centre_digit((strip[area] * near).astype(np.float32))


def segments(boxes: list[Box]) -> tuple[list[tuple[int, int]], list[Box]]:
    """All segments of one to four neighbouring pieces that are not too wide.

    Of each its first piece and the one after its last, and its box.
    """
    ends, around = [], []
    for begin in range(len(boxes)):
        for end in range(begin + 1, min(begin + MOST_PIECES, len(boxes)) + 1):
            own = np.array(boxes[begin:end])
            left, top = own[:, :2].min(axis=0).tolist()
            right, bottom = (own[:, :2] + own[:, 2:]).max(axis=0).tolist()
            if end > begin + 1 and right - left > WIDEST * DIGIT_SIDE:
                break
            ends.append((begin, end))
            around.append((left, top, right - left, bottom - top))
    return ends, around


def digit_scores(boxes: list[Box], logits: np.ndarray) -> np.ndarray:
    """Scores of segments as each digit, N×10 nats, from N×10 calibrated logits.

    The digit's log probability, plus that of its evidence being a digit's (the network
    learned a uniform output on non-digits), minus a cost for segments lower than the others.
    """
    if not boxes:
        return np.zeros((0, 10))
    sure = -np.logaddexp(0, (DOUBT - kl_from_uniform(logits)) / DOUBT_WIDTH)  # of a logistic function
    heights = np.array([box[3] for box in boxes])
    low = heights < LOW * np.median(heights[heights >= 0.5 * heights.max()])
    return np.log(softmax(logits)) + sure[:, None] - LOW_COST * low[:, None]


def graphs_of(strips: list[np.ndarray], classify) -> list[Graph]:
    """The graph of each of the H×W uint8 strips.

    `classify` gives calibrated logits, N×10, of N×28×28 uint8 pictures.
    """
    cut = [pieces(strip) for strip in strips]
    edges = [segments(found.boxes) for found in cut]
    pictures = [
        picture_of(strip, found, box, *end)
        for strip, found, own in zip(strips, cut, edges, strict=True)
        for end, box in zip(*own, strict=True)
    ]
    logits = np.asarray(classify(np.stack(pictures))) if pictures else np.zeros((0, 10))
    parts = np.split(logits, np.cumsum([len(ends) for ends, _ in edges])[:-1])
    return [
        Graph(len(found.boxes), ends, boxes, digit_scores(boxes, own))
        for found, (ends, boxes), own in zip(cut, edges, parts, strict=True)
    ]


def likeliest_path(graph: Graph) -> list[int]:
    """The edges of the best path; none where there is no ink."""
    return viterbi(graph.last, graph.ends, graph.scores.max(axis=1).tolist())
