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
    upright,
)
from lenet5.imaging.preprocess import (
    at_true_ratio,
    from_near,
    ink_of,
    look_at,
    plain_ink,
    reduced,
    view_of,
)
from tests.imaging.drawings import contrast


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
    ("L", "RGBA"): ["LA"],
    ("RGB", "RGBA"): ["RGBA"],
    ("RGB", "RGB"): ["P", "RGB", "CMYK", "YCbCr", "HSV"],
    ("L", "F"): ["I", "F", "I;16", "I;16B"],
}


@pytest.mark.parametrize(("after", "mode"), [(after, mode) for after in MODES for mode in MODES[after]])
def test_modes_one_by_one(after, mode):
    image = Image.new(mode, (3, 2))
    assert (upright(image).mode, in_plain_mode(image).mode) == after
    assert is_deep(image) == (after[1] == "F")


# ---------------------------------------------------------------- plain pictures


def test_plain_ink_is_the_distance_from_the_rims_level():
    levels = np.full((30, 20), 100, np.uint8)
    levels[5:9, 5:9], levels[20, 7] = 50, 99
    ink = plain_ink(picture(levels), "auto")
    assert ink.dtype == np.float32
    np.testing.assert_array_equal(ink, 100 - levels)
    np.testing.assert_array_equal(plain_ink(picture(255 - levels), "auto"), ink)


@pytest.mark.parametrize(
    ("invert", "level", "is_ink"),
    [("yes", 50, True), ("yes", 150, False), ("no", 50, False), ("no", 150, True)],
)
def test_plain_ink_is_where_invert_says(invert, level, is_ink):
    levels = np.full((30, 30), 100, np.uint8)
    levels[5:9, 5:9] = level
    assert plain_ink(picture(levels), invert).any() == is_ink


def test_fewer_than_eight_levels_are_no_ink():
    levels = np.full((30, 30), 100, np.uint8)
    levels[10:20, 10:20] = 107
    assert not plain_ink(picture(levels), "auto").any()
    levels[10:20, 10:20] = 108
    assert plain_ink(picture(levels), "auto").any()


def test_what_is_not_plain():
    levels = np.full((32, 32), 100, np.uint8)
    levels[5:9, 5:9] = 50
    assert plain_ink(picture(levels), "auto") is not None
    assert plain_ink(picture(np.pad(levels, ((0, 1), (0, 0)), "edge")), "auto") is None  # 33 rows
    colours = picture(levels).convert("RGB")
    np.testing.assert_array_equal(plain_ink(colours, "auto"), plain_ink(picture(levels), "auto"))
    colours.putpixel((20, 20), (100, 100, 101))
    assert plain_ink(colours, "auto") is None
    for rows, columns in ((0, np.s_[3:]), (-1, np.s_[3:]), (np.s_[3:], 0), (np.s_[3:], -1)):
        other = levels.copy()
        other[rows, columns][:12] = 99  # of the rim's 124 pixels, on each side
        assert plain_ink(picture(other), "auto") is not None
        other[rows, columns][12] = 99
        assert plain_ink(picture(other), "auto") is None
    levels[20, 20] = 101  # darker and brighter than the paper
    assert plain_ink(picture(levels), "auto") is None


@pytest.mark.parametrize(("side", "is_plain"), [(8, True), (16, True), (17, False)])
def test_in_few_pixels_much_of_the_rim_may_be_ink(side, is_plain):
    """A stroke takes much of the rim of a tiny picture."""
    levels = np.zeros((side, side), np.uint8)
    levels[:, 2:5] = levels[0] = 200
    ink = plain_ink(picture(levels), "auto")
    assert (ink is not None) == is_plain
    if is_plain:
        np.testing.assert_array_equal(ink, levels)


# ---------------------------------------------------------------- views, masks and looks


