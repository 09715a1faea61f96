"""Ideas for `--recipe anybody`, on held-out training images and held-out training fonts.

    python benchmarks/choose_anybody.py          # a quarter of an hour an idea, two at a time
    python benchmarks/choose_anybody.py --time   # an epoch of the recipe beside the default's
    python benchmarks/choose_anybody.py --table  # print what was measured
    python benchmarks/choose_anybody.py --weights FILE ...  # of other weights, and keep nothing

Prints what each idea reads right and what it accepts though it is no digit, in percent. The
choice is made on the 5,000 images that train.py holds out, on the same in 8×8 pixels and
stretched into few, on every fifth package of the training fonts, and on non-digits
(Fashion-MNIST's are training images), by the limits that 99 % of the held-out images pass.
Test images, font families held out for evaluation and scikit-learn's digits stay unseen.
The epoch that train.py keeps counts.
"""

import io
import sys
from pathlib import Path
from statistics import median

import numpy as np
import torch
from anybody import MADE_UP, as_in_mnist, in_eight, made_up
from common import (
    ROOT,
    held_out,
    in_turns,
    load,
    make_parser,
    measure_missing,
    median_and_range,
    run_training,
    save,
    seconds_of,
    words_of,
)

from lenet5.data.augmentation import AUGMENTATIONS, low_resolution
from lenet5.data.datasets import load_dataset
from lenet5.data.fonts import FONTS, load_font_digits, load_letters
from lenet5.evaluation.confidence import rejection_limits
from lenet5.evaluation.metrics import evaluate
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime.atomic_files import write_file
from lenet5.training.checkpoint import Run
from lenet5.training.epoch import train_epoch
from lenet5.training.epoch_end import training_step
from lenet5.training.epoch_plan import EpochPlan
from lenet5.training.recipes import RECIPES, Settings
from lenet5.training.training_pool import Data

TURNS = 5
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
    folder = FOLDER / f"anybody-{list(IDEAS).index(idea)}"
    weights = folder / "weights.pth"
    run_training([*words_of(COMMON | IDEAS[idea]), "--output", str(weights)], folder)
    return {"idea": idea, **accuracies(weights)}


def an_epoch_of(recipe: str):
    """A function that trains a new network for one epoch of a recipe and gives its seconds."""
    settings = Settings(**RECIPES[recipe] | {"recipe": recipe, "data_dir": ROOT / "data"})
    data = Data(settings, torch.device("cpu"))

    def seconds() -> float:
        run = Run(settings, None, torch.device("cpu"), data.classes)

        def epoch() -> None:
            plan = EpochPlan(data.pool, AUGMENTATIONS[settings.augment], run.generator)
            train_epoch(training_step(run), plan, settings.batch_size)

        return seconds_of(epoch)

    return seconds


def print_rows(rows: list[dict]) -> None:
    for row in rows:
        print(row["idea"])
        named = {**{name: row[name] for name in RIGHT if name in row}, **row["accepted"]}
        print("   " + "  ".join(f"{name} {100 * share:.2f}" for name, share in named.items()))


def print_times(turns: list[dict]) -> None:
    middle = {recipe: median(turn[recipe] for turn in turns) for recipe in turns[0]}
    ratios = median_and_range([turn["anybody"] / turn["default"] for turn in turns])
    own, other = middle["anybody"], middle["default"]
    print(f"an epoch: {own:.1f} s, the default's {other:.1f} s: {ratios} times")


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--weights", nargs="+", metavar="FILE")
    options = parser.parse_args()
    measuring = not (options.time or options.table)
    if measuring or options.weights:
        make_validation_fonts()
    if options.weights:
        print_rows([{"idea": path[-32:], **accuracies(Path(path))} for path in options.weights])
        return 0
    if options.time:
        turns = in_turns({recipe: an_epoch_of(recipe) for recipe in ("default", "anybody")}, TURNS)
        save("choose_anybody", load("choose_anybody") | {"seconds_an_epoch": turns})
    wanted = [(idea,) for idea in IDEAS]
    rows = measure_missing("choose_anybody", measure, wanted, lambda row: (row["idea"],), not measuring)
    by_idea = {row["idea"]: row for row in rows}
    print_rows([by_idea[idea] for idea in IDEAS if idea in by_idea])
    if turns := load("choose_anybody").get("seconds_an_epoch"):
        print_times(turns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
