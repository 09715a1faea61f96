"""Each step of the pre-processing on pictures so small that a person can work out what is right."""

import warnings

import numpy as np
import pytest
from PIL import Image

from lenet5.imaging import opening
from lenet5.imaging.centring import bounding_box, centre_digit, put_in_middle
from lenet5.imaging.opening import (
    PictureError,
    from_array,
    in_plain_mode,
    is_deep,
    open_picture,
    stretch,
    to_gray,
    upright,
    without_transparency,
)
from lenet5.imaging.preprocess import (
    find_ink,
    reduced,
    steps,
)


def picture(values) -> Image.Image:
    return Image.fromarray(np.asarray(values, np.uint8))


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
    with pytest.raises(PictureError, match="7×3 pixels are more than are decoded of PNG"):
        open_picture(tmp_path / "many.png")


SHAPES = {
    "L": [(5, 4), (5, 4, 1), (1, 5, 4), (1, 1, 5, 4)],
    "RGB": [(5, 4, 3), (1, 5, 4, 3)],
    "RGBA": [(5, 4, 4)],
}


@pytest.mark.parametrize(("mode", "shape"), [(mode, shape) for mode in SHAPES for shape in SHAPES[mode]])
def test_shapes_of_arrays(mode, shape):
    image = from_array(np.zeros(shape, np.uint8))
    assert (image.mode, image.size) == (mode, (4, 5))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        *((np.zeros(n), "of shape") for n in [(), (5,), (2, 5, 6), (5, 4, 2), (5, 4, 5), (2, 5, 4, 3)]),
        (np.zeros((0, 5)), "the array is empty"),
        (np.array([["a", "b"]]), "an array of <U1 is no picture"),
        (np.zeros((2, 2), complex), "an array of complex128 is no picture"),
        (np.array([[0.5, np.nan]]), "not finite numbers"),
        (np.array([[0.5, np.inf]]), "not finite numbers"),
    ],
)
def test_arrays_that_are_no_pictures(values, words):
    with pytest.raises(PictureError, match=words):
        from_array(values)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([False, True], [0, 255]),
        ([0, 1], [0, 1]),  # integers are levels as they are
        ([1, 200], [1, 200]),
        ([0.0, 1.0], [0, 255]),
        ([0.2, 0.6], [51, 153]),  # a share of white
        ([0.0, 1.5], [0, 2]),  # no share any more; 1.5 is rounded to the even number
        ([0.0, 200.4], [0, 200]),
        ([-0.5, 0.0, 0.5], [0, 128, 255]),
        ([0, 64, 256], [0, 64, 255]),
        ([-1, 254], [0, 255]),
    ],
)
def test_values_of_arrays(values, levels):
    assert np.asarray(from_array([values])).ravel().tolist() == levels


def test_stretching_values_of_any_range():
    values = np.array([np.nan, -np.inf, np.inf, 10.0, 20.0])
    assert stretch(values).tolist() == [0, 0, 0, 127.5, 255]
    assert stretch(np.array([-10.0, 0.0, 30.0])).tolist() == [0, 63.75, 255]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a division by zero
        assert stretch(np.array([7.0, 7.0])).tolist() == [0, 0]


MODES = {  # upright, and for pixels to be averaged
    ("L", "L"): ["1", "L", "LAB"],
    ("L", "RGBA"): ["LA", "RGBA"],
    ("RGB", "RGB"): ["P", "RGB", "CMYK", "YCbCr", "HSV"],
    ("L", "F"): ["I", "F", "I;16", "I;16B"],
}


@pytest.mark.parametrize(("after", "mode"), [(after, mode) for after in MODES for mode in MODES[after]])
def test_modes_one_by_one(after, mode):
    image = Image.new(mode, (3, 2))
    assert (upright(image).mode, in_plain_mode(image).mode) == after
    assert is_deep(image) == (after[1] == "F")


def test_a_level_of_a_gray_picture_that_stands_for_nothing():
    image = picture([[9] * 5 + [200] * 5] * 2)
    image.info["transparency"] = 9
    assert np.asarray(to_gray(image)).tolist() == [[0] * 5 + [255] * 5] * 2  # the opaque are the ink


@pytest.mark.parametrize(
    ("levels", "opacity", "shown"),
    [
        # A drawing of one level is its opacity, even of one pixel.
        ([0, 0, 255, 255], [255, 200, 0, 100], [255, 200, 0, 100]),
        ([7, 0, 0, 0], [255, 0, 0, 0], [255, 0, 0, 0]),
        # Opaque is more than half: if 127 were, there would be two levels; if 128 were not, none.
        ([200, 100], [128, 127], [128, 127]),
        # Levels that differ by an eighth are a picture; so is what is opaque everywhere.
        ([31, 0, 0, 0], [255, 255, 255, 0], [255, 255, 255, 0]),
        ([32, 0, 0, 9], [255, 255, 255, 0], [32, 0, 0, 0]),
        ([50, 50, 50, 50], [255, 255, 255, 255], [50, 50, 50, 50]),
        # The background becomes the median level of the opaque pixels; 51 is a fifth of 255.
        ([255] * 6 + [100] * 4 + [0], [255] * 10 + [0], [255] * 6 + [100] * 4 + [255]),
        ([255] * 4 + [100] * 6 + [0], [255] * 10 + [51], [255] * 4 + [100] * 6 + [80]),
    ],
)
def test_transparency(levels, opacity, shown):
    image = Image.merge("LA", [picture([levels]), picture([opacity])])
    assert np.asarray(without_transparency(image)).ravel().tolist() == shown


def test_a_picture_in_which_nothing_can_be_seen_is_black():
    image = Image.merge("LA", [Image.new("L", (3, 2), 200), Image.new("L", (3, 2), 127)])
    shown = without_transparency(image)
    assert (shown.mode, shown.size) == ("L", (3, 2))
    assert not np.asarray(shown).any()


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


def test_fewer_than_eight_levels_are_no_ink():
    levels = np.full((30, 30), 100, np.uint8)
    levels[10:20, 10:20] = 107
    assert not find_ink(levels).amount.any()
    levels[10:20, 10:20] = 108
    assert find_ink(levels).amount.any()


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


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(80, 20, (5, 20)), (80, 1, (1, 20)), (80, 2, (1, 20)), (1, 80, (20, 1))],
)
def test_the_aspect_is_kept_and_a_stroke_is_at_least_a_pixel_wide(height, width, box):
    assert box_of(centre_digit(block(height, width))) == box


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


def test_a_picture_is_reduced_to_256_pixels_a_side():
    for size, smaller in [((256, 256), (256, 256)), ((257, 99), (129, 50)), ((512, 30), (256, 15))]:
        assert reduced(Image.new("L", size)).size == smaller
