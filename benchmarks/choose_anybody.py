"""What was tried for `--recipe anybody`, on held-out training images and held-out training fonts.

    python benchmarks/choose_anybody.py          # a quarter of an hour an idea, two at a time
    python benchmarks/choose_anybody.py --time   # an epoch of the recipe beside the default's
    python benchmarks/choose_anybody.py --table  # print what was measured
    python benchmarks/choose_anybody.py --weights FILE ...  # of other weights, and keep nothing

No test image, no family that is held out for evaluation and none of
scikit-learn's digits is looked at. The choice is made on the 5,000 images that
train.py holds out, on the same in 8×8 pixels and stretched into few, on every fifth
package of the fonts that are there to be learned, and on what is no digit (of
Fashion-MNIST, training images), by the limits that 99 % of the held-out images pass.
What counts is the epoch that train.py keeps.
"""

import argparse
import io
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from anybody import MADE_UP, as_in_mnist, in_eight, made_up
from common import ROOT, held_out, load, median_and_range, run_training, save, two_at_a_time

from lenet5.data.augmentation import AUGMENTATIONS, low_resolution
from lenet5.data.datasets import load_dataset
from lenet5.data.fonts import load_font_digits, load_letters
from lenet5.evaluation.confidence import rejection_limits
from lenet5.evaluation.metrics import evaluate
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.tasks import FONTS
from lenet5.runtime.atomic_files import write_file
from lenet5.training.checkpoint import Run
from lenet5.training.epoch import train_epoch
from lenet5.training.epoch_end import training_step
from lenet5.training.epoch_plan import EpochPlan
from lenet5.training.recipes import RECIPES, Settings
from lenet5.training.training_pool import Data

TURNS = 5  # after one to warm up
FOLDER = ROOT / "benchmarks" / "work"
VALIDATION = FOLDER / "validation-fonts.npz"
RIGHT = ("mnist", "eight", "few", "fonts")  # what is read; in the rows, the rest is no digit
COMMON = {"epochs": 15, "seed": 0, "fonts": str(VALIDATION), "augment": "pens", "non-digits": True}
AVERAGED = {"optimizer": "adamw", "weight-decay": 0.05, "average": 0.999}
IDEAS = {
    "MNIST alone, affine": {"fonts": None, "augment": "affine", "non-digits": None},
    "fonts, pens": {"non-digits": None},
    "fonts, pens, non-digits": {},
    "the same, AdamW 0.05, averaged": AVERAGED,
    "the same, mild": AVERAGED | {"augment": "pens-mild"},
}


def make_validation_fonts() -> None:
    """The fonts that are there to be learned, with every fifth package of them held out."""
    with np.load(FONTS) as archive:
        arrays = dict(archive)
    to_learn = ~arrays["held_out"]
    packages = sorted(set(arrays["packages"][to_learn].tolist()))
    place = np.cumsum(to_learn) - 1  # of each face among those that stay
    letters = to_learn[arrays["letter_faces"]]
    kept = {
        "images": arrays["images"][np.repeat(to_learn, 10)],
        "labels": arrays["labels"][np.repeat(to_learn, 10)],
        "faces": arrays["faces"][to_learn],
        "packages": arrays["packages"][to_learn],
        "held_out": np.isin(arrays["packages"][to_learn], packages[2::5]),
        "letters": arrays["letters"][letters],
        "letter_faces": place[arrays["letter_faces"][letters]],
    }
    memory = io.BytesIO()
    np.savez_compressed(memory, **kept)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_file(VALIDATION, memory.getvalue())


def accuracies(weights: Path) -> dict:
    classifier = ImageClassifier(weights)
    images, labels = held_out()

    def accuracy(pictures, truth) -> float:
        return evaluate(classifier.net, classifier.inputs(pictures), truth).accuracy

    limits = rejection_limits(classifier.logits(images))
    strange = {"letters": load_letters(VALIDATION, held_out=True)} | made_up(images, seed=999_999)
    clothes = load_dataset("fashion-mnist", ROOT / "data").train_images[:MADE_UP]
    strange["clothes"] = as_in_mnist(clothes.numpy())
    return {
        "mnist": accuracy(images, labels),
        "eight": accuracy(in_eight(images), labels),
        "few": accuracy(low_resolution(images, seed=999_999), labels),
        "fonts": accuracy(*load_font_digits(VALIDATION, held_out=True)),
        "accepted": {
            name: float(limits.kept(classifier.logits(pictures)).mean())
            for name, pictures in strange.items()
        },
    }


def measure(idea: str) -> dict:
    flags, folder = [], FOLDER / f"anybody-{list(IDEAS).index(idea)}"
    for name, value in (COMMON | IDEAS[idea]).items():
        if value is True:
            flags.append(f"--{name}")
        elif value is not None:
            flags += [f"--{name}", str(value)]
    weights = folder / "weights.pth"
    run_training([*flags, "--output", str(weights)], folder)
    return {"idea": idea, **accuracies(weights)}


def prepare(recipe: str):
    """A function that trains a new network for one epoch of a recipe and gives the seconds it took."""
    settings = Settings(**RECIPES[recipe] | {"recipe": recipe, "data_dir": ROOT / "data"})
    data = Data(settings, torch.device("cpu"))

    def epoch() -> float:
        run = Run(settings, None, torch.device("cpu"), data.classes)
        start = time.perf_counter()
        plan = EpochPlan(data.pool, AUGMENTATIONS[settings.augment], run.generator)
        train_epoch(training_step(run), plan, settings.batch_size)
        return time.perf_counter() - start

    return epoch


def measure_times() -> list[dict]:
    """Seconds an epoch of both recipes, in turns, since a machine has good and bad minutes."""
    epochs = {recipe: prepare(recipe) for recipe in ("default", "anybody")}
    turns = [{recipe: epoch() for recipe, epoch in epochs.items()} for _ in range(1 + TURNS)]
    return turns[1:]


def print_rows(rows: list[dict]) -> None:
    for row in rows:
        print(row["idea"])
        named = {**{name: row[name] for name in RIGHT if name in row}, **row["accepted"]}
        print("   " + "  ".join(f"{name} {100 * share:.2f}" for name, share in named.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--weights", nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.weights:
        make_validation_fonts()
        for path in options.weights:
            print_rows([{"idea": path[-32:], **accuracies(Path(path))}])
        return 0
    results = load("choose_anybody")
    done = {row["idea"] for row in results["rows"]}
    if options.time:
        results["seconds_an_epoch"] = measure_times()
        save("choose_anybody", results)
    elif not options.table:
        make_validation_fonts()
        wanted = [(idea,) for idea in IDEAS if idea not in done]
        two_at_a_time("choose_anybody", results, measure, wanted)
    by_idea = {row["idea"]: row for row in results["rows"]}
    print_rows([by_idea[idea] for idea in IDEAS if idea in by_idea])
    turns = results.get("seconds_an_epoch", [])
    if turns:
        middle = {recipe: median(turn[recipe] for turn in turns) for recipe in turns[0]}
        ratios = [turn["anybody"] / turn["default"] for turn in turns]
        print(
            f"an epoch: {middle['anybody']:.1f} s, the default's {middle['default']:.1f} s:"
            f" {median_and_range(ratios)} times"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
