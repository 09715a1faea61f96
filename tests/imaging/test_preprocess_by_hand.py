"""Each step of the pre-processing on pictures so small that a person can work out what is right."""

import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from lenet5.imaging import opening, preprocess
from lenet5.imaging.centring import bounding_box, centre_digit, put_in_middle
from lenet5.imaging.ink import Strokes
from lenet5.imaging.inputs import to_pixels
from lenet5.imaging.opening import (
    PictureError,
    from_array,
    in_plain_mode,
    is_deep,
    of_moderate_size,
    open_picture,
    stretch,
    to_gray,
    upright,
    without_transparency,
)
from lenet5.imaging.preprocess import (
    find_ink,
    from_near,
    has_two_levels,
    ink_in,
    paper_beside_ink,
    reduced,
    steps,
)


def gray(*rows, dtype=np.uint8) -> np.ndarray:
    return np.array(rows, dtype)


def picture(values, mode=None) -> Image.Image:
    image = Image.fromarray(np.asarray(values, np.uint8))
    return image if mode is None else image.convert(mode)


# ---------------------------------------------------------------- files


def test_what_is_wrong_with_a_file_is_said_in_these_words(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    Image.new("L", (9, 9)).save(tmp_path / "digit.eps")
    for path, words in [
        (tmp_path, "it is a folder, and no picture was found in it"),
        ("/dev/null", "it is not a regular file"),
        (tmp_path / "empty.png", "the file is empty"),
        (tmp_path / "text.png", "it is not a picture that Pillow can read"),
        (
            tmp_path / "digit.eps",
            "it may be a program in PostScript, which is not run here: save it as PNG",
        ),
    ]:
        with pytest.raises(PictureError, match=f"^{re.escape(words)}$"):
            open_picture(path)


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
@pytest.mark.parametrize("size", [(4096, 2048), (2048, 4096)])
def test_a_photograph_is_decoded_with_no_less_than_1024_pixels_a_side(tmp_path, form, size):
    sheet = Image.new("L", size, 99)
    more = {"save_all": True, "append_images": [sheet]} if form == "MPO" else {}
    sheet.save(tmp_path / "photo.jpg", form, **more)
    photo = open_picture(tmp_path / "photo.jpg")
    assert (photo.format, photo.size) == (form, (size[0] // 2, size[1] // 2))


def test_a_size_that_is_just_decoded(tmp_path, monkeypatch):
    monkeypatch.setitem(opening.MOST_DECODED, "PNG", 20)
    Image.new("L", (5, 4)).save(tmp_path / "few.png")
    assert open_picture(tmp_path / "few.png").size == (5, 4)
    Image.new("L", (7, 3)).save(tmp_path / "many.png")
    words = "7×3 pixels are more than are decoded of PNG here: save it as PNG"
    with pytest.raises(PictureError, match=f"^{words}$"):
        open_picture(tmp_path / "many.png")


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("shape", "mode"),
    [
        ((5, 4), "L"),
        ((5, 4, 1), "L"),
        ((1, 5, 4), "L"),
        ((1, 1, 5, 4), "L"),
        ((5, 4, 3), "RGB"),
        ((5, 4, 4), "RGBA"),
        ((1, 5, 4, 3), "RGB"),
    ],
)
def test_shapes_of_arrays(shape, mode):
    image = from_array(np.zeros(shape, np.uint8))
    assert (image.size, image.mode) == ((4, 5), mode)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5, 6), (5, 4, 2), (5, 4, 5), (2, 5, 4, 3), (1, 1, 5)])
