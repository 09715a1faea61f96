"""Both ways to read a number together: the space displacement network, and the graph of segments.

The network over the whole strip knows what it sees in each window and needs no cut; the
network of single digits sees a segment as MNIST has its digits and reads it better, if
it was cut right. Where the two agree, that is the number. Where they do not, each number
that either of them finds likely has a probability by both, and the best product wins.
"""

from typing import NamedTuple

import numpy as np
import torch

from decoding import probability_of, search, spelled_at
from displacement import STRIDE, row_of_answers, strip_input
from segments import (
    Graph,
    digit_scores,
    graphs_of,
    pictures_of,
    pieces_at,
    read_graph,
    way_of,
)

AGREED = -0.7  # nats: the sum of both readers' scores above which nothing else is tried
FLOOR = -8.0  # nats: what the graph says of a number that its cuts cannot spell
CANDIDATES = 5  # of the network's likeliest numbers
FAINTEST = 1e-30  # the least probability whose logarithm is taken


class Reading(NamedTuple):
    """A number as read from a strip."""

    digits: list[int]
    boxes: list[list[int]]  # x, y, width, height of each digit's ink, in the strip
    confidences: list[float]  # of each digit, 0 to 1
    confidence: float  # of the whole number: the geometric mean of both readers' probabilities
    shares: np.ndarray  # T×11: the network's probabilities, window by window
    windows: list[int]  # for each digit the window that is surest of it

    @property
    def text(self) -> str:
        return "".join(map(str, self.digits))


class StripReader:
    """Reads strips that are 32 pixels high.

    `net` is the network of numbers with its metadata's `mean` and `std`; `classify`
    gives calibrated logits, N×10, of N×28×28 uint8 pictures.
    """

    def __init__(self, net, mean: float, std: float, classify, device="cpu"):
        self.net, self.mean, self.std = net, mean, std
        self.classify, self.device = classify, device

    @torch.inference_mode()
    def shares(self, strips: list[np.ndarray]) -> list[np.ndarray]:
        """The probabilities of the classes in each window of each strip, T×11."""
        found: list[np.ndarray | None] = [None] * len(strips)
        order = sorted(range(len(strips)), key=lambda i: strips[i].shape[1])
        for start in range(0, len(order), 32):  # those about as wide as each other together
            some = order[start : start + 32]
            widest = max(strips[i].shape[1] for i in some)
            pictures = np.zeros((len(some), strips[some[0]].shape[0], widest), np.uint8)
            for picture, i in zip(pictures, some, strict=True):
                picture[:, : strips[i].shape[1]] = strips[i]
            inputs = strip_input(torch.from_numpy(pictures).to(self.device), self.mean, self.std)
            answers = row_of_answers(self.net, inputs).double().softmax(dim=2).cpu().numpy()
            for i, row in zip(some, answers, strict=True):
                found[i] = row[: strips[i].shape[1] // STRIDE + 2]
        return found

    def read(self, strips: list[np.ndarray]) -> list[Reading]:
        """The number on each strip."""
        all_shares = self.shares(strips)
        readings, doubted = [], []
        guesses = [search(shares) for shares in all_shares]
        looks = [self.at_spelling(*args) for args in zip(strips, all_shares, guesses, strict=True)]
        logits = self.logits_of([picture for _, _, pictures in looks for picture in pictures])
        parts = logits.split([len(pictures) for _, _, pictures in looks])
        for i, (spelling, found, _) in enumerate(looks):
            boxes = [tuple(box) for box in found.boxes.tolist()]
            scores = digit_scores(boxes, parts[i])
            own = scores[np.arange(len(boxes)), spelling.digits] if boxes else np.zeros(0)
            total = np.log(max(spelling.confidence, FAINTEST)) + own.sum()
            agreed = all(scores.argmax(axis=1) == spelling.digits) and total > AGREED
            if not agreed:
                doubted.append(i)
            readings.append(reading_of(spelling, boxes, own, all_shares[i]))
        graphs = graphs_of([strips[i] for i in doubted], self.classify)
        for i, graph in zip(doubted, graphs, strict=True):
            readings[i] = decide(readings[i], guesses[i], graph)
        return readings

    def at_spelling(self, strip: np.ndarray, shares: np.ndarray, guesses: list) -> tuple:
        """The network's likeliest number, its digits' ink, and their pictures."""
        spelling = spelled_at(shares, *guesses[0])
        found = pieces_at(strip, spelling.middles)
        return spelling, found, pictures_of(strip, found)

    def logits_of(self, pictures: list[np.ndarray]) -> torch.Tensor:
        return self.classify(torch.from_numpy(np.stack(pictures))) if pictures else torch.zeros(0, 10)


def reading_of(spelling, boxes: list[tuple], scores: np.ndarray, shares: np.ndarray) -> Reading:
    """A spelling and what the network of single digits says of its digits, in nats, together."""
    both = np.sqrt(np.array(spelling.confidences) * np.exp(scores)).tolist()
    confidence = float(np.sqrt(spelling.confidence * np.exp(scores.sum())))
    return Reading(
        spelling.digits, [list(box) for box in boxes], both, confidence, shares, spelling.windows
    )


def decide(first: Reading, guesses: list, graph: Graph) -> Reading:
    """The number that both readers together find likeliest."""
    shares = first.shares
    numbers = {tuple(digits): probability for digits, probability in guesses[:CANDIDATES]}
    cut = tuple(read_graph(graph)[0])
    if cut not in numbers:
        numbers[cut] = probability_of(shares, list(cut))
    best, best_score = None, -np.inf
    for digits, probability in numbers.items():
        way, score = way_of(graph, list(digits)) if digits else ([], nothing_score(graph))
        if tuple(digits) == tuple(first.digits) and first.digits:
            # The ink cut where the network saw the digits is one more way.
            seen = 2 * np.log(max(first.confidence, FAINTEST)) - np.log(max(probability, FAINTEST))
            if seen > score:
                way, score = [], seen
        score = max(score, FLOOR)
        total = np.log(max(probability, FAINTEST)) + score
        if total > best_score:
            best, best_score = (list(digits), probability, way, score), total
    digits, probability, way, score = best
    if digits == first.digits and not way:
        return first._replace(confidence=float(np.sqrt(probability * np.exp(score))))
    spelling = spelled_at(shares, digits, probability)
    if not way:  # the network's second choice, in ink that no cut divides so
        even = np.full(len(digits), score / max(len(digits), 1))
        boxes = [(middle, 0, 0, 0) for middle in spelling.middles]
        return reading_of(spelling, boxes, even, shares)
    own = graph.scores[way, digits]
    return reading_of(spelling, [graph.edges[i].box for i in way], own, shares)


def nothing_score(graph: Graph) -> float:
    """What the graph says of there being no digit at all, in nats."""
    if not graph.edges:
        return 0.0
    best = graph.scores.max(axis=1)
    return float(min(0.0, np.log1p(-min(np.exp(best.max()), 1 - 1e-9))))
