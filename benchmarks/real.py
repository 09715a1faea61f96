"""Accuracy on real pictures of digits, set by set, beside a plain script for MNIST.

    python benchmarks/real.py FOLDER ...                 # FOLDER/SET/DIGIT/picture.jpg
    python benchmarks/real.py FOLDER ... --weights FILE  # of other weights, and keep nothing
    python benchmarks/real.py --table                    # print what was measured
    python benchmarks/real.py --table --write            # and put it into the README

The plain script reduces a picture to 28×28 gray pixels, inverts it if its rim is bright and
reads it with pretrained/lenet5-plain.pth. Prints for each set the pictures, and in percent: read
right; answered with --reject; right of those answered; the expected calibration error; read right
by the plain script. The last row is the mean.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from common import ROOT, make_parser, markdown, measure_anew, percent, write_between
from PIL import Image

from lenet5.data.picture_files import find_pictures
from lenet5.evaluation.metrics import Evaluation
from lenet5.reading.classifier import ImageClassifier

WEIGHTS = ROOT / "pretrained" / "lenet5.pth"
PLAIN = ROOT / "pretrained" / "lenet5-plain.pth"
# What the known sets show, and the repositories on GitHub that they are from: for the README.
KINDS = {
    "own_photos": (
        "a digit on paper, photographed by its writer",
        [
            "Atharva-Pandkar/Recgnition-Using-Deep-Networks",
            "juliorodrigues07/manuscript-digit-recognition",
        ],
    ),
    "own_drawings": (
        "a digit drawn on a screen",
        [
            "hangyin2020/cs5330_p5",
            "ladmepaz/convolucion-mnist-visioncore",
            "7eraflops/mnist-digit-recognition",
            "jonperk318/Machine-Learning-Projects",
            "insooeric/NumberRecognition",
        ],
    ),
    "sudoku_handwritten": ("blue pen in printed cells, by telephone", ["wichtounet/sudoku_dataset"]),
    "sudoku_newspaper": ("a newspaper's print, blurred, by telephone", ["wichtounet/sudoku_dataset"]),
    "sudoku_cells": ("print and pencil in cells", ["AlexKubiesa/sudoku-scanner"]),
    "meter_digits": (
        "a wheel or LCD digit of a meter, 20×32 pixels",
        ["haverland/Tenth-of-step-of-a-meter-digit"],
    ),
}
COLUMNS = ("right", "answered", "right_of_answered", "calibration_error", "plain")


def plain_digit(path: str) -> np.ndarray:
    """28×28 uint8 by a script that was written for MNIST; blank if the picture cannot be opened."""
    try:
        pixels = np.asarray(Image.open(path).convert("L").resize((28, 28)))
    except OSError:
        return np.zeros((28, 28), np.uint8)
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return 255 - pixels if np.median(rim) > 127 else pixels


def measure(folder: Path, classifier: ImageClassifier, plain: ImageClassifier) -> dict:
    """One set's row; shares from 0 to 1."""
    paths = list(find_pictures([str(folder)]))
    labels = np.array([int(Path(path).parent.name) for path in paths])
    results = classifier.predict_batch(paths)  # a picture that cannot be opened is read wrong
    right = np.array([bool(r.top) and r.top[0][0] == d for r, d in zip(results, labels, strict=True)])
    answered = np.array([r.prediction is not None for r in results])
    readable = np.array([r.error is None for r in results])
    logs = torch.from_numpy(np.stack([np.log(r.probabilities + 1e-12) for r in results if not r.error]))
    evaluation = Evaluation(0.0, 0.0, logs, torch.from_numpy(labels[readable]))
    answers = plain.probabilities(np.stack([plain_digit(path) for path in paths])).argmax(axis=1)
    return {
        "set": f"{folder.parent.name}/{folder.name}",
        "pictures": len(paths),
        "right": float(right.mean()),
        "answered": float(answered.mean()),
        "right_of_answered": float(right[answered].mean()) if answered.any() else None,
        "calibration_error": evaluation.calibration_error(),
        "plain": float((answers == labels).mean()),
    }


def print_table(rows: list[dict]) -> None:
    width = max(len(row["set"]) for row in rows)
    print(f"{'set':{width}}  pictures   right  answered  of these right  calibration  plain script")
    mean = {"set": "mean", "pictures": sum(row["pictures"] for row in rows)}
    for name in COLUMNS:
        values = [row[name] for row in rows if row.get(name) is not None]
        mean[name] = float(np.mean(values)) if values else None
    for row in [*rows, mean]:
        shares = [None if row.get(name) is None else 100 * row[name] for name in COLUMNS]
        cells = ["-" if share is None else f"{share:.1f}" for share in shares]
        line = zip(cells, (6, 9, 15, 12, 13), strict=True)
        words = " ".join(f"{cell:>{space}}" for cell, space in line)
        print(f"{row['set']:{width}}  {row['pictures']:8,}  {words}")


def write_table(rows: list[dict]) -> None:
    """Put what is read of the known sets into the README."""
    heads = ["real pictures", "of them", "read right", "a plain script", "source on GitHub"]
    lines = [
        [
            f"{KINDS[kind][0]} ({part})",
            f"{row['pictures']:,}",
            percent(row["right"]),
            percent(row["plain"]),
            ", ".join(KINDS[kind][1]),
        ]
        for row in rows
        for part, kind in [row["set"].split("/")]
    ]
    write_between("real pictures", markdown(heads, lines), "README.md")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("folders", type=Path, metavar="FOLDER", nargs="*")
    parser.add_argument("--weights", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    def measure_all() -> list[dict]:
        classifier = ImageClassifier(options.weights or WEIGHTS, device="cpu", reject=True)
        plain = ImageClassifier(PLAIN, device="cpu")
        sets = [path for folder in options.folders for path in sorted(folder.iterdir()) if path.is_dir()]
        return [measure(path, classifier, plain) for path in sets]

    rows = measure_all() if options.weights else measure_anew("real", measure_all, options.table)
    print_table(rows)
    if options.write:
        write_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
