"""The effect of twenty own digits a class: those of seven-segment displays.

    python benchmarks/fine_tune.py          # three minutes
    python benchmarks/fine_tune.py --table  # print what was measured

Prints for each recipe how many digits of the style are read right, and of MNIST. Twenty
digits of each class as seven-segment displays are learned; a hundred others of each class,
with other widths, gaps and slants, are read. Three seeds.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, flags, measure_anew, run_training, spread
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
        first, last = map(np.array, ends[name])
        along = (last - first) / np.hypot(*(last - first))
        across = half * along[::-1]
        start, end = first + gap * along, last - gap * along
        inner, outer = start + half * along, end - half * along
        # Pointed at both ends, as the segments of a display are.
        corners = [start, inner + across, outer + across, end, outer - across, inner - across]
        points = [(4 * (x + slant * (height - y) + 20), 4 * (y + 14)) for x, y in corners]
        draw.polygon(points, fill=255)
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
    """The share of digits read right among the others of the style, and of MNIST's test images."""
    classifier = ImageClassifier(weights)
    read = classifier.predict_batch(sorted(others.glob("*/*.png")))
    mnist = load_mnist(ROOT / "data")
    known = evaluate(classifier.net, classifier.inputs(mnist.test_images), mnist.test_labels)
    return {"others": sum(result.correct for result in read) / len(read), "mnist": known.accuracy}


def measure() -> list[dict]:
    rows = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            mine, others = Path(name, "mine"), Path(name, "others")
            draw(mine, 20, seed)
            draw(others, 100, 1000 + seed)
            rows.append({"recipe": "none", "seed": seed, **accuracies(WEIGHTS, others)})
            for recipe in RECIPES:
                output = f"{name}/{recipe}.pth"
                flags = ["--dataset", str(mine), "--init-from", str(WEIGHTS), "--recipe", recipe]
                run_training([*flags, "--seed", str(seed), "--output", output])
                rows.append({"recipe": recipe, "seed": seed, **accuracies(output, others)})
    return rows


def main() -> int:
    found = measure_anew("fine_tune", measure, table=bool(flags(__doc__, "--table")))
    for recipe in ("none", *RECIPES):
        rows = [row for row in found if row["recipe"] == recipe]
        others, mnist = (spread([row[name] for row in rows]) for name in ("others", "mnist"))
        print(f"{recipe:10} {len(rows)} seeds  others of the style {others}  MNIST {mnist}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
