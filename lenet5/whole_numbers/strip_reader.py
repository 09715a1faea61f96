"""Read strips with both methods: the space displacement network and the graph of segments.

Where the two agree, that is the number. Otherwise each number that either finds likely gets
a score by both, and the best sum wins.
"""

from typing import NamedTuple

import numpy as np
import torch

from lenet5.whole_numbers.decoding import Spelling, probability_of, search, spelled_at
from lenet5.whole_numbers.segmentation import (
    Box,
    Graph,
    graphs_of,
    path_of,
    picture_of,
    pieces_at,
    read_graph,
    score_all,
)
from lenet5.whole_numbers.space_displacement import STRIDE, row_of_answers, strip_input

# Test-time augmentation: rows that a strip is moved down for each of three runs.
MOVED = (0, -1, 1)
# All chosen on held-out training images: python benchmarks/number_accuracy.py --choose
AGREED = -0.7  # nats: the sum of both readers' scores above which nothing else is tried
FLOOR = -8.0  # nats: the least score of single digits
# The weight of single digits' scores, and a bonus in nats for each digit.
WEIGHT, PER_DIGIT = 0.7, 0.5
CANDIDATES = 5  # of the network's likeliest numbers
FAINTEST = 1e-30  # the least probability whose logarithm is taken
AT_ONCE = 32  # strips in one run of the network


class Reading(NamedTuple):
    """A number as read from a strip."""

    digits: list[int]
    boxes: list[Box]  # of each digit's ink
    confidences: list[float]  # of each digit, 0 to 1
    confidence: float  # of the whole number: the geometric mean of both readers' probabilities
    shares: np.ndarray  # T×11: the network's probabilities, window by window
    windows: list[int]  # for each digit the window that is surest of it
    choices: tuple[tuple[str, float], ...] = ()  # if asked for: the likeliest, shares of all tried

    @property
    def text(self) -> str:
        return "".join(map(str, self.digits))


class Candidate(NamedTuple):
    """A number that may be on a strip, whose ink is cut where the network sees the digits."""

    spelling: Spelling
    boxes: list[Box]
    pictures: list[np.ndarray]  # each digit's, 28×28 uint8
    shares: np.ndarray  # T×11


