"""The drawing page reads whole numbers in a real browser, as Python does.

Its scripts are compared with strips.py, space_displacement.py and decoding.py. Nothing here depends
on what the shipped weights have learned.
"""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks.made_up_numbers import make_strings
from generate_test_digits import default_face
from lenet5.export import html_page
from lenet5.networks.weights import load_weights, save_weights
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.decoding import search, spelled_at
from lenet5.whole_numbers.space_displacement import BLANK, TrainedNumbers
from lenet5.whole_numbers.strip_reader import NetworkReader
from lenet5.whole_numbers.strips import find_numbers, numbers_in
from model import build
from tests.browser import (
    READ_NUMBERS,
    READ_STRIP,
    STROKES,
    as_pixels,
    hand_over,
    settled,
    sheet_of,
    strokes_of,
    touch,
    wait_for,
)
from tests.browser import draw as draw_slowly
from tests.conftest import PRETRAINED

OWN = html_page.OWN
# Gray levels that a strip's pixels may be away on average: the finder's weights have 16 bits here.
# A few strips may be farther away, where that decides whether a pixel is ink.
AWAY, FEW = 0.1, 3
# Of a probability: the weights have 14 bits, and sums are in float32.
ROUNDED = 2e-3


@pytest.fixture(scope="module")
def reader():
    """The network over the strip, in Python; the graph is not on the page."""
    return NetworkReader(TrainedNumbers(html_page.NUMBERS, device="cpu"))


@pytest.fixture
def numbers(tab):
    """The page where whole numbers are drawn."""
    tab.check("#modes input[value=number]")
    return tab


def draw(tab, strokes) -> None:
    """Draw with as few moves as can be: the page reads the sheet after each of them."""
    draw_slowly(tab, strokes, steps=1)


def expected_of(reader, find, image: Image.Image) -> list[str]:
    """The numbers that Python's network finds likeliest in a picture, those without digits left out."""
    found = [search(reader.shares([strip.picture])[0])[0][0] for strip in numbers_in(image, find)]
    return ["".join(map(str, digits)) for digits in found if digits]


# ---------------------------------------------------------------- from ink to strips


def on_paper(lines: list, size, rng, paper=245, ink=20) -> Image.Image:
    """Strips of handwriting, each (strip, x, y, height), on a sheet with a little grain."""
    sheet = np.full(size[::-1], paper, np.float32) + rng.normal(0, 2, size[::-1])
    for strip, x, y, height in lines:
        small = Image.fromarray(strip).resize((round(strip.shape[1] * height / 32), height))
        amount = np.asarray(small, np.float32) / 255
        part = sheet[y : y + height, x : x + amount.shape[1]]
        part += (ink - paper) * amount[: part.shape[0], : part.shape[1]]
    return Image.fromarray(sheet.clip(0, 255).astype(np.uint8))


def drawn_pictures(mnist) -> list[Image.Image]:
    """48 pictures: a number, several on a line, two lines; written and printed, on many papers."""
    rng = np.random.default_rng(5)
    made = make_strings(mnist.train_images[:999], mnist.train_labels[:999], 120, 4, lengths=(1, 6))
    strips = made.strips()
    pictures = []
    for i in range(48):
        first, second = strips[2 * i : 2 * i + 2]
        kind, height = i % 6, int(rng.integers(24, 70))
        width = round(height / 32 * (first.shape[1] + second.shape[1])) + 4 * height
        if kind == 0:  # one number on a sheet of any size, in either polarity
            bright = i % 12 == 0
            levels = {"paper": 15, "ink": 240} if bright else {"paper": 225, "ink": 60}
            at = int(rng.integers(5, 60)), int(rng.integers(5, 60))
            pictures.append(on_paper([(first, *at, height)], (width, height + 80), rng, **levels))
        elif kind == 1:  # two numbers on a line
            right = round(first.shape[1] * height / 32) + 2 * height
            found = [(first, 10, 12, height), (second, right, 15, height)]
            pictures.append(on_paper(found, (width, height + 40), rng))
        elif kind == 2:  # two lines
            found = [(first, 30, 8, height), (second, 12, 20 + height, height)]
            pictures.append(on_paper(found, (width, 2 * height + 40), rng))
        elif kind == 3:  # in print, in colours, on two lines
            colours = [tuple(rng.integers(*levels, 3).tolist()) for levels in ((180, 255), (0, 90))]
            picture = Image.new("RGB", (420, 60 + 2 * height), colours[0])
            font = ImageFont.truetype(default_face().path, height)
            for y, text in ((8, "31 4159"), (22 + height, "2718")):
                ImageDraw.Draw(picture).text((9, y), text, fill=colours[1], font=font)
            pictures.append(picture)
        elif kind == 4:  # cut so close that there is hardly any paper, or very small
            picture = Image.fromarray(255 - first)
            pictures.append(picture if i % 12 == 4 else picture.resize((2 * picture.width, 64)))
        else:  # on ruled paper, or all in the opacity
            picture = on_paper([(first, 40, 20, height)], (width, height + 60), rng)
            ImageDraw.Draw(picture).line((0, height + 30, width, height + 30), fill=120, width=2)
            if i % 12 == 5:
                seen = Image.eval(picture, lambda level: 255 - level)
                picture = Image.merge("LA", (Image.new("L", seen.size), seen))
            pictures.append(picture)
    return pictures


