"""Made-up pictures of numbers: their digits, their masks, their places."""

import numpy as np
import pytest
import torch

from lenet5.data import number_pictures
from lenet5.data.number_pictures import MOST_CHARACTERS, PATTERNS, Mix, characters, make_numbers
from lenet5.data.skeletons import SIGNS
from tests.data.conftest import small_pool

SIZE = (48, 160)


@pytest.fixture(scope="module")
def pool():
    return small_pool()


def test_numbers_are_reproducible_and_in_range(pool):
    pictures, masks, numbers, places = make_numbers(pool, 16, SIZE, seed=3)
    assert pictures.shape == (16, 3, *SIZE)
    assert masks.shape == (16, 1, *SIZE)
    for part in (pictures, masks):
        assert part.min() >= 0
        assert part.max() <= 1 + 1e-6
    assert all(number.isdecimal() or not number for number in numbers)
    again, _, same, _ = make_numbers(pool, 16, SIZE, seed=3)
    assert torch.equal(pictures, again)
    assert numbers == same
    assert not torch.equal(pictures, make_numbers(pool, 16, SIZE, seed=4)[0])
    assert places.shape == (16, *SIZE)
    for number, own, mask in zip(numbers, places, masks[:, 0], strict=True):
        there = own.unique()
        assert set(there.tolist()) <= set(range(len(number) + 1))
        assert (mask[own > 0] > 0.5).all()


@pytest.mark.parametrize(("text", "digits"), [("ddd.dd", 5), ("(d)", 1), ("a=s", 0), ("dd_dd", 4)])
def test_signs_letters_and_gaps_are_no_digits(pool, monkeypatch, text, digits):
    monkeypatch.setattr(number_pictures, "characters", lambda *_: text)
    _, masks, numbers, _ = make_numbers(pool, 12, SIZE, seed=1)
    assert {len(number) for number in numbers} == {digits}
    assert (masks.amax(dim=(1, 2, 3)) > 0.9).all()


def test_characters_are_those_of_the_patterns():
    rng = np.random.default_rng(0)
    written = [characters(rng) for _ in range(2000)]
    assert max(map(len, written)) == MOST_CHARACTERS
    assert set("".join(written)) <= set("das_") | set(SIGNS)
    digits_alone = np.mean([set(text) == {"d"} for text in written])
    share = PATTERNS["d*"] / sum(PATTERNS.values())
    assert abs(digits_alone - share) < 0.05


def test_a_number_is_written_from_left_to_right_in_its_picture(pool, monkeypatch):
    """The text's order is that of the places."""
    monkeypatch.setattr(number_pictures, "characters", lambda *_: "ddd")
    glyphs = number_pictures.glyphs_of(pool)
    rows = [number_pictures.lay_out(glyphs, np.random.default_rng(seed), Mix()) for seed in range(50)]
    for slots in map(number_pictures.Slots._make, rows):
        assert (np.diff(slots.x[:3]) > 0).all()
        assert (slots.used[:3] == 1).all()
    *_, places = make_numbers(pool, 12, SIZE, seed=1)
    across = torch.arange(SIZE[1]).float()
    for own in places:
        middles = [float((own == k).float().sum(dim=0) @ across / (own == k).sum()) for k in (1, 2, 3)]
        assert middles == sorted(middles)


def test_numbers_are_inside_their_pictures(pool):
    """Hardly any ink is cut off but that of the numbers that begin beyond the edge."""
    _, masks, *_ = make_numbers(pool, 100, SIZE, seed=5)
    touches = masks[:, 0, :, [0, -1]].amax(dim=(1, 2)) > 0.5
    assert touches.float().mean() < 0.3
