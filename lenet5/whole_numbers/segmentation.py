"""Heuristic over-segmentation (section V of the paper).

The ink of a strip is cut wherever a digit might end. One to four neighbouring pieces make
up a segment, which the network of single digits reads. Segments are the edges of a graph
whose nodes are the cuts; the path with the best sum of scores is the number (Viterbi).

    pieces          a strip's ink in pieces from left to right
    segment_graph   the edges: which pieces belong together, and their pictures
    digit_scores    how well each edge explains its ink as each digit
    read_graph      the digits of the best path
    path_of         the best path that spells a given number
"""

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch

from lenet5.evaluation.confidence import kl_from_uniform
from lenet5.imaging.centring import BOX_LEVEL, centre_digit
from lenet5.imaging.mnist_format import DIGIT_SIDE, SIDE
from lenet5.whole_numbers.viterbi import viterbi

DUST = 8  # pixels of a strip: what is smaller is no piece of a digit
APART = 4  # pixels between one cut and the next
NARROW = 7  # pixels: what is as narrow is not cut
LIGHT = 0.75  # of the ink in the heaviest columns beside it: a column with less may be a cut
MOST_PIECES = 4  # of a segment
WIDEST = 1.7  # of a digit's 20 pixels: a wider segment is no digit
LOW = 0.55  # of the strip's height of ink: what is lower is hardly a whole digit
# Chosen on held-out training images: python benchmarks/number_accuracy.py --choose
DOUBT, DOUBT_WIDTH, LOW_COST = 3.0, 0.5, 2.0  # nats


class Pieces(NamedTuple):
    """The ink of one strip, cut."""

    labels: np.ndarray  # H×W int32: 0 is paper, 1 to P the pieces from left to right
    boxes: np.ndarray  # P×4: x, y, width, height


class Edge(NamedTuple):
    """A segment: the pieces from `begin` to before `end`."""

    begin: int
    end: int
    box: tuple[int, int, int, int]  # x, y, width, height in the strip
    picture: np.ndarray  # 28×28 uint8, as MNIST would have it