def test_page_brings_48_drawn_pictures_to_the_strips_of_python(numbers, reader, mnist, find):
    pictures = drawn_pictures(mnist)
    counts, farther = set(), []
    for start in range(0, len(pictures), 20):
        chunk = pictures[start : start + 20]
        found = numbers.evaluate(READ_NUMBERS, [as_pixels(picture) for picture in chunk])
        for i, (answers, picture) in enumerate(zip(found, chunk, strict=True), start):
            strips = numbers_in(picture, find)
            counts.add(len(strips))
            for answer, strip in zip(answers, strips, strict=True):
                theirs, ours = np.array(answer["strip"]), strip.picture.ravel().astype(int)
                if theirs.size != ours.size or np.abs(theirs - ours).mean() > AWAY:
                    farther.append(f"picture {i}, {picture.mode} {picture.size}")
                # On its own strip the page says what Python says of it.
                own = np.array(answer["strip"], np.uint8).reshape(32, -1)
                (shares,) = reader.shares([own])
                assert np.abs(np.array(answer["shares"]) - shares).max() < ROUNDED
    assert len(farther) <= FEW, farther
    assert {1, 2} <= counts


@pytest.mark.parametrize(("invert", "numbers_found"), [("yes", 1), ("no", 0)])
def test_strips_know_the_polarity_that_is_given(numbers, find, invert, numbers_found):
    picture = Image.new("L", (30, 20), 255)
    ImageDraw.Draw(picture).rectangle((12, 4, 15, 15), fill=0)
    script = READ_NUMBERS.replace("data: bytes}", f"data: bytes}}, '{invert}'")
    (found,) = numbers.evaluate(script, [as_pixels(picture)])
    assert len(found) == len(numbers_in(picture, find, invert)) == numbers_found


@pytest.mark.parametrize(
    "boxes",
    [
        [(100, 50, 10, 20), (10, 52, 10, 20), (25, 48, 10, 20), (15, 5, 10, 20), (30, 4, 9, 20)],
        [(x, 5, 10, 20) for x in (0, 14, 28, 60, 74)],  # a wide space
        [(32 * i, 5, 10, 20) for i in range(5)],  # wide spacing
        [(20 * i, 60 - 6 * i, 10, 20) for i in range(6)],  # a line that rises
        [(10, 10, 12, 20), (24, 12, 5, 6), (200, 100, 2, 2), (60, 10, 6, 6)],  # specks
        [(0, 5, 10, 20), (19, 21, 4, 4), (32, 5, 10, 20), (46, 5, 10, 20)],  # a monospaced point
        [],
    ],
)
def test_numbers_among_boxes_are_those_of_python(numbers, boxes):
    found = numbers.evaluate(
        """boxes => findNumbers([{x: 0, y: 0, w: 999, h: 999, area: 0},
            ...boxes.map(([x, y, w, h]) => ({x, y, w, h, area: w * h}))])""",
        boxes,
    )
    ink = sum(w * h for _, _, w, h in boxes)
    expected = [(0, 0, 999, 999, 999 * 999 - ink), *((*box, box[2] * box[3]) for box in boxes)]
    assert found == find_numbers(np.array(expected))


# ---------------------------------------------------------------- the network and the search


@pytest.mark.parametrize(
    ("width", "temperature"), [(1, 1.0), (4, 1.0), (30, 1.0), (33, 1.0), (90, 1.0), (90, 1.7)]
)
def test_row_of_answers_has_python_s_windows_at_every_width(numbers, reader, width, temperature):
    strip = np.random.default_rng(width).integers(0, 256, (32, width), dtype=np.uint8)
    found = numbers.evaluate(
        """([width, temperature, values]) => {
            const strip = {width, height: 32, values: Uint8Array.from(values)};
            return sharesOf({...loadedOnce(numberNetwork), temperature}, strip).map(row => [...row]);
        }""",
        [width, temperature, strip.ravel().tolist()],
    )
    metadata = {**reader.network.metadata, "temperature": temperature}
    network = SimpleNamespace(logits=reader.network.logits, metadata=metadata)
    (expected,) = NetworkReader(network).shares([strip])
    assert np.array(found).shape == expected.shape
    assert np.abs(np.array(found) - expected).max() < ROUNDED


