"""The drawing page in Chromium: does it read what PyTorch reads, and how long does a frame take?

    python benchmarks/page_frames.py          # a minute or two
    python benchmarks/page_frames.py --table  # print what was measured
    python benchmarks/page_frames.py --picture docs/page.png --digit 2  # what the page looks like
    python benchmarks/page_frames.py --picture docs/page-number.png --number 90210

A frame is what the page does while somebody draws: the pixels of the sheet, the
pre-processing, the network, and painting what each layer answers. The time is that of
the page's own clock, of every frame of ten digits that a simulated
pointer draws, five rounds after one to warm up; and the same of a number of five digits.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, load, save
from made_up_numbers import make_strings
from PIL import Image

from lenet5.data.datasets import load_mnist
from lenet5.export import html_page
from lenet5.reading.classifier import ImageClassifier
from lenet5.whole_numbers.decoding import search
from lenet5.whole_numbers.space_displacement import TrainedNumbers
from lenet5.whole_numbers.strip_reader import NetworkReader
from tests.browser import READ_ALL, READ_STRIP, STROKES, as_pixels, chromium, draw, settled, strokes_of

ROUNDS = 5
CHUNK = 500  # test images that the page is given at a time
NUMBERS = 1000  # of one to six test digits
WEIGHTS = [ROOT / "pretrained" / f"{name}.pth" for name in ("lenet5", "lenet5-1998")]


def frames(tab, drawings: list) -> list[float]:
    """Milliseconds of each frame while these are drawn, one after the other."""
    tab.evaluate("frameTimes.length = 0")
    for strokes in drawings:
        draw(tab, strokes)
        settled(tab)
        tab.click("#clear")
    return tab.evaluate("frameTimes")


def agreement(tab, weights: Path) -> dict:
    """The page's answers beside PyTorch's, for the 10,000 test images."""
    tab.select_option("#network", label=weights.stem)
    classifier, images = ImageClassifier(weights, device="cpu"), load_mnist(ROOT / "data").test_images
    same, away = 0, 0.0
    for chunk in images.split(CHUNK):
        pictures = [Image.fromarray(image.numpy()) for image in chunk]
        found = tab.evaluate(READ_ALL, [as_pixels(picture) for picture in pictures])
        probabilities = np.array([answer["probabilities"] for answer in found])
        expected = np.array([result.probabilities for result in classifier.predict_batch(pictures)])
        same += int((probabilities.argmax(1) == expected.argmax(1)).sum())
        away = max(away, float(np.abs(probabilities - expected).max()))
    return {"network": weights.stem, "images": len(images), "same_digit": same, "most_away": away}


def number_agreement(tab) -> dict:
    """The page's numbers beside those of Python's network and search, on the same strips."""
    reader = NetworkReader(TrainedNumbers(html_page.NUMBERS, device="cpu"))
    mnist = load_mnist(ROOT / "data")
    made = make_strings(mnist.test_images, mnist.test_labels, NUMBERS, 0, lengths=(1, 6))
    same, away = 0, 0.0
    for strip in made.strips():
        text, confidence = tab.evaluate(READ_STRIP, [strip.shape[1], strip.ravel().tolist()])
        digits, probability = search(reader.shares([strip])[0])[0]
        same += text == "".join(map(str, digits))
        away = max(away, abs(confidence - probability))
    return {"strips": NUMBERS, "same_number": same, "most_away": away}


@contextlib.contextmanager
def opened_page(width: int = 1280):
    """The page with both networks in a tab, and its file."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "digit_reader.html"
        html_page.write(path, WEIGHTS[0], WEIGHTS[1:])
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.goto(path.as_uri())
        yield tab, path


def measure() -> dict:
    results = load("page")
    with opened_page() as (tab, path):
        results["bytes"] = path.stat().st_size
        results["browser"] = f"Chromium {tab.context.browser.version}"
        digits = list(STROKES.values())
        results["frames"] = [frames(tab, digits) for _ in range(ROUNDS + 1)][1:]
        results["rows"] = [agreement(tab, weights) for weights in WEIGHTS]
        tab.check("#modes input[value=number]")
        number = [strokes_of("90210")]
        results["number_frames"] = [frames(tab, number) for _ in range(ROUNDS + 1)][1:]
        results["numbers"] = number_agreement(tab)
    save("page", results)
    return results


def picture(path: str, digit: int, number: str | None, width: int) -> None:
    """The page as it is when a digit was drawn, or a number."""
    with opened_page(width) as (tab, _):
        if number is not None:
            tab.check("#modes input[value=number]")
        draw(tab, STROKES[digit] if number is None else strokes_of(number))
        settled(tab)
        tab.screenshot(path=path, full_page=True)


def print_frames(what: str, found: list[list[float]]) -> None:
    """The median of rounds of frames, and what nearly all of them stay below."""
    for name, share in (("median", 50), ("99 of 100 within", 99)):
        values = [np.percentile(times, share) for times in found]
        span = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{what}, {name}: {np.median(values):.1f} ms ({span} in {len(found)} rounds)")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture")
    parser.add_argument("--digit", type=int, default=2)
    parser.add_argument("--number", metavar="DIGITS", help="draw a whole number")
    parser.add_argument("--width", type=int, default=1280)
    arguments = parser.parse_args()
    if arguments.picture:
        picture(arguments.picture, arguments.digit, arguments.number, arguments.width)
        return 0
    results = load("page") if arguments.table else measure()
    print(f"{results['bytes']:,} bytes, {results['browser']}")
    print_frames("a frame", results["frames"])
    away = "no probability farther away than"
    for row in results["rows"]:
        same = f"{row['same_digit']:,} of {row['images']:,}"
        print(f"{row['network']}: the digit of PyTorch for {same}, {away} {row['most_away']:.0e}")
    if "numbers" in results:
        print_frames("a frame of a number", results["number_frames"])
        row = results["numbers"]
        same = f"{row['same_number']:,} of {row['strips']:,}"
        print(f"numbers: that of Python for {same} strips, {away} {row['most_away']:.0e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