def ink_pieces(strip: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The connected components of an H×W strip's ink: labels, boxes with areas, which are no dust."""
    mask = (strip > BOX_LEVEL * max(int(strip.max()), 1)).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = boxes[:, 4] >= DUST
    kept[0] = False  # the paper
    return labels, boxes, kept


def pieces(strip: np.ndarray) -> Pieces:
    """The ink of an H×W uint8 strip, cut between its components and where a component has little."""
    labels, boxes, kept = ink_pieces(strip)
    found = []  # (middle, component, from column, to column)
    for i in np.flatnonzero(kept).tolist():
        x, y, width, height, _ = boxes[i].tolist()
        ink = (labels[y : y + height, x : x + width] == i) * strip[y : y + height, x : x + width]
        ends = [0, *cut_columns(ink), width]
        found += [(x + (a + b) / 2, i, x + a, x + b) for a, b in pairwise(ends)]
    found.sort()
    cut, kinds = np.zeros(strip.shape, np.int32), []
    for number, (_, i, a, b) in enumerate(found, start=1):
        own = labels[:, a:b] == i
        cut[:, a:b][own] = number
        rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        kinds.append((a + columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1))
    return Pieces(cut, np.array(kinds, int).reshape(-1, 4))


def cut_columns(ink: np.ndarray) -> list[int]:
    """Where an H×W piece of ink may be cut: the columns with less ink than those around them."""
    width = ink.shape[1]
    if width <= NARROW:
        return []
    amount = np.convolve(ink.sum(axis=0, dtype=np.float32), (0.25, 0.5, 0.25), "same")
    # The heaviest column to either side, no farther than a digit is wide.
    columns = []
    for x in range(APART - 1, width - APART + 1):
        near = amount[max(0, x - 2) : x + 3]
        if amount[x] > near.min():
            continue
        left = amount[max(0, x - DIGIT_SIDE // 2) : x].max()
        right = amount[x + 1 : x + 1 + DIGIT_SIDE // 2].max()
        if amount[x] < LIGHT * min(left, right) and (not columns or x - columns[-1] >= APART):
            columns.append(x)
    return columns


def joint_box(boxes: np.ndarray) -> tuple[int, int, int, int]:
    """The box around several of x, y, width, height."""
    left, top = boxes[:, :2].min(axis=0).tolist()
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist()
    return left, top, right - left, bottom - top


def picture_of(strip: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What belongs to a mask in an H×W strip, with its soft edge, as MNIST has a digit: 28×28 uint8."""
    if not own.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    near = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8))
    return centre_digit((strip * near).astype(np.float32))


def around(box) -> tuple[slice, slice]:
    """The rows and columns of a box and of its soft edge, two pixels wide."""
    x, y, width, height = box
    return slice(max(0, y - 2), y + height + 2), slice(max(0, x - 2), x + width + 2)


def segment_graph(strip: np.ndarray, found: Pieces) -> list[Edge]:
    """All segments of one to four neighbouring pieces that are not too wide, from left to right."""
    edges = []
    for begin in range(len(found.boxes)):
        for end in range(begin + 1, min(begin + MOST_PIECES, len(found.boxes)) + 1):
            box = joint_box(found.boxes[begin:end])
            if end > begin + 1 and box[2] > WIDEST * DIGIT_SIDE:
                break
            area = around(box)
            labels = found.labels[area]
            own = (labels > begin) & (labels <= end)
            edges.append(Edge(begin, end, box, picture_of(strip[area], own)))
    return edges


def digit_scores(boxes: list[tuple], logits: torch.Tensor) -> np.ndarray:
    """Scores of segments as each digit, N×10 nats, from N×10 calibrated logits.

    The digit's log probability, plus that of its evidence being a digit's (the network
    learned a uniform output on non-digits), minus a cost for segments lower than the others.
    """
    if not boxes:
        return np.zeros((0, 10))
    likely = torch.from_numpy(kl_from_uniform(logits))
    sure = torch.nn.functional.logsigmoid((likely - DOUBT) / DOUBT_WIDTH)
    heights = np.array([box[3] for box in boxes])
    low = heights < LOW * np.median(heights[heights >= 0.5 * heights.max()])
    return (logits.log_softmax(dim=1) + sure[:, None]).numpy() - LOW_COST * low[:, None]


def pieces_at(strip: np.ndarray, middles: list[int]) -> Pieces:
    """The ink of an H×W uint8 strip as one piece for each digit, given their middles.

    A component goes to the nearest middle; one that holds several is cut between them at the
    column with the least ink. A digit without ink has a box of 0×0 at its middle.
    """
    labels, boxes, kept = ink_pieces(strip)
    cut = np.zeros(strip.shape, np.int32)
    places = np.array(middles)
    for i in np.flatnonzero(kept).tolist() if middles else []:
        x, y, width, height, _ = boxes[i].tolist()
        own = labels[y : y + height, x : x + width] == i
        inside = np.flatnonzero((places >= x) & (places < x + width))
        if not inside.size:
            inside = np.abs(places - (x + width / 2)).argmin()[None]
        ink = np.where(own, strip[y : y + height, x : x + width], 0).sum(axis=0, dtype=np.float32)
        ends = [0]
        for a, b in zip(places[inside] - x, places[inside[1:]] - x, strict=False):
            near = np.arange(a + (b - a) // 4, b - (b - a) // 4 + 1)
            # Of columns with as little ink, the one in the middle.
            weight = ink[near] + 1e-3 * np.abs(near - (a + b) / 2)
            ends.append(max(ends[-1], int(near[weight.argmin()])))
        ends.append(width)
        for number, a, b in zip(inside.tolist(), ends[:-1], ends[1:], strict=True):
            cut[y : y + height, x + a : x + b][own[:, a:b]] = number + 1
    kinds = []
    for number, middle in enumerate(middles, start=1):
        rows, columns = np.nonzero(cut == number)
        if not rows.size:
            kinds.append((middle, 0, 0, 0))
            continue
        left, top = columns.min(), rows.min()
        kinds.append((left, top, columns.max() - left + 1, rows.max() - top + 1))
    return Pieces(cut, np.array(kinds, int).reshape(-1, 4))


def pictures_of(strip: np.ndarray, found: Pieces) -> list[np.ndarray]:
    """Each piece by itself as MNIST has a digit, 28×28 uint8."""
    pictures = []
    for number, box in enumerate(found.boxes.tolist(), start=1):
        area = around(box)
        pictures.append(picture_of(strip[area], found.labels[area] == number))
    return pictures


class Graph(NamedTuple):
    """A strip's segments with what the network of single digits says of each."""

    count: int  # pieces
    edges: list[Edge]
    scores: np.ndarray  # edges×10 nats: the logarithm of the probability that it is that digit

    @property
    def ends(self) -> list[tuple[int, int]]:
        return [(edge.begin, edge.end) for edge in self.edges]


def graphs_of(strips: list[np.ndarray], classify) -> list[Graph]:
    """The graph of each of the H×W uint8 strips.

    `classify` gives calibrated logits, N×10, of N×28×28 uint8 pictures.
    """
    cut = [pieces(strip) for strip in strips]
    all_edges = [segment_graph(strip, found) for strip, found in zip(strips, cut, strict=True)]
    pictures = [edge.picture for edges in all_edges for edge in edges]
    logits = classify(torch.from_numpy(np.stack(pictures))) if pictures else torch.zeros(0, 10)
    parts = logits.split([len(edges) for edges in all_edges])
    return [
        Graph(len(found.boxes), edges, digit_scores([edge.box for edge in edges], own))
        for found, edges, own in zip(cut, all_edges, parts, strict=True)
    ]


def read_graph(graph: Graph) -> tuple[list[int], list[int], float]:
    """The digits of the best path, its edges, and its score in nats; none where there is no ink."""
    if not graph.edges:
        return [], [], 0.0
    best = graph.scores.max(axis=1)
    path, _ = viterbi(graph.count, graph.ends, best.tolist())
    return graph.scores[path].argmax(axis=1).tolist(), path, float(best[path].sum())


def path_of(graph: Graph, digits: list[int]) -> tuple[list[int], float]:
    """The best path that spells these digits, and its score; ([], -inf) if none does."""
    length = len(digits)
    # Node n of the graph after so many digits is node n·(length + 1) + digits.
    edges = [
        (begin * (length + 1) + done, end * (length + 1) + done + 1)
        for begin, end in graph.ends
        for done in range(length)
    ]
    last = graph.count * (length + 1) + length
    path, score = viterbi(last, edges, graph.scores[:, digits].ravel().tolist())
    return [edge // length for edge in path], score