def test_shapes_that_are_no_pictures(shape):
    words = f"an array of shape {shape} is no picture"
    with pytest.raises(PictureError, match=f"^{re.escape(words)}$"):
        from_array(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((0, 5)), "the array is empty"),
        (np.array([["a", "b"]]), "an array of <U1 is no picture"),
        (np.zeros((2, 2), complex), "an array of complex128 is no picture"),
        (np.array([[0.5, np.nan]]), "the array holds values that are not finite numbers"),
        (np.array([[0.5, np.inf]]), "the array holds values that are not finite numbers"),
    ],
)
def test_values_that_are_no_pictures(values, words):
    with pytest.raises(PictureError, match=f"^{re.escape(words)}$"):
        from_array(values)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([[False, True]], [0, 255]),
        ([[0, 1]], [0, 1]),  # whole numbers are levels as they are
        ([[0, 100]], [0, 100]),
        ([[100, 255]], [100, 255]),
        ([[1, 200]], [1, 200]),
        ([[0.0, 1.0]], [0, 255]),
        ([[0.2, 0.6]], [51, 153]),  # a share of white
        ([[0.0, 1.5]], [0, 2]),  # no share any more; 1.5 is rounded to the even number
        ([[0.0, 200.4]], [0, 200]),
        ([[-0.5, 0.0, 0.5]], [0, 128, 255]),
        ([[-5, 0, 5]], [0, 128, 255]),
        ([[0, 64, 256]], [0, 64, 255]),
        ([[-1, 254]], [0, 255]),
    ],
)
def test_values_of_arrays(values, levels):
    assert np.asarray(from_array(values)).ravel().tolist() == levels


def test_stretching_values_of_any_range():
    values = np.array([np.nan, -np.inf, np.inf, 10.0, 20.0])
    assert stretch(values).tolist() == [0, 0, 0, 127.5, 255]
    assert stretch(np.array([-10.0, 0.0, 30.0])).tolist() == [0, 63.75, 255]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a division by zero
        assert stretch(np.array([7.0, 7.0])).tolist() == [0, 0]


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize(
    ("mode", "after", "plain"),
    [
        ("1", "L", "L"),
        ("L", "L", "L"),
        ("LA", "L", "RGBA"),
        ("P", "RGB", "RGB"),
        ("RGB", "RGB", "RGB"),
        ("RGBA", "L", "RGBA"),
        ("CMYK", "RGB", "RGB"),
        ("YCbCr", "RGB", "RGB"),
        ("HSV", "RGB", "RGB"),
        ("LAB", "L", "L"),
        ("I", "L", "F"),
        ("F", "L", "F"),
        ("I;16", "L", "F"),
        ("I;16B", "L", "F"),
    ],
)
def test_modes_one_by_one(mode, after, plain):
    image = Image.new(mode, (3, 2))
    assert upright(image).mode == after
    assert in_plain_mode(image).mode == plain
    assert is_deep(image) == (plain == "F")


def test_a_level_of_a_gray_picture_that_stands_for_nothing():
    image = picture([[9] * 5 + [200] * 5] * 2)
    image.info["transparency"] = 9
    assert np.asarray(to_gray(image)).tolist() == [[0] * 5 + [255] * 5] * 2  # the opaque are the ink


def test_more_pixels_than_are_worked_with_are_averaged(monkeypatch):
    monkeypatch.setattr(opening, "MOST_PIXELS", 24)
    image = picture([[10, 20, 30, 40] * 2, [20, 30, 40, 50] * 2] * 3)  # 48 pixels
    assert np.asarray(of_moderate_size(image)).tolist() == [[20, 40, 20, 40]] * 3
    monkeypatch.setattr(opening, "MOST_PIXELS", 48)
    assert of_moderate_size(image) is image


# ---------------------------------------------------------------- transparency


def see_through(levels, opacity) -> np.ndarray:
    bands = [picture([levels]), picture([opacity])]
    return np.asarray(without_transparency(Image.merge("LA", bands))).ravel().tolist()


def test_a_drawing_of_one_level_is_its_opacity():
    assert see_through([0, 0, 255, 255], [255, 200, 0, 100]) == [255, 200, 0, 100]
    assert see_through([7, 0, 0, 0], [255, 0, 0, 0]) == [255, 0, 0, 0]  # even of one pixel


def test_opaque_is_what_is_more_than_half_so():
    """If 127 were, there would be two levels; if 128 were not, there would be nothing."""
    assert see_through([200, 100], [128, 127]) == [128, 127]


def test_levels_that_differ_by_an_eighth_are_a_picture():
    assert see_through([31, 0, 0, 0], [255, 255, 255, 0]) == [255, 255, 255, 0]
    assert see_through([32, 0, 0, 9], [255, 255, 255, 0]) == [32, 0, 0, 0]


