"""Decode the space displacement network: connectionist temporal classification (CTC).

The network classifies one window after the other. Repeats of a class are one digit and
the class "between" (CTC's blank) is none, so many paths spell a number, and its
probability is the sum of theirs (Graves et al., "Connectionist temporal
classification", 2006).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lenet5.whole_numbers.viterbi import viterbi
from lenet5.whole_numbers.windows import BLANK

BEAM = 8  # prefixes that are kept at each window
FAINT = 1e-3  # probability below which a digit is not tried
CLEAR = 0.999  # probability of "between" above which no digit is tried
# Prior probability of two digits in adjacent windows, two pixels apart: hardly any two are so near.
ADJACENT = 0.1


class Spelling(NamedTuple):
    """A number located in a row of windows."""

    digits: list[int]
    windows: list[int]  # for each digit the window that is surest of it
    confidences: list[float]  # for each digit, 0 to 1
    confidence: float  # of the whole number, 0 to 1


def best_path(logits) -> list[str]:
    """Greedy decoding of N×T×11 logits: each window's likeliest class, without repeats and "between"."""
    texts = []
    for row in np.asarray(logits).argmax(axis=2).tolist():
        kept = [a for a, before in zip(row, [BLANK, *row], strict=False) if a != before and a != BLANK]
        texts.append("".join(map(str, kept)))
    return texts


def search(
    shares: np.ndarray, beam: int = BEAM, adjacent: float = ADJACENT
) -> list[tuple[list[int], float]]:
    """Prefix beam search in T×11 probabilities: the likeliest numbers with their probabilities.

    Of each prefix the paths that end in "between" and those that end in its last digit are
    summed apart, since a digit repeats only after "between". Two digits in adjacent windows
    multiply a path's probability by `adjacent`. Sorted, the likeliest first.
    """
    begun: dict[tuple[int, ...], list[float]] = {(): [1.0, 0.0]}
    for row in shares:
        blank = float(row[BLANK])
        if blank > CLEAR:
            begun = {prefix: [(ended + going) * blank, 0.0] for prefix, (ended, going) in begun.items()}
            continue
        tried = [(c, float(row[c])) for c in np.flatnonzero(row[:BLANK] > FAINT).tolist()]
        following: dict[tuple[int, ...], list[float]] = {}
        for prefix, (ended, going) in begun.items():
            last = prefix[-1] if prefix else None
            same = following.setdefault(prefix, [0.0, 0.0])
            same[0] += (ended + going) * blank
            if last is not None:
                same[1] += going * float(row[last])
            for digit, share in tried:
                before = ended if digit == last else ended + adjacent * going
                if before > 0:
                    following.setdefault((*prefix, digit), [0.0, 0.0])[1] += before * share
        begun = dict(sorted(following.items(), key=lambda item: -sum(item[1]))[:beam])
    found = [(list(prefix), sum(parts)) for prefix, parts in begun.items()]
    return sorted(found, key=lambda item: -item[1])


def spelled_at(shares: np.ndarray, digits: list[int], probability: float) -> Spelling:
    """Locate the digits of a number in T×11 probabilities, on the likeliest path that spells it.

    A digit's confidence is the probability that any of the windows around it has it, up to
    halfway to its neighbours.
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
    states = [BLANK]
    for digit in digits:
        states += [digit, BLANK]
    count, windows = len(states), len(shares)
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
    path = viterbi(last, edges, [*logs[0, :2].tolist(), *later, 0.0, 0.0])
    found: list[list[int]] = [[] for _ in digits]
    for t, edge in enumerate(path[:-1]):
        state = (edges[edge][1] - 1) % count
        if state % 2:
            found[state // 2].append(t)
    return [
        max(reversed(times), key=lambda t: shares[t, digit])  # of equals the last
        for times, digit in zip(found, digits, strict=True)
    ]
