"""The drawing page in Chromium: does it read what PyTorch reads, and how long does a frame take?

    python benchmarks/page.py          # a minute or two
    python benchmarks/page.py --table  # print what was measured
    python benchmarks/page.py --picture docs/page.png --digit 2  # what the page looks like

A frame is what the page does while somebody draws: the pixels of the sheet, the
pre-processing, the network, and painting what each layer answers. The time is that of
the page's own clock, of every frame of ten digits that a simulated
pointer draws, five rounds after one to warm up.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, load, save
from PIL import Image

import page
from dataset import load_mnist
from inference import ImageClassifier
from tests.browser import READ_ALL, STROKES, as_pixels, chromium, draw

ROUNDS = 5
CHUNK = 500  # test images that the page is given at a time
WEIGHTS = [ROOT / "pretrained" / f"{name}.pth" for name in ("lenet5", "lenet5-1998")]


def frames(tab) -> list[float]:
    """Milliseconds of each frame while ten digits are drawn."""
    tab.evaluate("frameTimes.length = 0")
    for strokes in STROKES.values():
        draw(tab, strokes)
        tab.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
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


def measure() -> dict:
    results = load("page")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "digit_reader.html"
        page.write(path, *WEIGHTS[:1], WEIGHTS[1:])
        results["bytes"] = path.stat().st_size
        results["browser"] = f"Chromium {browser.version}"
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(path.as_uri())
        results["frames"] = [frames(tab) for _ in range(ROUNDS + 1)][1:]
        results["rows"] = [agreement(tab, weights) for weights in WEIGHTS]
    save("page", results)
    return results


def picture(path: str, digit: int, width: int) -> None:
    """The page as it is when a digit was drawn."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page.write(Path(folder) / "digit_reader.html", *WEIGHTS[:1], WEIGHTS[1:])
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.goto((Path(folder) / "digit_reader.html").as_uri())
        draw(tab, STROKES[digit])
        tab.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        tab.screenshot(path=path, full_page=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture")
    parser.add_argument("--digit", type=int, default=2)
    parser.add_argument("--width", type=int, default=1280)
    arguments = parser.parse_args()
    if arguments.picture:
        picture(arguments.picture, arguments.digit, arguments.width)
        return 0
    results = load("page") if arguments.table else measure()
    print(f"{results['bytes']:,} bytes, {results['browser']}")
    rounds = [np.array(times) for times in results["frames"]]
    medians, slow = (
        [np.median(times) for times in rounds],
        [np.percentile(times, 99) for times in rounds],
    )
    for name, values in (("median", medians), ("99 of 100 within", slow)):
        span = f"{min(values):.1f} to {max(values):.1f}"
        print(f"a frame, {name}: {np.median(values):.1f} ms ({span} in {len(rounds)} rounds)")
    for row in results["rows"]:
        print(
            f"{row['network']}: the digit of PyTorch for {row['same_digit']:,} of {row['images']:,},"
            f" no probability farther away than {row['most_away']:.0e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
