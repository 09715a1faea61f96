"""Strips of made-up numbers as the finder gives them."""

import numpy as np
import pytest
import torch

from lenet5.data.number_pictures import MOST_CHARACTERS
from lenet5.whole_numbers import found_strips
from lenet5.whole_numbers.found_strips import Strips, make_batch, share_found
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
    assert first["digits"].shape == (count, MOST_CHARACTERS)
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


def test_a_strip_that_lost_writing_is_left_out(few, monkeypatch):
    """Of three pictures all is found, two bars of four, and three of four."""
    masks = torch.from_numpy(np.stack([bars([20, 40, 60, 80])] * 3))[:, None]
    found = iter([[20, 40, 60, 80], [20, 40], [20, 40, 60]])
    monkeypatch.setattr(
        found_strips,
        "make_numbers",
        lambda *args: (masks.repeat(1, 3, 1, 1), masks, ["1111", "2222", "3333"]),
    )
    monkeypatch.setattr(found_strips, "writing_in", lambda *args: 255 * bars(next(found)))
    batch = make_batch(1, 0)
    assert texts_of(batch["digits"]) == ["1111", "3333"]
    assert batch["widths"][0] - batch["widths"][1] == pytest.approx(20 * 20 / 24, abs=1)  # as high as 20


def test_share_found_by_hand():
    mask = np.array([[0.5, 1.0, 0.5, 0.0]])
    assert share_found(np.array([[9.0, 0.0, 1.0, 200.0]]), mask) == pytest.approx(0.5)
    assert share_found(np.zeros((1, 4)), np.zeros((1, 4))) == 0


def test_strips_beside_each_other_come_apart_in_batches():
    parts = [
        torch.full((32, width), value, dtype=torch.uint8) for width, value in ((3, 7), (5, 8), (2, 9))
    ]
    digits = torch.full((3, MOST_CHARACTERS), -1)
    digits[1, :2] = torch.tensor([4, 2])
    strips = Strips(torch.cat(parts, dim=1), torch.tensor([3, 8, 10]), digits)
    assert strips.widths().tolist() == [3, 5, 2]
    pictures, widths, own = strips.batch(torch.tensor([1, 0]))
    assert pictures.shape == (2, 32, 5)
    assert widths.tolist() == [5, 3]
    assert torch.equal(pictures[0], parts[1])
    assert torch.equal(pictures[1], torch.cat([parts[0], torch.zeros(32, 2)], dim=1))
    assert torch.equal(own, digits[[1, 0]])


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