@pytest.mark.parametrize(
    ("size", "smaller"),
    [
        ((384, 384), (384, 384)),
        ((385, 99), (193, 50)),
        ((1152, 99), (384, 33)),
        ((1153, 30), (1153, 30)),  # a strip keeps 32 pixels
        ((3000, 70), (1500, 35)),
    ],
)
def test_a_picture_is_reduced_to_384_pixels_a_side(size, smaller):
    assert reduced(Image.new("L", size)).size == smaller


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((1, 1), (96, 96)),
        ((200, 200), (96, 96)),
        ((384, 192), (96, 48)),
        ((80, 200), (32, 96)),  # 38.4, and the nearest multiple of 16
        ((300, 70), (144, 32)),  # a strip keeps 32 pixels, 137.1
        ((384, 4), (384, 16)),  # 4, and never less than 16
        ((100_000, 40), (16_384, 16)),
    ],
)
def test_what_the_finder_sees(size, seen):
    view = view_of(Image.new("L", size, 7))
    assert view.picture.shape == (size[1], size[0], 3)
    assert view.scaled.shape == (seen[1], seen[0], 3)
    assert (view.picture == 7).all()
    assert (view.scaled == 7).all()


def test_masks_by_hand():
    mask = np.array([[0.9, 0.51, 0.3, 0.1, 0.05]], np.float32)
    gray = np.array([[10, 200, 10, 90, 90]], np.uint8)  # paper of 90
    colours = np.stack([gray] * 3, axis=-1)
    for invert, kept in {
        "auto": [0.9, 0.51, 0.3, 0, 0],
        "yes": [0.9, 0, 0.3, 0, 0],
        "no": [0, 0.51, 0, 0, 0],
    }.items():
        np.testing.assert_array_equal(ink_of(mask, colours, invert), np.float32([kept]))
    np.testing.assert_array_equal(ink_of(mask, colours, "auto", 0.5), np.float32([[0.9, 0.51, 0, 0, 0]]))
    assert not ink_of(np.minimum(mask, np.float32(0.5)), colours, "auto").any()  # never certain
    assert ink_of(np.ones((1, 5), np.float32), colours, "yes").all()  # no paper to compare with


def test_a_look_from_near_by_hand():
    """Ink in 12×6 of the 96×48 pixels that were seen of 384×192: a quarter of each, so 48×24."""
    rows, columns = np.mgrid[:192, :384]
    view = view_of(Image.fromarray(np.stack([rows, columns % 256, columns // 256], 2).astype(np.uint8)))
    mask = np.zeros((48, 96), np.float32)
    mask[20:26, 30:42] = 0.6
    mask[10, 10] = 0.4  # perhaps ink
    near = from_near(view, mask)
    top, left = near.picture[0, 0, 0], near.picture[0, 0, 1]
    assert (top, left) == (80 - 32, 120 - 32)  # half of 48, and two pixels of the mask
    assert near.picture.shape[:2] == (104 + 32 + 1 - top, 168 + 32 + 1 - left)
    np.testing.assert_array_equal(near.picture, view.picture[top:, left:][:89, :113])
    mask[20:26, 30:79] = 0.6  # 49 of 96: more than half
    assert from_near(view, mask) is None
    assert from_near(view, np.zeros_like(mask)) is None
    tiny = view_of(Image.new("L", (16, 16)))
    assert from_near(tiny, np.pad(np.ones((9, 9), np.float32), (0, 87))) is None  # has no more pixels


def test_ink_has_the_pictures_form():
    view = view_of(Image.new("L", (300, 70)))
    ink = at_true_ratio(view.picture, np.full(view.scaled.shape[:2], 0.5, np.float32))
    assert (ink.shape, ink.dtype) == ((34, 144), np.float32)
    np.testing.assert_allclose(ink, 127.5)


# ---------------------------------------------------------------- centring


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


def test_a_picture_without_pixels():
    with pytest.raises(PictureError, match=r"^the picture has no pixels$"):
        look_at(Image.new("L", (0, 5)), contrast)