def test_a_picture_that_is_opaque_everywhere_stays():
    assert see_through([50, 50, 50, 50], [255, 255, 255, 255]) == [50, 50, 50, 50]


def test_a_picture_goes_on_in_the_level_that_most_of_it_has():
    shown = [255] * 6 + [100] * 4
    assert see_through([*shown, 0], [255] * 10 + [0]) == [*shown, 255]
    shown = [255] * 4 + [100] * 6
    assert see_through([*shown, 0], [255] * 10 + [0]) == [*shown, 100]
    assert see_through([*shown, 0], [255] * 10 + [51]) == [*shown, 80]  # a fifth of its own level


def test_a_picture_in_which_nothing_can_be_seen_is_black():
    image = Image.merge("LA", [Image.new("L", (3, 2), 200), Image.new("L", (3, 2), 127)])
    shown = without_transparency(image)
    assert (shown.mode, shown.size) == ("L", (3, 2))
    assert not np.asarray(shown).any()


# ---------------------------------------------------------------- the ink of a small picture


@pytest.mark.parametrize("side", [20, 28, 55, 56, 58, 84])
def test_the_paper_is_the_median_of_a_border_a_28th_wide(side):
    rng = np.random.default_rng(side)
    levels = np.full((side, side + 3), 109, np.uint8)
    for ring in range(4):  # each brighter than the one around it
        levels[ring : side - ring, ring : side + 3 - ring] = 100 + 2 * ring
        levels[ring, :] = rng.integers(90, 112, side + 3)
    levels[side // 2, side // 2] = 250
    width, border = max(1, side // 28), []
    for (row, column), level in np.ndenumerate(levels):
        sides = [row < width, row >= side - width, column < width, column >= side + 3 - width]
        border += [level] * sum(sides)  # corners are of two sides
    assert find_ink(levels).paper == np.median(border)


def on_noisy_paper(one, two) -> np.ndarray:
    """Paper whose columns have two levels by turns."""
    levels = np.full((30, 30), one, np.uint8)
    levels[:, ::2] = two
    return levels


def test_what_is_within_three_deviations_of_the_border_is_no_ink():
    """Levels of 98 and 102 are 2 from their median: 2.965 deviations of normal noise, three are 8.9."""
    levels = on_noisy_paper(98, 102)
    levels[5:12, 5:12], levels[5:12, 15:22], levels[15:22, 5:12] = 109, 108, 200
    amount = find_ink(levels).amount
    assert (amount[8, 8], amount[8, 18], amount[18, 8]) == (9, 0, 100)
    assert not amount[25:, :].any()


@pytest.mark.parametrize(("levels", "left"), [((100, 101), 0), ((100, 100), 100)])
def test_grains_are_taken_from_noisy_paper_alone(levels, left):
    sheet = on_noisy_paper(*levels)
    sheet[15, 15] = 200
    assert find_ink(sheet).amount[15, 15] == left


@pytest.mark.parametrize(("height", "stays"), [(4, True), (5, False)])
def test_a_picture_that_is_all_border_keeps_its_grains(height, stays):
    sheet = np.full((height, 30), 100, np.uint8)
    sheet[:, 15:] = 101  # half of the border
    sheet[2, 8] = 200
    assert bool(find_ink(sheet).amount.any()) == stays


@pytest.mark.parametrize(("side", "paper"), [(12, 0), (19, 0), (20, 255)])
def test_ink_along_the_border_of_a_tiny_picture_is_not_its_paper(side, paper):
    """The corners are of paper; from 20 pixels on a digit is not drawn so that it fills the border."""
    levels = np.zeros((side, side), np.uint8)
    levels[1:-1, [0, -1]] = levels[[0, -1], 1:-1] = 255
    assert find_ink(levels).paper == paper


def test_ink_is_on_the_side_with_more_energy():
    levels = np.full((30, 30), 100, np.uint8)
    levels[5:9, 5:9], levels[20:24, 20:24] = 150, 50
    assert not find_ink(levels).dark  # as much on both
    levels[12, 12] = 99
    found = find_ink(levels)
    assert found.dark
    assert (found.amount[5, 5], found.amount[20, 20], found.amount.dtype) == (0, 50, np.float32)


def test_ink_is_where_invert_says():
    levels = np.full((30, 30), 100, np.uint8)
    levels[5:9, 5:9], levels[20:24, 20:24] = 220, 50
    for invert, dark, energy in (("yes", True, 50 * 16), ("no", False, 120 * 16), ("auto", False, 1920)):
        found = find_ink(levels, invert)
        assert found.dark is dark
        assert found.amount.sum() == energy


@pytest.mark.parametrize(("contrast", "found"), [(7, False), (8, True)])
def test_less_than_eight_levels_are_no_ink(contrast, found):
    levels = np.full((30, 30), 100, np.uint8)
    levels[10:20, 10:20] = 100 + contrast
    assert bool(find_ink(levels).amount.any()) == found


# ---------------------------------------------------------------- two levels, and ink at the border


def test_two_levels_are_told_from_grain():
    rng = np.random.default_rng(0)
    assert has_two_levels(gray([0] * 50 + [100] * 50))
    assert has_two_levels(gray([0] * 5 + [100] * 85))
    assert has_two_levels(np.arange(256, dtype=np.uint8).repeat(4))  # all levels alike: 0.75
    assert not has_two_levels(rng.normal(128, 5, 10_000).round())  # 0.64
    assert not has_two_levels(rng.normal(128, 30, 10_000).round())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of the mean of nothing
        assert not has_two_levels(np.full((9, 9), 77, np.uint8))


def test_two_levels_are_looked_for_without_the_outer_twentieths():
    """Of 1,000 pixels 55 are dark: they are still a group; 45 would be dust."""
    assert has_two_levels(gray([0] * 55 + [100] * 945))
    assert not has_two_levels(gray([0] * 45 + [100] * 955))


EVERY_LEVEL = np.arange(101, dtype=np.uint8)  # a twentieth of it is 5, the middle 50


def sheet_with_corners(left, right) -> np.ndarray:
    """A row of all levels from 0 to 100 with these two at its ends, which are its corners."""
    inner = [level for level in EVERY_LEVEL if level not in (left, right)]
    return gray([left, *inner, right])


def test_paper_beside_ink_is_where_the_corners_are():
    bright, dark = np.arange(100, 201), np.arange(41)
    border = np.concatenate([bright, dark]).astype(np.uint8)
    # Of 100 ... 200 three quarters are below 175; above it half are within 12.5.
    assert paper_beside_ink(sheet_with_corners(70, 80), border, "auto") == (175, 12.5 / 0.48)
    assert paper_beside_ink(sheet_with_corners(50, 51), border, "auto") == (175, 12.5 / 0.48)
    # Of 0 ... 40 a quarter is below 10; below it half are within 5.
    assert paper_beside_ink(sheet_with_corners(40, 42), border, "auto") == (10, 5 / 0.48)
    assert paper_beside_ink(sheet_with_corners(49, 51), border, "auto") == (10, 5 / 0.48)


def test_a_level_in_the_middle_is_none_of_the_bright():
    border = gray([50, 50, 60, 60])[0]
    assert paper_beside_ink(sheet_with_corners(70, 80), border, "auto") == (60, 0)
    assert paper_beside_ink(sheet_with_corners(20, 30), border, "auto") == (50, 0)


def test_paper_beside_ink_is_where_invert_says():
    border = gray([10, 10, 90, 90])[0]
    assert paper_beside_ink(sheet_with_corners(20, 30), border, "yes") == (90, 0)  # the ink is dark
    assert paper_beside_ink(sheet_with_corners(70, 80), border, "no") == (10, 0)


def test_paper_that_is_not_at_the_border_is_that_end_of_the_levels():
    assert paper_beside_ink(sheet_with_corners(70, 80), gray([20, 20])[0], "auto") == (95, 0)
    assert paper_beside_ink(sheet_with_corners(20, 30), gray([80, 80])[0], "auto") == (5, 0)


# ---------------------------------------------------------------- 28×28


def block(height, width, side=100, level=200) -> np.ndarray:
    amount = np.zeros((side, side), np.float32)
    amount[5 : 5 + height, 7 : 7 + width] = level
    return amount


def box_of(digit) -> tuple:
    left, top, right, bottom = bounding_box(digit.astype(np.float32))
    return right - left, bottom - top


def test_no_ink_is_28_times_28_zeros():
    blank = centre_digit(np.zeros((9, 9), np.float32))
    assert (blank.shape, blank.dtype, blank.any()) == ((28, 28), np.uint8, False)


@pytest.mark.parametrize(("height", "width"), [(80, 1), (80, 2), (1, 80)])
def test_the_thinnest_stroke_is_a_pixel_wide(height, width):
    across = 1 if height > width else 20
    assert box_of(centre_digit(block(height, width))) == (across, 21 - across)


def test_even_ink_is_as_strong_as_mnists():
    """No filter makes the edge of a stroke stronger than the stroke (as a bicubic one does)."""
    for level in (40, 200):
        assert centre_digit(block(80, 60, level=level)).max() == 253


def test_the_strongest_ink_is_as_strong_as_mnists_and_faint_ink_stays_faint():
    """Though nine parts in ten have 0.4 of the strength: what has less than half does not count."""
    amount = block(80, 60, level=80)
    amount[5:11, 7:67] = 200
    digit = centre_digit(amount)
    assert digit.max() == 253
    assert 90 < digit[14, 14] < 120


def test_a_digit_is_moved_by_whole_pixels_and_its_box_stays_inside():
    for (row, column), place in [
        ((0, 0), (6, 6)),  # the centre of mass would be at 14 + 2; the box of 24 has no room
        ((23, 23), (21, 21)),
        ((0, 23), (6, 21)),
        ((12, 11), (14, 14)),
    ]:
        digit = np.zeros((24, 24), np.float32)
        digit[row, column] = 100.4
        assert np.argwhere(put_in_middle(digit)).tolist() == [list(place)]
        assert put_in_middle(digit).max() == 100


# ---------------------------------------------------------------- all steps


def test_the_steps_of_a_picture():
    levels = np.full((40, 30), 250, np.uint8)
    levels[10:30, 12:16] = 20
    found = steps(levels)
    assert np.array_equal(found.picture, levels)
    for ink in (found.everything, found.ink):
        assert np.array_equal(ink, np.float32(250) - levels)
    assert found.dark is True
    assert box_of(found.digit) == (4, 20)
    assert steps(255 - levels).dark is False


def test_a_picture_without_pixels():
    with pytest.raises(PictureError, match=r"^the picture has no pixels$"):
        steps(Image.new("L", (0, 5)))


@pytest.fixture
def strokes(monkeypatch):
    """What `find_strokes` is asked for, which finds nothing and a bit of dust."""
    asked = []

    def find(picture, dark, within):
        asked.append((picture.shape, dark, within))
        nothing = np.zeros(picture.shape[:2], np.float32)
        return Strokes(everything=nothing + 1, amount=nothing, dark=False, sharpness=0.0)

    monkeypatch.setattr("lenet5.imaging.ink.find_strokes", find)
    return asked


@pytest.mark.parametrize("shape", [(48, 48), (48, 60, 3), (60, 48)])
def test_there_is_room_for_lines_and_shadows_from_48_pixels_on(strokes, shape):
    within = np.ones(shape[:2], np.uint8)
    everything, amount, dark = ink_in(np.full(shape, 99, np.uint8), True, within)
    ((seen, was_dark, where),) = strokes
    assert (seen, was_dark) == (shape, True)
    assert where is within
    assert (everything.min(), amount.max(), dark) == (1, 0, False)  # those of find_strokes


@pytest.mark.parametrize("shape", [(47, 60), (60, 47, 3)])
def test_there_is_none_below(strokes, shape):
    ink_in(np.full(shape, 99, np.uint8), None)
    assert strokes == []


@pytest.mark.parametrize(("contrast", "is_digit"), [(100, False), (101, True)])
def test_where_no_strokes_are_found_strong_ink_may_fill_the_picture(strokes, contrast, is_digit):
    levels = np.full((50, 50), 120, np.uint8)
    levels[10:40, 20:30] += contrast
    everything, amount, _ = ink_in(levels, None)
    assert bool(amount.any()) == is_digit
    assert everything.max() == (contrast if is_digit else 1)


@pytest.mark.parametrize(("dark", "strongest"), [(None, 120), (True, 50), (False, 120)])
def test_the_ink_of_a_small_picture_is_on_the_side_that_is_asked_for(dark, strongest):
    levels = np.full((30, 30), 100, np.uint8)
    levels[5:9, 5:9], levels[20:24, 20:24] = 220, 50
    everything, amount, was_dark = ink_in(levels, dark)
    assert everything.max() == amount.max() == strongest
    assert was_dark is (dark is True)


def test_a_picture_is_reduced_to_256_pixels_a_side():
    for size, smaller in [((256, 256), (256, 256)), ((257, 99), (129, 50)), ((512, 30), (256, 15))]:
        assert reduced(Image.new("L", size)).size == smaller


@pytest.mark.parametrize("dark", [True, False])
def test_the_side_of_the_ink_is_the_same_from_near(monkeypatch, dark):
    asked = []

    def look(image, amount, dark):
        asked.append(dark)
        return amount

    monkeypatch.setattr(preprocess, "from_near", look)
    levels = np.full((30, 30), 200 if dark else 20, np.uint8)
    levels[10:20, 12:16] = 110
    steps(levels)
    assert asked == [dark]


@pytest.fixture
def near(monkeypatch):
    """What `from_near` looks at."""
    asked = []

    def look(picture, dark, within=None):
        asked.append((picture, dark, within))
        return None, "seen from near", dark

    monkeypatch.setattr(preprocess, "ink_in", look)
    return asked


def test_a_small_digit_is_looked_at_again_with_what_is_beside_it(near):
    rng = np.random.default_rng(0)
    sheet = rng.integers(0, 255, (512, 512, 3)).astype(np.uint8)
    amount = np.zeros((256, 256), np.float32)
    amount[120:140, 100:110] = 0.5  # faint
    assert from_near(Image.fromarray(sheet), amount, True) == "seen from near"
    ((seen, dark, within),) = near
    # Half of the longer side and 2 pixels more on each side, at twice the resolution.
    assert np.array_equal(seen, sheet[2 * 108 : 2 * 152, 2 * 88 : 2 * 122])
    assert dark is True
    expected = np.zeros((88, 68), np.uint8)
    expected[2 * 10 : 2 * 34, 2 * 10 : 2 * 24] = 1  # two pixels around the digit
    assert np.array_equal(within, expected)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 236), (236, 0), (236, 236)])
