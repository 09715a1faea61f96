"""From a row of answers to a number: connectionist temporal classification, read backwards.

The network of `displacement.py` answers for one window after the other. Repeats of an
answer are one digit, "between" is none, so a number is spelled by many rows of
answers, and its probability is the sum of theirs (Graves et al., "Connectionist
temporal classification", 2006).

    best_path  the likeliest row of answers, spelled: quick, and right where it is sure
    likeliest  the likeliest number, by a search over the beginnings of numbers
    spelled_at which windows say which of a number's digits, and how sure each of them is
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from lenet5.whole_numbers.space_displacement import BLANK, STRIDE
from lenet5.whole_numbers.viterbi import viterbi

BEAM = 8  # beginnings that are kept at each window
FAINT = 1e-3  # probability: what is less likely is not tried
CLEAR = 0.999  # probability of "between" above which nothing else is tried
# Probability that a digit's window is right beside another digit's, as the windows' own
# see nothing of each other. Chosen on held-out training images.
BESIDE = 0.1


class Spelling(NamedTuple):
    """A number as a row of answers spells it."""

    digits: list[int]
    windows: list[int]  # for each digit the window that is surest of it
    confidences: list[float]  # for each digit, 0 to 1
    confidence: float  # of the whole number, 0 to 1

    @property
    def middles(self) -> list[int]:
        """For each digit the middle of its window, a pixel of the strip."""
        return [STRIDE * window for window in self.windows]

    @property
    def text(self) -> str:
        return "".join(map(str, self.digits))


def best_path(answers: torch.Tensor) -> list[str]:
    """The likeliest class of each window in N×T×11 logits, with repeats and "between" left out."""
    texts = []
    for row in answers.argmax(dim=2).tolist():
        kept = [a for a, before in zip(row, [BLANK, *row], strict=False) if a != before and a != BLANK]
        texts.append("".join(map(str, kept)))
    return texts


def likeliest(answers: torch.Tensor) -> list[Spelling]:
    """The likeliest number that each of N×T×11 logits spell."""
    spellings = []
    for shares in answers.softmax(dim=2).cpu().double().numpy():
        digits, probability = search(shares)[0]
        spellings.append(spelled_at(shares, digits, probability))
    return spellings


def search(
    shares: np.ndarray, beam: int = BEAM, beside: float = BESIDE
) -> list[tuple[list[int], float]]:
    """The likeliest numbers of T×11 probabilities, each with its probability, the likeliest first.

    Prefix search: of each beginning of a number, the probability of all rows so far that
    spell it, those that end with "between" and those that end with its last digit
    apart, since only after "between" the same digit may come again. `beam` beginnings
    are kept. Where one digit follows another from one window to the next, their
    probability is multiplied by `beside`.
    """
    begun = {(): (1.0, 0.0)}
    for row in shares:
        blank = float(row[BLANK])
        if blank > CLEAR:
            begun = {prefix: ((a + b) * blank, 0.0) for prefix, (a, b) in begun.items()}
            continue
        tried = [(c, float(row[c])) for c in np.flatnonzero(row[:BLANK] > FAINT).tolist()]
        following: dict[tuple, list[float]] = {}
        for prefix, (ended, going) in begun.items():
            last = prefix[-1] if prefix else None
            same = following.setdefault(prefix, [0.0, 0.0])
            same[0] += (ended + going) * blank
            if last is not None:
                same[1] += going * float(row[last])
            for digit, share in tried:
                before = ended if digit == last else ended + beside * going
                if before > 0:
                    following.setdefault((*prefix, digit), [0.0, 0.0])[1] += before * share
        best = sorted(following.items(), key=lambda item: -sum(item[1]))[:beam]
        begun = {prefix: (a, b) for prefix, (a, b) in best}
    found = [(list(prefix), sum(parts)) for prefix, parts in begun.items()]
    return sorted(found, key=lambda item: -item[1])


def states_of(digits: list[int]) -> list[int]:
    """The classes that a row of answers goes through to spell digits: between, digit, between …"""
    states = [BLANK]
    for digit in digits:
        states += [digit, BLANK]
    return states


def probability_of(shares: np.ndarray, digits: list[int], beside: float = BESIDE) -> float:
    """The probability that T×11 probabilities spell a number: the sum of all rows that do.

    The forward algorithm of Graves et al., 2006, section 4.1, with `beside` as in `search`.
    """
    states = states_of(digits)
    skips = np.zeros(len(states))
    for i in range(3, len(states), 2):
        skips[i] = beside * (states[i] != states[i - 2])
    own = shares[:, states]
    going = np.zeros(len(states))
    going[:2] = own[0, :2]
    for row in own[1:]:
        before, skipped = np.zeros_like(going), np.zeros_like(going)
        before[1:], skipped[2:] = going[:-1], going[:-2]
        going = (going + before + skips * skipped) * row
    return float(going[-2:].sum())


def spelled_at(shares: np.ndarray, digits: list[int], probability: float) -> Spelling:
    """Where T×11 probabilities say the digits of a number, on the likeliest row that spells it.

    A digit's confidence is the probability that any of the windows around it says it: up
    to halfway to its neighbours.
    """
    if not digits:
        return Spelling([], [], [], probability)
    windows = align(shares, digits)
    halves = [(a + b + 1) // 2 for a, b in pairwise(windows)]
    ends = [0, *halves, len(shares)]
    confidences = [
        float(1 - np.prod(1 - shares[max(a, w - 2) : min(b, w + 3), digit]))
        for digit, w, a, b in zip(digits, windows, ends[:-1], ends[1:], strict=True)
    ]
    return Spelling(digits, windows, confidences, probability)


def align(shares: np.ndarray, digits: list[int]) -> list[int]:
    """For each digit the window that is surest of it, on the likeliest path that spells them all.

    Viterbi over the states "between", digit, "between", digit ... (Graves et al., 2006,
    section 4.1, with the largest in place of the sum).
    """
    states, windows = states_of(digits), len(shares)
    count = len(states)
    # Node 1 + t·count + s is state s in window t. A state follows itself, the one before,
    # or, after another digit, the one before "between".
    steps = [(s, s - back) for s in range(count) for back in (0, 1, 2) if back <= s]
    steps = [(s, b) for s, b in steps if b > s - 2 or (s % 2 and states[s] != states[b])]
    edges = [(0, 1), (0, 2)]
    for start in range(1, 1 + (windows - 1) * count, count):
        edges += [(start + b, start + count + s) for s, b in steps]
    last = 1 + windows * count
    edges += [(last - 1, last), (last - 2, last)]
    logs = np.log(np.maximum(shares[:, states], 1e-30))
    later = logs[1:, [s for s, _ in steps]].ravel().tolist()
    path, _ = viterbi(last, edges, [*logs[0, :2].tolist(), *later, 0.0, 0.0])
    found: list[list[int]] = [[] for _ in digits]
    for t, edge in enumerate(path[:-1]):
        state = (edges[edge][1] - 1) % count
        if state % 2:
            found[state // 2].append(t)
    return [
        max(times, key=lambda t: shares[t, digit]) for times, digit in zip(found, digits, strict=True)
    ]
