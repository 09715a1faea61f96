"""The decoders against all paths, tried one by one."""

import itertools

import numpy as np
import pytest
import torch

from lenet5.whole_numbers.decoding import Spelling, align, best_path, search, spelled_at
from lenet5.whole_numbers.space_displacement import BLANK

WINDOWS = 4  # 11^4 rows are few enough to try them all


def random_shares(seed: int) -> np.ndarray:
    """Probabilities of "between" and three digits; the others have none."""
    rng = np.random.default_rng(seed)
    shares = np.zeros((WINDOWS, 11))
    shares[:, [1, 2, 7, BLANK]] = rng.dirichlet([0.7] * 4, WINDOWS)
    return shares


def spell(row) -> tuple[int, ...]:
    return tuple(c for c, before in zip(row, (BLANK, *row), strict=False) if c not in (before, BLANK))


def by_hand(shares: np.ndarray, adjacent: float) -> dict[tuple, float]:
    """The probability of each number: the sum over all rows that spell it."""
    found: dict[tuple, float] = {}
    for row in itertools.product((1, 2, 7, BLANK), repeat=WINDOWS):
        share = float(np.prod(shares[range(WINDOWS), row]))
        for a, b in itertools.pairwise(row):
            if BLANK not in (a, b) and a != b:
                share *= adjacent
        found[spell(row)] = found.get(spell(row), 0.0) + share
    return found


@pytest.mark.parametrize("adjacent", [1.0, 0.1])
@pytest.mark.parametrize("seed", range(8))
def test_search_finds_the_likeliest_numbers_and_their_probabilities(seed, adjacent):
    shares = random_shares(seed)
    truth = by_hand(shares, adjacent)
    found = search(shares, beam=1000, adjacent=adjacent)
    # What is fainter than a thousandth is not tried.
    for digits, probability in found:
        assert probability == pytest.approx(truth[tuple(digits)], abs=5e-3)
    assert found[0][1] >= max(truth.values()) - 5e-3
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)


@pytest.mark.parametrize("digits", [(1,), (1, 2), (7, 7), (2, 1, 7), (2, 2)])
def test_align_is_on_the_likeliest_row_that_spells_the_number(digits):
    for seed in range(20):
        shares = random_shares(seed)
        rows = [
            r for r in itertools.product((*set(digits), BLANK), repeat=WINDOWS) if spell(r) == digits
        ]
        best = max(rows, key=lambda row: float(np.prod(shares[range(WINDOWS), row])))
        windows = align(shares, list(digits))
        assert windows == sorted(windows)
        assert [best[w] for w in windows] == list(digits)


def row_of(text: str, sure: float = 0.97) -> torch.Tensor:
    """Logits of one number whose windows say these characters; "_" is "between"."""
    shares = torch.full((1, len(text), 11), (1 - sure) / 10)
    for i, c in enumerate(text):
        shares[0, i, BLANK if c == "_" else int(c)] = sure
    return shares.log()


def likeliest(logits: torch.Tensor) -> Spelling:
    shares = logits[0].softmax(dim=1).double().numpy()
    return spelled_at(shares, *search(shares)[0])


def test_repeats_are_one_digit_unless_something_is_between():
    assert best_path(row_of("_11__1_22_")) == ["112"]
    assert best_path(row_of("____")) == [""]
    found = likeliest(row_of("_11__1_22_"))
    assert found.digits == [1, 1, 2]
    # Of two windows that are as sure, either.
    assert all(w in either for w, either in zip(found.windows, ((1, 2), (5,), (7, 8)), strict=True))
    nothing = likeliest(row_of("____"))
    assert (nothing.digits, nothing.confidences) == ([], [])
    assert nothing.confidence > 0.8  # 0.97^4 = 0.885


def test_a_digit_that_two_windows_leave_to_each_other_is_read():
    # Each of two windows says 5 with 0.45 and "between" with 0.55: none of them says it, but
    # 1 - 0.55^2 = 0.70 that one of them does.
    shares = np.zeros((3, 11))
    shares[:, BLANK] = [1, 0.55, 0.55]
    shares[1:, 5] = 0.45
    logits = torch.from_numpy(np.maximum(shares, 1e-12)).log()[None]
    assert best_path(logits) == [""]
    found = likeliest(logits)
    assert found.digits == [5]
    assert (found.confidence, *found.confidences) == pytest.approx((1 - 0.55**2,) * 2, abs=1e-6)


def test_two_digits_in_neighbouring_windows_are_unlikely():
    # 3 or 8 in one place: seen as 3 by one window and as 8 by the next.
    shares = np.full((5, 11), 1e-6)
    shares[[0, 1, 4], BLANK] = 1
    shares[2, [3, 8, BLANK]] = 0.6, 0.3, 0.1
    shares[3, [3, 8, BLANK]] = 0.3, 0.6, 0.1
    shares /= shares.sum(axis=1, keepdims=True)
    assert search(shares, adjacent=1.0)[0][0] == [3, 8]
    assert len(search(shares, adjacent=0.1)[0][0]) == 1


def test_confidence_of_a_digit_is_not_its_neighbours():
    shares = row_of("_1_1_", 0.9).softmax(dim=2)[0].double().numpy()
    found = spelled_at(shares, [1, 1], 0.5)
    # Each counts one window of "between" beside its own, which says 1 with 0.01.
    assert found.confidences == pytest.approx([1 - 0.1 * 0.99, 1 - 0.1 * 0.99], abs=0.011)
