"""Pictures with transparency: what is visible in them is visible when they are opened."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lenet5.imaging.opening import upright, upright_picture
from lenet5.reading.classifier import ImageClassifier
from tests.conftest import DIGITS, PRETRAINED

ALPHAS = [16, 40, 80, 127, 128, 255]
MODES = ["RGBA", "LA", "P"]
INKS = {"black": 0, "white": 255}


def mask_of(digit: int) -> Image.Image:
    """The ink of a test digit, 0 to 255, which is 255 at its darkest."""
    return Image.open(DIGITS / f"digit_{digit}.png").convert("L").point(lambda level: 255 - level)


def translucent(mask: Image.Image, ink: int, alpha: int, mode: str) -> Image.Image:
    """A drawing on a transparent sheet, whose invisible levels say nothing of its ink."""
    opacity = mask.point(lambda share: share * alpha // 255)
    if mode == "P":  # each index has the level of the ink and another opacity
        image = opacity.convert("L").convert("P")
        image.putpalette([ink] * 3 * 256)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", transparency=bytes(range(256)))
        buffer.seek(0)
        return Image.open(buffer)
    gray = Image.new("L", mask.size, 255 - ink)
    gray.paste(ink, mask=opacity.point(lambda share: 255 if share else 0))
    return Image.merge(mode, [gray] * (len(mode) - 1) + [opacity])


@pytest.fixture(scope="module")
def classifier():
    return ImageClassifier(PRETRAINED)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_translucent_ink_has_the_contrast_of_its_opacity(mode, ink, alpha):
    mask = mask_of(3)
    opened = upright(translucent(mask, INKS[ink], alpha, mode))
    assert opened.mode == ("L" if mode == "LA" else "RGB")
    opacity = np.asarray(mask).astype(int) * alpha // 255
    expected = 255 - opacity if ink == "black" else opacity  # on white, on black
    assert opacity.max() == alpha
    np.testing.assert_array_equal(np.asarray(opened.convert("L")), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_translucent_digits_are_read(classifier, mode, ink, alpha):
    pictures = [translucent(mask_of(digit), INKS[ink], alpha, mode) for digit in range(10)]
    assert [result.prediction for result in classifier.predict_batch(pictures)] == list(range(10))


def test_coloured_ink_keeps_its_colour():
    image = Image.new("RGBA", (40, 30), (0, 255, 0, 0))
    ImageDraw.Draw(image).rectangle((10, 10, 19, 19), fill=(200, 30, 30, 255))
    opened = np.asarray(upright(image))
    assert (opened[10:20, 10:20] == (200, 30, 30)).all()
    assert (opened[0, 0] == 255).all()


@pytest.mark.parametrize(("levels", "paper"), [((0, 255), range(120, 136)), ((0, 200), range(90, 111))])
def test_inks_of_two_levels_are_both_visible(levels, paper):
    """Black and white, and black beside much more of a light gray."""
    image = Image.new("LA", (40, 30))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 39, 9), fill=(levels[1], 255))
    draw.rectangle((10, 20, 19, 22), fill=(levels[0], 255))
    opened = np.asarray(upright(image))
    assert (opened[5, 5], opened[21, 15]) == levels[::-1]
    assert opened[15, 15] in paper


def test_what_is_opaque_stays_as_it_is():
    """A label with transparent corners, and a photograph that fades towards its rim."""
    gray = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    rows, columns = np.mgrid[-1:1:60j, -1:1:80j]
    fading = (255 * (1.4 - np.hypot(rows, columns)).clip(0, 1)).astype(np.uint8)
    for opacity in (np.where(fading < 100, 0, 255).astype(np.uint8), fading, np.full_like(fading, 255)):
        opened = np.asarray(upright(Image.fromarray(np.dstack([gray, opacity]))))
        assert (opened[opacity == 255] == gray[opacity == 255]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_sheet_with_nothing_on_it_has_one_level(mode):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, len(mode)), dtype=np.uint8)
    noise[..., -1] = 0
    opened = upright_picture(Image.fromarray(noise))
    assert opened.size == (40, 30)
    assert len(np.unique(np.asarray(opened))) == 1


def test_a_level_or_a_colour_that_is_said_to_be_transparent():
    image = Image.fromarray(np.array([[9] * 5 + [200] * 5] * 2, np.uint8))
    image.info["transparency"] = 9
    assert np.asarray(upright(image)).tolist() == [[0] * 5 + [200] * 5] * 2
    image = Image.new("RGB", (4, 1), (9, 8, 7))
    image.putpixel((1, 0), (20, 30, 40))
    image.info["transparency"] = (9, 8, 7)
    assert np.asarray(upright(image)).tolist() == [[[255] * 3, [20, 30, 40], [255] * 3, [255] * 3]]