def test_what_is_looked_at_ends_with_the_picture(near, top, left):
    sheet = np.arange(511 * 511, dtype=np.uint32).reshape(511, 511).astype(np.uint8)  # 256 when reduced
    amount = np.zeros((256, 256), np.float32)
    amount[top : top + 20, left : left + 20] = 200
    from_near(Image.fromarray(sheet), amount, False)
    ((seen, _, within),) = near
    rows = slice(0, 2 * 32) if top == 0 else slice(2 * 224, 511)
    columns = slice(0, 2 * 32) if left == 0 else slice(2 * 224, 511)
    assert np.array_equal(seen, sheet[rows, columns])
    assert within.shape == seen.shape


def test_what_fills_a_picture_or_was_not_reduced_is_not_looked_at_again(near):
    amount = np.zeros((256, 256), np.float32)
    assert from_near(Image.new("L", (512, 512)), amount, True) is amount  # there is no ink
    amount[50:150, 50:140] = 200  # with half of it on each side 204 pixels
    assert from_near(Image.new("L", (512, 512)), amount, True) is amount
    amount[:] = 0
    amount[50:60, 50:60] = 200
    assert from_near(Image.new("L", (256, 256)), amount, True) is amount
    assert near == []


def test_inputs_back_to_pixels_stay_between_black_and_white():
    inputs = torch.tensor([-9.0, 0.0, 1.0, 9.0]).view(1, 1, 2, 2)
    assert to_pixels(inputs, 0.5, 0.25).tolist() == [[[0, 0.5], [0.75, 1]]]
