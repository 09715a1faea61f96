"""Strips of made-up numbers as the finder gives them."""

import numpy as np
import pytest
import torch

from lenet5.data import picture_workers
from lenet5.data.number_pictures import MOST_CHARACTERS
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers import found_strips
from lenet5.whole_numbers.found_strips import Strips, has_digits, make_batch, middles_of
from lenet5.whole_numbers.space_displacement import window_count


@pytest.fixture
def few(monkeypatch, no_workers):
    """Six pictures a batch."""
    monkeypatch.setattr(found_strips, "BATCH", 6)


def texts_of(digits: np.ndarray) -> list[str]:
    return ["".join(str(digit) for digit in row if digit >= 0) for row in digits.tolist()]


def test_a_batch_is_reproducible_and_has_the_digits_of_its_strips(few, monkeypatch):
    made = []
    whole = found_strips.make_numbers
    monkeypatch.setattr(
        found_strips, "make_numbers", lambda *args: made.append(whole(*args)) or made[-1]
    )
    first, again, other = (make_batch(1, seed) for seed in (5, 5, 6))
    for name, part in first.items():
        np.testing.assert_array_equal(part, again[name])
    assert not np.array_equal(first["columns"], other["columns"])
    count = len(first["widths"])
    assert 0 < count <= 6
    assert first["columns"].shape == (first["widths"].sum(), 32)
    assert first["columns"].dtype == np.uint8
    assert first["digits"].shape == first["middles"].shape == (count, MOST_CHARACTERS)
    assert ((first["middles"] < 0) == (first["digits"] < 0)).all()
    assert (first["middles"].max(axis=1) < first["widths"]).all()
    for strip in np.split(first["columns"], first["widths"].cumsum()[:-1]):
        assert strip.max() == 255
        assert not strip[:6].any()  # the margin before the ink
    # The numbers of some of the pictures, in their order.
    rest = iter(made[0][2])
    assert all(text in rest for text in texts_of(first["digits"]))


def test_textures_have_no_digits(few):
    found = make_batch(0, 1)
    assert texts_of(found["digits"]) == [""] * len(found["widths"])


def bars(places: list[int]) -> np.ndarray:
    """48×144: bars of 4×24 pixels."""
    picture = np.zeros((48, 144), np.float32)
    for x in places:
        picture[12:36, x : x + 4] = 1
    return picture


def test_a_strip_that_lost_a_digit_is_left_out(few, monkeypatch):
    """Of three pictures, 48×144, all is found, two digits of four, and a half of the last one."""
    places = np.cumsum([bars([x]) * (k + 1) for k, x in enumerate((20, 40, 60, 80))], axis=0)[-1]
    places = torch.from_numpy(np.stack([places] * 3)).byte()
    pictures = torch.rand(3, 3, 48, 144)
    half = bars([20, 40, 60, 80])
    half[24:, 80:] = 0
    found = iter([bars([20, 40, 60, 80]), bars([20, 40]), half])
    monkeypatch.setattr(
        found_strips, "make_numbers", lambda *args: (pictures, None, ["1111", "2222", "3333"], places)
    )
    monkeypatch.setattr(found_strips, "writing_in", lambda *args: 255 * next(found))
    batch = make_batch(8, 0)
    assert texts_of(batch["digits"]) == ["1111"]
    # 8 pixels of paper, then 20 for the 24 of a bar's height: the bars' middles are 20 pixels apart.
    assert batch["middles"][0, :5].tolist() == [10, 26, 43, 59, -1]


def test_a_batch_in_which_nothing_is_found_has_no_strips(few, monkeypatch):
    monkeypatch.setattr(found_strips, "writing_in", lambda picture, *args: 0 * picture[..., 0])
    batch = make_batch(0, 1)
    assert batch["columns"].shape == (0, 32)
    assert batch["digits"].shape == (0, MOST_CHARACTERS)
    assert batch["widths"].dtype == batch["digits"].dtype == np.int64


def test_digits_found_by_hand():
    """Of the second digit's five pixels four are enough."""
    places = np.array([[1, 0, 2, 2, 2, 2, 2]])
    assert has_digits(np.array([[1, 0, 0, 1, 1, 1, 1]]) > 0, places, 2)
    assert not has_digits(np.array([[1, 0, 0, 0, 1, 1, 1]]) > 0, places, 2)
    assert not has_digits(np.ones((1, 7)) > 0, places, 3)  # the third is not in the picture
    assert has_digits(np.zeros((1, 7)) > 0, 0 * places, 0)


def test_middles_of_digits():
    """The first is in columns 0 and 2, the second in 1."""
    places = np.array([[1, 0, 1, 0], [0, 2, 0, 0]])
    assert middles_of(places, 2).tolist() == [1.5, 1.5]
    assert middles_of(places, 0).tolist() == []


def test_strips_beside_each_other_come_apart_in_batches():
    parts = [
        torch.full((32, width), value, dtype=torch.uint8) for width, value in ((3, 7), (5, 8), (2, 9))
    ]
    digits = torch.full((3, MOST_CHARACTERS), -1)
    digits[1, :2] = torch.tensor([4, 2])
    middles = digits + 5
    strips = Strips(torch.cat(parts, dim=1), torch.tensor([3, 8, 10]), digits, middles)
    assert strips.widths().tolist() == [3, 5, 2]
    pictures, widths, own, where = strips.batch(torch.tensor([1, 0]))
    assert pictures.shape == (2, 32, 5)
    assert widths.tolist() == [5, 3]
    assert torch.equal(pictures[0], parts[1])
    assert torch.equal(pictures[1], torch.cat([parts[0], torch.zeros(32, 2)], dim=1))
    assert torch.equal(own, digits[[1, 0]])
    assert torch.equal(where, middles[[1, 0]])


def test_strips_are_kept_in_a_file(few, pool, tmp_path, monkeypatch):
    found = found_strips.found_strips(pool, 100, 0, tmp_path)
    assert found.pixels.shape == (32, found.ends[-1])
    assert len(found.ends) == len(found.digits) > 0
    lengths = (found.digits >= 0).sum(dim=1)
    assert 0 < lengths.max() <= MOST_CHARACTERS
    assert (lengths <= window_count(found.widths())).all()  # so that a path can spell them
    monkeypatch.setattr("lenet5.data.picture_workers.picture_workers", None)  # not called again
    again = found_strips.found_strips(pool, 100, 0, tmp_path)
    assert all(map(torch.equal, found, again))
    with pytest.raises(TypeError):  # of another seed there is no file
        found_strips.found_strips(pool, 100, 1, tmp_path)


def test_an_interrupted_call_goes_on(no_workers, pool, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_workers, "BATCHES_KEPT", 1)
    called: list[int] = []

    def make(number: int, seed: int) -> dict[str, np.ndarray]:
        called.append(number)
        if called == [0, 1]:
            raise UserError("stopped")
        return {"seeds": np.array([seed])}

    arguments = (tmp_path, "seeds", make, pool, 3 * picture_workers.BATCH, 7)
    with pytest.raises(UserError):
        picture_workers.kept_in(*arguments)
    first = picture_workers.FIRST_SEED + 7 * 10**9
    assert picture_workers.kept_in(*arguments)["seeds"].tolist() == [first, first + 1, first + 2]
    assert called == [0, 1, 1, 2]
    assert len(list(tmp_path.iterdir())) == 1  # the parts are gone
