"""Numbers made on the fly: what is where, how far apart, and out of which pictures."""

import numpy as np
import pytest
import torch

from benchmarks.made_up_numbers import (
    CLOSEST,
    FARTHEST,
    MOST_DIGITS,
    PLAIN,
    ink_boxes,
    make_strings,
    random_spacing,
)
from lenet5.imaging.centring import bounding_box
from lenet5.imaging.mnist_format import STRIP_HEIGHT

CLEAN = PLAIN._replace(noise=0.0)
UPRIGHT = CLEAN._replace(size=0.0, slant=0.0, slope=0.0, base_line=0.0, middle=0.0)


@pytest.fixture(scope="module")
def digits(mnist):
    return mnist.train_images[:2000], mnist.train_labels[:2000]


def boxes_of(strings, n):
    """The boxes of a number's digits, without the places after its end."""
    return strings.boxes[n][strings.boxes[n, :, 2] > 0].tolist()


def test_shapes_and_lengths(digits):
    strings = make_strings(*digits, 100, seed=0)
    assert strings.pictures.shape[:2] == (100, STRIP_HEIGHT)
    assert strings.pictures.dtype == torch.uint8
    assert strings.labels.shape == (100, MOST_DIGITS)
    assert strings.boxes.shape == (100, MOST_DIGITS, 4)
    # Of 100 numbers each of ten lengths is missing with a chance of 0.9^100, 3 in 100,000.
    assert {len(text) for text in strings.texts()} == set(range(1, 11))
    assert (strings.widths <= strings.pictures.shape[2]).all()
    # Nothing is written after a number's end.
    for picture, width in zip(strings.pictures, strings.widths.tolist(), strict=True):
        assert not picture[:, width:].any()


def test_the_same_seed_gives_the_same_numbers(digits):
    a, b, c = (make_strings(*digits, 20, seed) for seed in (3, 3, 4))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert a.texts() != c.texts()


def test_digits_are_those_of_the_data_set(digits):
    # Plain digits, far apart: each is found in the strip just as it is in its picture.
    images, labels = digits
    strings = make_strings(images, labels, 30, 0, lengths=(4, 4), spacing=20, style=UPRIGHT)
    cut = {}
    for image, label in zip(images.numpy(), labels.tolist(), strict=True):
        left, top, right, bottom = bounding_box(image.astype(np.float32))
        cut[image[top:bottom, left:right].tobytes()] = label
    for n in range(30):
        for (x, y, w, h), label in zip(boxes_of(strings, n), strings.labels[n].tolist(), strict=False):
            ink = strings.pictures[n, y : y + h, x : x + w].numpy()
            assert cut[ink.tobytes()] == label


@pytest.mark.parametrize("spacing", [20, 5, 0, -2, -4])
def test_spacing_is_between_the_boxes_of_the_ink(digits, spacing):
    strings = make_strings(*digits, 40, 1, lengths=(3, 3), spacing=spacing)
    seen = 0
    for n in range(40):
        for (x, _, w, _), (right, _, width, _) in zip(
            boxes_of(strings, n), boxes_of(strings, n)[1:], strict=False
        ):
            # Half of the narrower one stays free.
            wanted = max(spacing, -(min(w, width) // 2))
            assert right - (x + w) == wanted
            seen += wanted == spacing
    assert seen > 60  # of 80: few digits are narrower than 8 pixels


def test_boxes_contain_the_ink(digits):
    strings = make_strings(*digits, 60, 2, lengths=(1, 4), spacing=20, style=CLEAN)
    for n in range(60):
        boxes = boxes_of(strings, n)
        inside = torch.zeros_like(strings.pictures[n], dtype=torch.bool)
        for x, y, w, h in boxes:
            inside[y : y + h, x : x + w] = True
            part = strings.pictures[n, y : y + h, x : x + w]
            # Ink, a fifth of the strongest, on each of the four sides.
            for side in (part[0], part[-1], part[:, 0], part[:, -1]):
                assert side.max() > 0.2 * part.max()
        # What is outside is the faint edge of the ink.
        assert strings.pictures[n][~inside].max() <= 0.2 * 255


def test_slant_moves_the_upper_rows(digits):
    ones = digits[0][digits[1] == 1]
    labels = torch.ones(len(ones), dtype=torch.int64)
    leaning = UPRIGHT._replace(slant=0.3)
    plain, slanted = (
        make_strings(ones, labels, 200, 5, lengths=(1, 1), style=style) for style in (UPRIGHT, leaning)
    )
    rows = torch.arange(STRIP_HEIGHT).float()

    def leans(strings):
        """By how many pixels the ink moves from row to row, for each number."""
        found = []
        for picture in strings.pictures.float():
            columns = torch.arange(picture.shape[1]).float()
            mass = picture.sum()
            x, y = (picture.sum(0) @ columns) / mass, (picture.sum(1) @ rows) / mass
            away = (rows - y)[:, None]
            found.append(((picture * away * (columns - x)).sum() / (picture * away**2).sum()).item())
        return np.array(found)

    # Uniform within ±0.3 has a deviation of 0.17, on top of that of the writers' own hands.
    change = leans(slanted) - leans(plain)
    assert 0.12 < change.std() < 0.22


def test_noise_is_in_every_other_number(digits):
    clean = make_strings(*digits, 200, 6, lengths=(1, 1), style=CLEAN)
    noisy = make_strings(*digits, 200, 6, lengths=(1, 1))
    changed = (clean.pictures != noisy.pictures).flatten(1).any(dim=1).float().mean()
    assert 0.38 < changed < 0.62  # 0.5 ± 3.4 deviations of 0.035


def test_random_spacing_spans_what_is_asked_for():
    drawn = random_spacing(np.random.default_rng(0), 10_000)
    assert (drawn.min(), drawn.max()) == (CLOSEST, FARTHEST) == (-4, 20)
    assert (drawn <= 4).mean() > 0.5


def test_ink_boxes_are_those_of_the_pre_processing(digits):
    images = digits[0][:200].numpy()
    for image, (x, y, w, h) in zip(images, ink_boxes(images).tolist(), strict=True):
        assert bounding_box(image.astype(np.float32)) == (x, y, x + w, y + h)
    assert ink_boxes(np.zeros((1, 28, 28), np.uint8))[0, 2:].tolist() == [1, 1]