def random_rows(count: int) -> list[np.ndarray]:
    """Rows of shares from sure to without any idea, some with long stretches of "between"."""
    rng = np.random.default_rng(11)
    rows = []
    for i in range(count):
        windows = int(rng.integers(1, 60))
        shares = rng.dirichlet([(0.03, 0.1, 0.4, 2.0)[i % 4]] * 11, windows)
        shares[rng.random(windows) < 0.3] = np.eye(11)[BLANK]
        shares[1::3] = shares[::3][: len(shares[1::3])]  # repeats, which are one digit
        rows.append(shares)
    return rows


def test_search_and_alignment_are_python_s_on_200_random_rows(numbers):
    rows = random_rows(200)
    found = numbers.evaluate(
        """rows => rows.map(row => {
            const [{digits, probability}] = search(row);
            return {...spelledAt(row, digits, probability), least: search(row, 2, 1)[0]};
        })""",
        [row.tolist() for row in rows],
    )
    lengths = set()
    for row, answer in zip(rows, found, strict=True):
        digits, probability = search(row)[0]
        lengths.add(len(digits))
        assert answer["digits"] == digits
        assert answer["confidence"] == pytest.approx(probability, abs=1e-6)
        spelling = spelled_at(row, digits, probability)
        assert answer["windows"] == spelling.windows
        assert answer["confidences"] == pytest.approx(spelling.confidences, abs=1e-9)
        digits, probability = search(row, beam=2, adjacent=1.0)[0]
        assert answer["least"]["digits"] == digits
        assert answer["least"]["probability"] == pytest.approx(probability, abs=1e-6)
    assert {0, 1, 5} <= lengths


def test_numbers_of_mnist_s_test_digits_are_read_as_python_reads_them(numbers, reader, mnist):
    made = make_strings(mnist.test_images, mnist.test_labels, 100, 1, lengths=(1, 6))
    strips = made.strips()
    found = [numbers.evaluate(READ_STRIP, [s.shape[1], s.flatten().tolist()]) for s in strips]
    texts = made.texts()
    right = 0
    for (text, confidence), strip, truth in zip(found, strips, texts, strict=True):
        digits, probability = search(reader.shares([strip])[0])[0]
        assert text == "".join(map(str, digits))
        assert confidence == pytest.approx(probability, abs=ROUNDED)
        right += text == truth
    assert right > 50  # what reads less than half has not read the strips at all


# ---------------------------------------------------------------- the page


