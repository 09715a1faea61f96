"""From any picture to a digit as MNIST has it: the plain way, the views, the looks from near."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lenet5.imaging import preprocess
from lenet5.imaging.centring import bounding_box, centre_digit
from lenet5.imaging.inputs import to_input
from lenet5.imaging.opening import PictureError, upright_picture
from lenet5.imaging.preprocess import all_mnist_like, find_ink, look_at, mnist_like, plain_ink, view_of
from tests.imaging.drawings import centred, contrast, distance, png, seven

# ---------------------------------------------------------------- MNIST's own pictures


def test_mnists_own_pictures_come_out_as_they_always_did(mnist):
    """They need no finder: the same to the bit as before there was one."""
    images = torch.cat([mnist.train_images, mnist.test_images]).numpy()
    digits = np.stack([centre_digit(plain_ink(Image.fromarray(image), "auto")) for image in images])
    assert hashlib.md5(digits.tobytes()).hexdigest() == "89e8ba1fd9e984de03795a52d6a66f14"
    # Exact but for the contrast of pictures whose strokes are not quite saturated,
    # and a few in a thousand with faint pixels far from the rest.
    difference = np.abs(digits.astype(int) - images)
    assert np.mean(difference.max((1, 2)) <= 12) > 0.995
    assert difference.mean() < 0.1


def test_accuracy_on_mnist_does_not_move(mnist, pretrained, find):
    from lenet5.evaluation.metrics import evaluate

    net, metadata = pretrained
    accuracy = []
    ours = [digit for digit, _ in all_mnist_like(mnist.test_images.numpy(), find)]
    for pictures in (mnist.test_images, torch.from_numpy(np.stack(ours))):
        inputs = to_input(pictures, metadata["mean"], metadata["std"])
        accuracy.append(evaluate(net, inputs, mnist.test_labels).accuracy)
    assert abs(accuracy[0] - accuracy[1]) < 0.0005  # DESIGN: 0.05 points


@pytest.mark.parametrize("dark", [True, False])
def test_plain_pictures_in_either_polarity_and_of_any_contrast(mnist, dark):
    """Paper of another level and fainter ink give the same digit, without a finder."""
    for image in mnist.train_images[:50].numpy():
        if (ink := plain_ink(Image.fromarray(image), "auto")) is None:
            continue
        faint = 100 + image.astype(int) * (-90 if dark else 90) // 255
        digit = mnist_like(faint.astype(np.uint8), no_finder)
        assert distance(digit, centre_digit(ink)) < 0.004


def no_finder(pictures):
    raise AssertionError("a plain picture is looked at by no network")


# ---------------------------------------------------------------- what comes out


def test_what_comes_out_is_made_like_mnist():
    picture = centred(seven())
    assert picture.shape == (28, 28)
    assert picture.dtype == np.uint8
    left, top, right, bottom = bounding_box(picture.astype(np.float32))
    assert max(right - left, bottom - top) == 20
    rows, columns = np.mgrid[:28, :28]
    assert (picture * rows).sum() / picture.sum() == pytest.approx(14, abs=0.51)
    assert (picture * columns).sum() / picture.sum() == pytest.approx(14, abs=0.51)
    assert picture.max() >= 250
    assert max(picture[0].max(), picture[-1].max()) < 10


@given(
    x=st.integers(-15, 15),
    y=st.integers(-15, 15),
    dark=st.booleans(),
    contrast=st.integers(60, 255),
)
@settings(max_examples=60, deadline=None)
def test_place_polarity_and_contrast_do_not_matter(x, y, dark, contrast):
    paper, ink = (255, 255 - contrast) if dark else (0, contrast)
    image = seven(ink=ink, paper=paper)
    moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, -x, 0, 1, -y), fillcolor=paper)
    # A stroke's edge falls between two pixels of what the finder sees.
    assert distance(centred(moved), centred(seven())) < 0.03


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 5, 20])
def test_size_does_not_matter(factor):
    image = seven(size=(240, 320), width=30)
    size = (round(240 * factor), round(320 * factor))
    scaled = image.resize(size, Image.Resampling.LANCZOS)
    assert distance(centred(scaled), centred(image)) < 0.03


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3), (3, 3), (10_000, 1)])
def test_tiny_and_flat_pictures_do_not_crash(size, find):
    rng = np.random.default_rng(0)
    for values in (np.zeros(size[::-1]), rng.random(size[::-1])):
        for any_find in (find, contrast):
            assert mnist_like(values, any_find).shape == (28, 28)


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("size", [(28, 28), (30, 40), (300, 200)])
def test_a_blank_picture_is_all_background(level, size, find):
    assert not mnist_like(np.full(size, level, np.uint8), find).any()
    noise = np.random.default_rng(0).integers(-2, 3, size) + min(max(level, 3), 252)
    assert not mnist_like(noise.astype(np.uint8), find).any()


def test_what_the_finder_is_not_certain_of_is_no_ink():
    image = seven(size=(120, 160))
    for share, is_blank in ((0.49, True), (0.6, False)):
        digit = mnist_like(image, lambda pictures, share=share: share * contrast(pictures))
        assert digit.any() != is_blank


@pytest.mark.parametrize("side", [28, 200])  # the plain way, and the finder's
def test_invert_says_which_side_is_ink(side):
    dark = seven(size=(side, side), width=side // 9)
    bright = seven(size=(side, side), width=side // 9, ink=255, paper=0)
    assert np.array_equal(centred(dark, "yes"), centred(dark))
    assert np.array_equal(centred(bright, "no"), centred(bright))
    assert not centred(dark, "no").any()  # nothing is brighter than the paper
    assert not centred(bright, "yes").any()


def test_invert_chooses_among_what_the_finder_marks():
    """Of a black and a white bar on gray, both marked, one is ink."""
    levels = np.full((200, 200), 128, np.uint8)
    levels[20:180, 10:30], levels[90:110, 110:190] = 0, 255
    for invert, (height, width) in {"yes": (20, 3), "no": (5, 20), "auto": (18, 20)}.items():
        left, top, right, bottom = bounding_box(centred(levels, invert).astype(np.float32))
        assert (bottom - top, right - left) == pytest.approx((height, width), abs=1)


# ---------------------------------------------------------------- views and looks


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.25])
def test_a_small_digit_is_looked_at_from_near(share):
    """The last look shows the whole digit and hardly more, each pixel as it is in the picture."""
    side = 380
    digit = seven(
        size=(round(0.75 * share * side), round(share * side)), width=max(1, round(share * 30))
    )
    sheet = Image.new("L", (side, side), 255)
    sheet.paste(digit, (200, 90))
    whole = view_of(sheet)
    first = bounding_box(contrast(whole.scaled.transpose(2, 0, 1)[None])[0, 0])
    ((view, ink, _),) = find_ink([whole], contrast)
    last = bounding_box(ink)
    heights = [box[3] - box[1] for box in (first, last)]
    assert heights[1] > max(30, 1.5 * heights[0])
    assert (view.picture < 128).sum() == (whole.picture < 128).sum()
    left, top = (a - b for a, b in zip(dark_corner(whole), dark_corner(view), strict=True))
    height, width = view.picture.shape[:2]
    np.testing.assert_array_equal(view.picture, whole.picture[top:, left:][:height, :width])


def dark_corner(view):
    """The left and the top of what is dark in a view's picture."""
    return bounding_box(255 - view.picture[..., 0].astype(np.float32))[:2]


