"""Lines of text: what is a number, in which order, and how it comes to its strip."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from generate_test_digits import default_face
from lenet5.imaging.centring import bounding_box
from lenet5.imaging.mnist_format import DIGIT_SIDE
from lenet5.whole_numbers.strips import (
    HIGHEST,
    components,
    digit_height,
    find_numbers,
    group_lines,
    numbers_in,
    size_of,
    split_line,
    usual_height,
)


def boxes_from(*boxes):
    """N+1×5: the paper's, and those given as x, y, width, height."""
    return np.array([(0, 0, 999, 999, 900_000), *((*box, box[2] * box[3]) for box in boxes)])


LINES = boxes_from(
    (100, 50, 10, 20), (10, 52, 10, 20), (25, 48, 10, 20), (15, 5, 10, 20), (30, 4, 9, 20)
)


@pytest.mark.parametrize(
    ("boxes", "numbers"),
    [
        # Two lines; the second has a gap of 60, three times the height.
        (LINES, [[4, 5], [2, 3], [1]]),
        # As in print: digits 4 apart and a gap of 22, with a height of 20; a gap of 18; all 22 apart.
        (boxes_from(*((x, 5, 10, 20) for x in (0, 14, 28, 60, 74))), [[1, 2, 3], [4, 5]]),
        (boxes_from(*((x, 5, 10, 20) for x in (0, 14, 28, 56, 70))), [[1, 2, 3, 4, 5]]),
        (boxes_from(*((32 * i, 5, 10, 20) for i in range(5))), [[1, 2, 3, 4, 5]]),
        # A rising line: each box 6 pixels higher than the last; the first and the last share no row.
        (boxes_from(*((20 * i, 60 - 6 * i, 10, 20) for i in range(6))), [[1, 2, 3, 4, 5, 6]]),
        # Digits 4 apart; the third is in two pieces of 9 rows each, without which the gap is 22.
        (
            boxes_from(*((x, 5, 10, 20) for x in (0, 14, 46, 60, 74)), (29, 5, 9, 9), (28, 16, 10, 9)),
            [[1, 2, 6, 7, 3, 4, 5]],
        ),
        # A small piece within a third of the height, a speck, and a small piece far from any number.
        (boxes_from((10, 10, 12, 20), (24, 12, 5, 6), (200, 100, 2, 2), (60, 10, 6, 6)), [[1, 2]]),
        (boxes_from(), []),
    ],
)
def test_boxes_are_grouped_into_numbers_in_reading_order(boxes, numbers):
    found = find_numbers(boxes)
    assert [sorted(number) for number in found] == [sorted(number) for number in numbers]


@pytest.mark.parametrize(
    ("boxes", "number"),
    [
        # The second of two lines, whose gap of 60 would be between two numbers.
        (LINES, [2, 3, 1]),
        # The line with most ink, not the one with more boxes.
        (boxes_from((0, 5, 10, 20), (14, 5, 10, 20), (0, 50, 40, 22)), [3]),
        # With its small piece, and without what is far from it.
        (boxes_from((10, 10, 12, 20), (24, 12, 5, 6), (60, 10, 6, 6)), [1, 2]),
        (boxes_from((0, 5, 10, 20), (200, 8, 10, 20)), [1, 2]),
    ],
)
def test_one_number_is_all_of_the_line_with_most_ink(boxes, number):
    assert find_numbers(boxes, one=True) == [number]


def test_one_number_on_a_blank_page_is_none():
    assert find_numbers(boxes_from(), one=True) == []


def test_lines_go_from_top_to_bottom_and_each_from_left_to_right():
    assert group_lines(LINES, [1, 2, 3, 4, 5]) == [[4, 5], [2, 3, 1]]
    assert split_line(LINES, [2, 3, 1], 30) == [[2, 3], [1]]


def test_digits_that_touch_on_a_rising_line_are_not_as_high_as_their_box():
    # Five digits of 20×14, each 3 pixels higher than the last: their box is 32 high. A part
    # of a third of it has three of them at most, 26 high together.
    labels = np.zeros((60, 100), np.int32)
    for n in range(5):
        labels[25 - 3 * n : 45 - 3 * n, 10 + 14 * n : 24 + 14 * n] = 1
    boxes = np.array([(0, 0, 100, 60, 4600), (10, 13, 70, 32, 1400)])
    assert 20 <= digit_height(labels, boxes, [1]) <= 26
    labels[:] = 0
    labels[13:45, 10:24] = 1  # one digit that is as high as that
    assert digit_height(labels, np.array([boxes[0], (10, 13, 14, 32, 448)]), [1]) == 32