class StripReader:
    """Reads strips that are 32 pixels high.

    `nets` are networks of numbers, each with its metadata's `mean` and `std`; `classify`
    gives calibrated logits, N×10, of N×28×28 uint8 pictures. `choices`: how many of the
    likeliest numbers a reading names. `moved`: the rows that a strip is moved down for
    each run.
    """

    def __init__(self, nets: list[tuple], classify, device="cpu", choices: int = 1, moved=MOVED):
        self.nets, self.classify, self.device = nets, classify, device
        self.choices, self.moved = choices, moved

    @torch.inference_mode()
    def shares(self, strips: list[np.ndarray]) -> list[np.ndarray]:
        """The probabilities of the classes in each window of each strip, T×11.

        The mean over all networks and over the strip moved up and down.
        """
        found = [np.empty(0)] * len(strips)
        order = sorted(range(len(strips)), key=lambda i: strips[i].shape[1])
        for start in range(0, len(order), AT_ONCE):  # those of about the same width together
            some = order[start : start + AT_ONCE]
            widest = strips[some[-1]].shape[1]
            pictures = np.zeros((len(some), strips[some[0]].shape[0], widest), np.uint8)
            for picture, i in zip(pictures, some, strict=True):
                picture[:, : strips[i].shape[1]] = strips[i]
            moved = np.concatenate([np.roll(pictures, rows, axis=1) for rows in self.moved])
            inputs = torch.from_numpy(moved).to(self.device)
            answers = [
                row_of_answers(net, strip_input(inputs, mean, std)) for net, mean, std in self.nets
            ]
            shares = torch.stack(answers).double().softmax(dim=3).mean(dim=0)
            shares = shares.unflatten(0, (len(self.moved), len(some))).mean(dim=0)
            for i, rows in zip(some, shares.cpu().numpy(), strict=True):
                found[i] = rows[: strips[i].shape[1] // STRIDE + 2]
        return found

    def read(self, strips: list[np.ndarray]) -> list[Reading]:
        """The number on each strip."""
        all_shares = self.shares(strips)
        guesses = [search(shares) for shares in all_shares]
        firsts = [
            candidate(strip, shares, *found[0])
            for strip, shares, found in zip(strips, all_shares, guesses, strict=True)
        ]
        readings, doubted = {}, []
        for i, (first, scores) in enumerate(zip(firsts, self.scores_of(firsts), strict=True)):
            readings[i] = reading_of(first, own_scores(first, scores), first.boxes)
            agree = (scores.argmax(axis=1) == first.spelling.digits).all()
            sure = 2 * np.log(max(readings[i].confidence, FAINTEST)) > AGREED
            if not (agree and sure and self.choices == 1):
                doubted.append(i)
        graphs = graphs_of([strips[i] for i in doubted], self.classify)
        tried = [
            candidates(strips[i], all_shares[i], guesses[i], graph)
            for i, graph in zip(doubted, graphs, strict=True)
        ]
        scores_left = iter(self.scores_of([one for own in tried for one in own]))
        for i, graph, own in zip(doubted, graphs, tried, strict=True):
            readings[i] = decide(graph, own, [next(scores_left) for _ in own], self.choices)
        return [readings[i] for i in range(len(strips))]

    def scores_of(self, tried: list[Candidate]) -> list[np.ndarray]:
        """The scores of each candidate's digits by the network of single digits, digits×10 nats."""
        return score_all([one.boxes for one in tried], [one.pictures for one in tried], self.classify)


def candidate(strip: np.ndarray, shares: np.ndarray, digits: list[int], probability: float) -> Candidate:
    """A strip cut for a number that has this probability by its T×11 shares."""
    spelling = spelled_at(shares, digits, probability)
    found = pieces_at(strip, [STRIDE * window for window in spelling.windows])
    pictures = [picture_of(strip, found, box, n, n + 1) for n, box in enumerate(found.boxes)]
    return Candidate(spelling, found.boxes, pictures, shares)


def candidates(strip: np.ndarray, shares: np.ndarray, guesses: list, graph: Graph) -> list[Candidate]:
    """The numbers that may be the one: the network's likeliest, and the graph's."""
    # What is less likely by more than FLOOR cannot win.
    least = guesses[0][1] * np.exp(FLOOR)
    numbers = {tuple(digits): share for digits, share in guesses[:CANDIDATES] if share >= least}
    cut = tuple(read_graph(graph))
    if len(cut) <= (len(shares) + 1) // 2 and cut not in numbers:  # so many digits have room in a row
        numbers[cut] = probability_of(shares, list(cut))
    return [candidate(strip, shares, list(digits), share) for digits, share in numbers.items()]


def own_scores(one: Candidate, scores: np.ndarray) -> np.ndarray:
    """Of digits×10 scores, those of the candidate's own digits."""
    digits = one.spelling.digits
    return scores[range(len(digits)), digits]


def reading_of(one: Candidate, scores: np.ndarray, boxes: list[Box]) -> Reading:
    """A candidate as the number, with its digits' scores by the network of single digits, in nats."""
    spelling = one.spelling
    both = np.sqrt(np.array(spelling.confidences) * np.exp(scores)).tolist()
    confidence = float(np.sqrt(spelling.confidence * np.exp(scores.sum())))
    return Reading(spelling.digits, boxes, both, confidence, one.shares, spelling.windows)


def decide(graph: Graph, found: list[Candidate], all_scores: list[np.ndarray], choices: int) -> Reading:
    """The number that both readers together find likeliest, and so many `choices` if above one.

    Single digits are scored with the graph's cuts and with those at the other networks'
    windows; the better score counts.
    """
    tried = []
    for one, scores in zip(found, all_scores, strict=True):
        digits, own, boxes = one.spelling.digits, own_scores(one, scores), one.boxes
        path, score = path_of(graph, digits)
        if score > own.sum():
            own, boxes = graph.scores[path, digits], [graph.boxes[i] for i in path]
        score = own.sum() if digits else nothing_score(graph)
        total = np.log(max(one.spelling.confidence, FAINTEST)) + WEIGHT * max(score, FLOOR)
        total += PER_DIGIT * len(digits)
        tried.append((float(total), reading_of(one, own, boxes)))
    tried.sort(key=lambda pair: -pair[0])
    best = tried[0][1]
    if choices == 1:
        return best
    shares = np.exp([total - tried[0][0] for total, _ in tried])
    shares /= shares.sum()
    texts = [reading.text for _, reading in tried]
    return best._replace(choices=tuple(zip(texts, shares.tolist(), strict=True))[:choices])


def nothing_score(graph: Graph) -> float:
    """The graph's score for a strip without any digit, in nats."""
    best = float(np.exp(graph.scores.max(initial=-np.inf)))
    return float(np.log(max(1 - best, FAINTEST)))
