"""What twenty own digits a class do: those of displays, which the shipped weights read badly.

    python benchmarks/fine_tune.py          # three minutes
    python benchmarks/fine_tune.py --table  # print what was measured
    python benchmarks/fine_tune.py --sheet FILE  # draw eight of each digit

Twenty digits of each class as seven-segment displays show them to learn from; what
counts is a hundred others of each class, with other widths, gaps and slants, and
what the network still knows of MNIST. Three seeds, with each of two recipes.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, load, run_training, save, spread
from PIL import Image, ImageDraw, ImageOps

from lenet5.data.datasets import load_mnist
from lenet5.evaluation.metrics import evaluate
from lenet5.reading.classifier import ImageClassifier

WEIGHTS = ROOT / "pretrained" / "lenet5.pth"
SEEDS = (0, 1, 2)
RECIPES = ("fine-tune", "default")
SIDE = 128  # pixels
# Which segments are lit: a on top, then clockwise to f, and g in the middle.
LIT = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")


def segments(digit: int, rng: np.random.Generator) -> Image.Image:
    """A digit of a seven-segment display: the segments' width, gap, slant and proportions at random."""
    height, width = 100.0, rng.uniform(45, 65)
    thick, gap = rng.uniform(8, 16), rng.uniform(1, 5)
    slant = rng.uniform(0, 0.2)
    half = thick / 2
    left, right, top, middle, bottom = half, width - half, half, height / 2, height - half
    ends = {
        "a": ((left, top), (right, top)),
        "b": ((right, top), (right, middle)),
        "c": ((right, middle), (right, bottom)),
        "d": ((left, bottom), (right, bottom)),
        "e": ((left, middle), (left, bottom)),
        "f": ((left, top), (left, middle)),
        "g": ((left, middle), (right, middle)),
    }
    sheet = Image.new("L", (4 * SIDE, 4 * SIDE), 0)
    draw = ImageDraw.Draw(sheet)
    for name in LIT[digit]:
        (x1, y1), (x2, y2) = ends[name]
        along = np.array([x2 - x1, y2 - y1]) / np.hypot(x2 - x1, y2 - y1)
        across = half * along[::-1]
        start, end = np.array([x1, y1]) + gap * along, np.array([x2, y2]) - gap * along
        # Six corners: pointed at both ends, as the segments of a display are.
        corners = [
            start,
            start + half * along + across,
            end - half * along + across,
            end,
            end - half * along - across,
            start + half * along - across,
        ]
        points = [(x + slant * (height - y) + 20, y + 14) for x, y in corners]
        draw.polygon([(4 * x, 4 * y) for x, y in points], fill=255)
    picture = sheet.reduce(4)
    return ImageOps.invert(picture) if rng.random() < 0.5 else picture


def draw(folder: Path, per_digit: int, seed: int) -> None:
    """A sub-folder a digit with digits of seven-segment displays."""
    rng = np.random.default_rng(seed)
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for i in range(per_digit):
            segments(digit, rng).save(folder / str(digit) / f"digit_{digit}_{i}.png")


def accuracies(weights, others: Path) -> dict:
    """The share of right answers on the other faces, and on MNIST's test images."""
    classifier = ImageClassifier(weights)
    read = classifier.predict_batch(sorted(others.glob("*/*.png")))
    mnist = load_mnist(ROOT / "data")
    known = evaluate(classifier.net, classifier.inputs(mnist.test_images), mnist.test_labels)
    return {"others": sum(result.correct for result in read) / len(read), "mnist": known.accuracy}


def measure(folder: Path, seed: int) -> list[dict]:
    draw(folder / "mine", 20, seed)
    draw(folder / "others", 100, 1000 + seed)
    rows = [{"recipe": "none", "seed": seed, **accuracies(WEIGHTS, folder / "others")}]
    for recipe in RECIPES:
        flags = ["--dataset", str(folder / "mine"), "--init-from", str(WEIGHTS), "--recipe", recipe]
        output = folder / f"{recipe}.pth"
        run_training([*flags, "--seed", str(seed), "--output", str(output)])
        rows.append({"recipe": recipe, "seed": seed, **accuracies(output, folder / "others")})
    return rows


def sheet(cell: int = SIDE) -> Image.Image:
    """Eight of each digit, a digit a row."""
    rng = np.random.default_rng(0)
    page = Image.new("L", (8 * cell, 10 * cell))
    for digit in range(10):
        for column in range(8):
            page.paste(segments(digit, rng), (column * cell, digit * cell))
    return page


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sheet")
    arguments = parser.parse_args()
    if arguments.sheet:
        sheet().save(arguments.sheet)
        return 0
    results = load("fine_tune")
    if not arguments.table:
        results["rows"] = []
        for seed in SEEDS:
            folder = Path(tempfile.mkdtemp())
            results["rows"] += measure(folder, seed)
            shutil.rmtree(folder)
        save("fine_tune", results)
    for recipe in ("none", *RECIPES):
        rows = [row for row in results["rows"] if row["recipe"] == recipe]
        others, mnist = (spread([row[name] for row in rows]) for name in ("others", "mnist"))
        print(f"{recipe:10} {len(rows)} seeds  others of the style {others}  MNIST {mnist}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