def test_a_stain_is_no_writing_and_no_measure_of_its_height():
    """24 strokes of 4×20 pixels, and a dark corner of 40×120: faint, then as strong as they are."""
    amount = np.zeros((80, 400), np.float32)
    for i in range(24):
        amount[10:30, 12 * i : 12 * i + 4] = 255
    amount[40:, 280:] = 80
    labels, boxes = components(amount)
    assert boxes[labels[60, 300]].tolist() == [280, 40, 120, 40, 0]
    assert len(find_numbers(boxes)[0]) == 24
    amount[40:, 280:] = 255
    _, boxes = components(amount)
    assert usual_height(boxes) == 20
    assert len(find_numbers(boxes)[0]) == 24


def test_nothing_and_the_grain_of_the_paper_are_no_number(find):
    labels, boxes = components(np.zeros((40, 60), np.float32))
    assert not labels.any()
    assert len(boxes) == 1
    rng = np.random.default_rng(0)
    for levels in (
        np.full((80, 200), 255),
        rng.normal(200, 8, (80, 200)),
        rng.integers(0, 256, (80, 200)),
    ):
        assert numbers_in(levels.clip(0, 255).astype(np.uint8), find) == []


PAGE = ((40, 30, "2718"), (380, 34, "36"), (50, 170, "90210"), (60, 300, "4"))
FONT = ImageFont.truetype(default_face().path, 48)


def draw(texts=PAGE, size=(640, 400), ink=30, paper=235) -> Image.Image:
    """Numbers on a sheet, each given as x, y and its digits."""
    image = Image.new("L", size, paper)
    for x, y, text in texts:
        ImageDraw.Draw(image).text((x, y), text, fill=ink, font=FONT)
    return image


def true_boxes() -> list[tuple[int, int, int, int]]:
    """The boxes of the ink of PAGE's numbers, in reading order."""
    boxes = []
    for text in PAGE:
        alone = np.asarray(draw([text], ink=255, paper=0), np.float32)
        left, top, right, bottom = bounding_box(alone)
        boxes.append((left, top, right - left, bottom - top))
    return boxes


@pytest.mark.parametrize("invert", ["auto", "yes", "no"])
def test_numbers_of_a_page_are_found_in_order(invert, find):
    found = numbers_in(draw(ink=225, paper=20) if invert == "no" else draw(), find, invert)
    # Ink ends a pixel or two earlier or later, as its soft edge is judged.
    assert np.abs(np.array([strip.box for strip in found]) - true_boxes()).max() <= 2


def test_strips_have_the_height_of_the_digits_that_were_learned(find):
    for strip in numbers_in(draw(), find):
        assert strip.picture.shape[0] == 32
        rows = np.flatnonzero((strip.picture > 60).any(axis=1))
        height = rows[-1] - rows[0] + 1
        assert DIGIT_SIDE - 1 <= height <= HIGHEST
        assert abs((rows[0] + rows[-1] + 1) / 2 - 16) <= 1  # in the middle
        # Back to the picture: the strip's own ink is where its box says.
        columns = np.flatnonzero((strip.picture > 60).any(axis=0))
        box = (columns[0], rows[0], columns[-1] - columns[0] + 1, height)
        assert np.abs(np.array(strip.in_picture(box)) - strip.box).max() <= 3


def test_boxes_are_in_pixels_of_the_file_whatever_was_reduced(tmp_path, find):
    large = draw().resize((6 * 640, 6 * 400))  # decoded at a smaller size, then reduced
    large.save(tmp_path / "large.jpg")
    boxes = np.array([strip.box for strip in numbers_in(tmp_path / "large.jpg", find)])
    assert np.abs(boxes - 6 * np.array(true_boxes())).max() <= 18


def test_a_picture_that_lies_on_its_side_has_its_sides_exchanged():
    wide = Image.new("L", (400, 300))
    assert size_of(wide, Image.new("L", (75, 100))) == (300, 400)
    assert size_of(wide, Image.new("L", (100, 75))) == (400, 300)