LAYOUTS = {
    "one": [strokes_of("1984")],
    "two": [strokes_of("36", 0, 60, 0.6), strokes_of("90", 500, 60, 0.6)],
    "lines": [strokes_of("271", 20, -10, 0.55), strokes_of("8045", 20, 135, 0.55)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strokes_of_a_pointer_are_read_as_python_reads_the_sheet(numbers, reader, find, layout):
    for strokes in LAYOUTS[layout]:
        draw(numbers, strokes)
    verdict = settled(numbers)
    expected = expected_of(reader, find, sheet_of(numbers))
    assert numbers.inner_text("#digit") == " ".join(expected) != ""
    assert numbers.locator("#strips .strip").count() == len(LAYOUTS[layout])
    # A bar for each digit, and its place above the strip and on the shares.
    digits = [*"".join(expected)]
    assert numbers.locator("#bars li > span:first-child").all_inner_texts() == digits
    assert numbers.locator(".said span").all_inner_texts() == digits
    assert numbers.locator(".scores span").count() == len(digits)
    wait_for(numbers, "find('spoken').textContent === find('verdict').textContent")
    assert verdict.startswith(("Unsure", expected[0]))


def test_shares_are_shown_under_their_places(numbers):
    draw(numbers, strokes_of("47"))
    settled(numbers)
    reading = numbers.evaluate(
        """(({shares, ...rest}) => ({shares: shares.map(row => [...row]), ...rest}))(
            readStrip(loadedOnce(numberNetwork), numbersIn(pixels())[0]))"""
    )
    seen, scores, *frames = (
        numbers.locator(place).nth(i).bounding_box()
        for place, i in [(".strip > canvas", 0), (".scores canvas", 0)]
        + [(".scores span", i) for i in range(len(reading["digits"]))]
    )
    # 2 pixels of the strip for a window; the first window's middle is the strip's first pixel.
    assert seen["x"] == pytest.approx(scores["x"], abs=0.6)
    assert seen["width"] == pytest.approx(scores["width"], abs=0.6)
    width, height = scores["width"] / len(reading["shares"]), scores["height"] / 11
    for frame, window, digit in zip(frames, reading["windows"], reading["digits"], strict=True):
        assert frame["x"] == pytest.approx(scores["x"] + window * width, abs=0.6)
        assert frame["y"] == pytest.approx(scores["y"] + digit * height, abs=0.6)
    sizes = numbers.evaluate(
        "[...document.querySelectorAll('.strip canvas')].map(c => [c.width, c.height])"
    )
    windows = len(reading["shares"])
    assert sizes == [[2 * windows, 32], [windows, 11]]
    # The brightest of the frame's column is the digit's own.
    bright = numbers.evaluate(
        """x => {
            const canvas = document.querySelector(".scores canvas"), context = canvas.getContext("2d");
            return [...Array(11).keys()].map(row => context.getImageData(x, row, 1, 1).data[0]);
        }""",
        reading["windows"][0],
    )
    column = reading["shares"][reading["windows"][0]]
    assert int(np.argmax(bright)) == int(np.argmax(column))


def test_each_mode_keeps_its_drawing(numbers):
    draw(numbers, strokes_of("12"))
    settled(numbers)
    number = numbers.inner_text("#digit")
    assert numbers.is_hidden("#layers")
    assert numbers.is_hidden("#choice")
    numbers.check("#modes input[value=digit]")
    assert "Nothing is drawn" in settled(numbers)
    assert numbers.is_hidden("#along")
    assert numbers.locator("#bars li").count() == 10
    draw(numbers, STROKES[7])
    settled(numbers)
    assert numbers.inner_text("#digit") == "7"
    numbers.check("#modes input[value=number]")
    settled(numbers)
    assert numbers.inner_text("#digit") == number
    numbers.check("#modes input[value=digit]")
    settled(numbers)
    assert numbers.inner_text("#digit") == "7"


def test_mode_is_chosen_and_a_number_drawn_by_the_keyboard(tab, reader, find):
    tab.focus("#modes input[value=digit]")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("mode") == "number"
    tab.focus("#sheet")
    for sideways in ("ArrowLeft", "ArrowRight"):  # of the middle of the sheet, and back to it
        for keys in ([sideways] * 9, ["ArrowUp"] * 6, [" "], ["ArrowDown"] * 12, [" "], ["ArrowUp"] * 6):
            for key in keys:
                tab.keyboard.press(key)
    settled(tab)
    expected = expected_of(reader, find, sheet_of(tab))
    assert tab.inner_text("#digit") == " ".join(expected)
    assert tab.evaluate("numbersIn(pixels()).length") == 1
    tab.keyboard.press("Delete")
    assert "Nothing is drawn" in settled(tab)
    assert tab.locator("#strips > *").count() == 0
    assert tab.locator("#bars > *").count() == 0
    tab.click("#undo")
    settled(tab)
    assert tab.inner_text("#digit") == " ".join(expected)
    tab.click("#clear")
    assert settled(tab) == "Nothing is drawn yet."
    assert tab.inner_text("#digit") == ""


def printed_page(lines: tuple = ((60, "5062"), (250, "781"))) -> Image.Image:
    """Lines in print at heights, higher than wide, as no sheet of the page is."""
    picture = Image.new("L", (300, 420), 240)
    font = ImageFont.truetype(default_face().path, 60)
    for y, text in lines:
        ImageDraw.Draw(picture).text((40, y), text, fill=20, font=font)
    return picture


def test_picture_with_numbers_is_read_as_python_reads_it(numbers, reader, find):
    """A second one takes the first one's place."""
    for count, picture in ((2, printed_page()), (1, printed_page(((150, "946"),)))):
        file = io.BytesIO()
        picture.save(file, "PNG")
        hand_over(numbers, "paste", file.getvalue())
        wait_for(numbers, f"actions.length === {3 - count}")
        settled(numbers)
        assert numbers.inner_text("#digit") == " ".join(expected_of(reader, find, picture)) != ""
        assert numbers.locator("#strips .strip").count() == count


def test_saved_number_has_the_same_strip_in_python(numbers, find, tmp_path):
    draw(numbers, strokes_of("305"))
    settled(numbers)
    with numbers.expect_download() as download:
        numbers.click("#save")
    assert download.value.suggested_filename == "number.png"
    download.value.save_as(tmp_path / "number.png")
    (strip,) = numbers_in(tmp_path / "number.png", find)
    found = np.array(numbers.evaluate("[...numbersIn(pixels())[0].values]"))
    assert np.abs(found - strip.picture.ravel().astype(int)).mean() <= AWAY


def test_ink_without_digits_and_unsure_answers_are_said(numbers):
    """Shares made by hand take the network's place."""
    draw(numbers, ["100,100 400,180"])
    settled(numbers)

    def verdict_of(rows):
        return numbers.evaluate(
            """rows => {
                const strip = mask(2 * rows.length - 2, 32), found = search(rows);
                const {digits, probability} = found[0];
                const reading = {strip, shares: rows, found, ...spelledAt(rows, digits, probability)};
                showNumbers([reading], digits.length ? [reading] : []);
                return [find("digit").textContent, find("verdict").textContent];
            }""",
            rows,
        )

    between, three_or_eight = np.eye(11)[BLANK].tolist(), np.zeros(11)
    three_or_eight[[3, 8, BLANK]] = 0.45, 0.35, 0.2
    assert verdict_of([between] * 4) == ["?", "No number: no digit in the ink."]
    rows = [between, three_or_eight.tolist(), between]
    assert verdict_of(rows) == ["3", "Unsure: 3 or 8?"]
    assert numbers.locator("#bars li.best").count() == 0
    surer = np.zeros(11)
    surer[[3, BLANK]] = 0.9, 0.1
    assert verdict_of([between, surer.tolist(), between]) == ["3", "3, 90.0\u00a0% sure."]
    assert numbers.locator("#bars li.best").count() == 1


def test_numbers_fit_every_width(numbers):
    draw(numbers, strokes_of("7" * 8, 10, 60, 0.65))  # a long number
    settled(numbers)
    for width in (1280, 900, 360, 320):
        numbers.set_viewport_size({"width": width, "height": 740})
        assert numbers.evaluate("document.documentElement.scrollWidth") <= width
        sheet = numbers.locator("#sheet").bounding_box()
        assert sheet["width"] == pytest.approx(3 * sheet["height"], rel=0.03)
        assert sheet["width"] > 0.6 * width


# ---------------------------------------------------------------- which networks are on the page


def test_numbers_are_not_read_beside_classes_that_are_no_digits(browser, tmp_path):
    save_weights(tmp_path / "two.pth", build("lenet5", 2), classes=["cat", "dog"])
    assert html_page.write(tmp_path / "two.html", tmp_path / "two.pth") == ["two"]
    tab = browser.new_page()
    tab.goto((tmp_path / "two.html").as_uri())
    assert tab.is_hidden("#modes")
    tab.close()


def test_own_network_of_numbers_takes_the_place_of_the_shipped_one(tmp_path):
    own = tmp_path / "own-numbers.pth"
    net, metadata = load_weights(html_page.NUMBERS)
    save_weights(own, net, classes=metadata["classes"])
    names = [network["name"] for network in html_page.networks(PRETRAINED, [own])]
    assert names == ["lenet5", "own-numbers"]


def test_page_with_a_larger_network_has_no_room_for_the_paper_s(tmp_path):
    names = html_page.write(tmp_path / "page.html", PRETRAINED.with_name("lenet5-padded.pth"))
    assert names == ["lenet5-padded", "lenet5-numbers"]
    assert (tmp_path / "page.html").stat().st_size <= html_page.MOST_BYTES
    # Whoever names it gets it.
    named = html_page.networks(PRETRAINED.with_name("lenet5-padded.pth"), [OWN])
    assert [network["name"] for network in named] == ["lenet5-padded", "lenet5-1998", "lenet5-numbers"]


def test_networks_that_have_no_place_are_refused_in_a_line():
    with pytest.raises(UserError, match="reads whole numbers: name it after --beside"):
        html_page.networks(html_page.NUMBERS)
    with pytest.raises(UserError, match="more than one network of whole numbers"):
        html_page.networks(PRETRAINED, [html_page.NUMBERS, html_page.NUMBERS])


def test_strokes_of_a_finger_are_read_as_python_reads_the_sheet(browser, page_file, reader, find):
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto(page_file.as_uri())
    tab.tap("#modes label:last-child")
    wait_for(tab, "mode === 'number'")
    for left in (200, 400):
        touch(tab, [(left, 50 + 20 * i) for i in range(10)])
    settled(tab)
    assert tab.inner_text("#digit") == " ".join(expected_of(reader, find, sheet_of(tab)))
    assert tab.evaluate("scrollY") == 0
    context.close()