def test_a_large_digit_is_looked_at_once():
    seen = []

    def counted(pictures):
        seen.append(pictures.shape)
        return contrast(pictures)

    centred_once = mnist_like(seven(size=(300, 300), width=30), counted)
    assert seen == [(1, 3, 96, 96)]
    assert centred_once.any()


@pytest.mark.parametrize("ratio", [1, 1.5, 2, 4, 8, 20, 40])
@pytest.mark.parametrize("upright", [True, False])
def test_the_sheets_form_does_not_matter(ratio, upright):
    """What the finder sees has sides of 16 pixels and more; the digit keeps its height and width."""
    image = seven(size=(18, 18), width=2) if ratio <= 20 else seven(size=(9, 9), width=1)
    short = image.height
    size = (short, round(ratio * short)) if upright else (round(ratio * short), short)
    sheet = Image.new("RGB", size, "white")
    sheet.paste(image, ((size[0] - image.width) // 3, (size[1] - image.height) // 3))
    picture, found = look_at(sheet, contrast)
    assert (found.view.picture < 128).sum() == (picture < 128).sum()  # nothing is cut off
    assert distance(found.digit, centred(image.convert("RGB"))) < 0.05


def darkness(pictures):
    """A finder: dark is ink."""
    dark = 1 - pictures.mean(axis=1, keepdims=True, dtype=np.float32) / 255
    return np.repeat(dark, 2, axis=1)


@pytest.mark.parametrize("x", [0, 280])
@pytest.mark.parametrize("y", [0, 260])
def test_ink_at_the_rim_is_all_there(x, y):
    """A bar that ends at the rim or in the corner is cut off on no side."""
    sheet = Image.new("L", (300, 300), 255)
    sheet.paste(0, (x, y, x + 20, y + 40))
    left, top, right, bottom = bounding_box(mnist_like(sheet, darkness).astype(np.float32))
    assert (right - left, bottom - top) == pytest.approx((10, 20), abs=1)


def test_a_picture_in_which_nothing_is_found_stays_whole():
    view = view_of(Image.new("L", (300, 100), 255))
    (found,) = find_ink([view], lambda pictures: np.zeros_like(pictures[:, :2], dtype=np.float32))
    assert found.view is view
    assert found.ink.shape == (32, 96)
    assert not found.ink.any()
    assert not found.digit.any()


# ---------------------------------------------------------------- many at once


def test_many_at_once_are_as_one_by_one_and_in_order(tmp_path, mnist):
    """Plain ones, of every mode, of many shapes, large and small, and what is no picture."""
    rng = np.random.default_rng(0)
    sources = [*mnist.test_images[:80].numpy()]
    modes = ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "I", "F"]
    sources += [seven(size=(28, 28), width=3, mode=mode) for mode in modes]
    shapes = rng.integers(1, 200, (60, 2))
    sources += [seven(size=tuple(shape), width=1 + min(shape) // 10) for shape in shapes.tolist()]
    sheet = Image.new("L", (1000, 900), 255)
    sheet.paste(seven(), (700, 500))
    sources += [sheet, np.full((28, 28), np.nan), tmp_path / "none.png"]  # the last two cannot be read
    order = rng.permutation(len(sources))
    for invert in ("auto", "yes", "no"):
        found = all_mnist_like((sources[i] for i in order), contrast, invert)
        assert len(found) == len(sources)
        for i, (digit, error) in zip(order, found, strict=True):
            if i < len(sources) - 2:
                np.testing.assert_array_equal(digit, centred(sources[i], invert))
                assert error is None
            else:
                with pytest.raises(PictureError, match=error):
                    centred(sources[i])
                assert digit is None
    assert all_mnist_like([], contrast) == []


def test_the_finder_gets_batches_of_one_shape(monkeypatch):
    monkeypatch.setattr(preprocess, "FINDER_BATCH", 4)
    sizes = [(300, 300), (300, 100), (100, 300)] * 3 + [(200, 200)] * 2
    shapes = []

    def recorded(pictures):
        assert pictures.dtype == np.uint8
        shapes.append(pictures.shape)
        return contrast(pictures)

    views = [view_of(seven(size=size, width=20)) for size in sizes]
    found = find_ink(views, recorded)
    first = [(4, 3, 96, 96), (1, 3, 96, 96), (3, 3, 32, 96), (3, 3, 96, 32)]
    assert shapes[:4] == first
    assert [one.view.picture.shape for one in found] == [(*size[::-1], 3) for size in sizes]


def test_a_picture_without_memory_is_one_of_many(monkeypatch):
    reduced = preprocess.reduced

    def with_little_memory(image, *side):
        if image.width > 1000:
            raise MemoryError
        return reduced(image, *side)

    monkeypatch.setattr(preprocess, "reduced", with_little_memory)
    sources = [seven(), seven(size=(1200, 900)), seven(size=(28, 28), width=3)]
    found = all_mnist_like(sources, contrast)
    assert [error for _, error in found] == [None, "this machine has not enough memory for it", None]
    assert all((digit is None) == (error is not None) for digit, error in found)


def test_the_picture_that_was_looked_at_is_upright_and_reduced():
    image = seven(size=(600, 800), width=60)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned by 90 degrees to the right
    picture, found = look_at(turned, contrast)
    assert picture.shape == (267, 200, 3)
    np.testing.assert_array_equal(picture, found.view.picture)
    np.testing.assert_array_equal(found.digit, centred(image))
    assert upright_picture(turned).size == (600, 800)


def test_a_plain_picture_is_shown_with_its_ink():
    image = png(seven(size=(28, 28), width=3))
    picture, found = look_at(image, no_finder)
    assert picture.shape == (28, 28, 3)
    np.testing.assert_array_equal(found.ink, 255 - np.asarray(image, np.float32))
    np.testing.assert_array_equal(found.digit, centre_digit(found.ink))
