"""Accuracy of the shipped weights outside MNIST and what they refuse, beside plain weights.

    pip install -r benchmarks/requirements.txt  # scikit-learn, for its 8×8 digits
    python benchmarks/anybody.py          # two minutes
    python benchmarks/anybody.py --table  # print what was measured
    python benchmarks/anybody.py --table --write  # and put it into docs/shipped-weights.md
    python benchmarks/anybody.py --weights FILE ...  # of other weights, and keep nothing

Four sets have labels; no training saw a picture, a font family or a writer of them: MNIST's
test images; digits in fonts of held-out families (fonts/README.md); scikit-learn's 8×8
digits; MNIST's test images reduced to 8×8. Non-digits should be refused by limits that 99 %
of MNIST's held-out training images pass: those of confidence and evidence that go with the
weights and, to compare, one of confidence alone. Prints the shares read and accepted, then
the fonts by digit and by package.
"""

import sys

import numpy as np
import torch
from common import ROOT, held_out, make_parser, markdown, measure_anew, percent, write_between
from PIL import Image

from lenet5.data.datasets import load_dataset, load_mnist
from lenet5.data.fonts import FONTS, font_archive, load_font_digits, load_letters
from lenet5.data.non_digits import digit_pairs, scribbles, shapes
from lenet5.evaluation.confidence import Limits, kl_from_uniform
from lenet5.evaluation.metrics import Evaluation, evaluate
from lenet5.imaging.preprocess import all_mnist_like
from lenet5.networks.finder import FinderNetwork
from lenet5.reading.classifier import ImageClassifier

PAGE = "docs/shipped-weights.md"
WEIGHTS = {name: ROOT / "pretrained" / f"{name}.pth" for name in ("lenet5-plain", "lenet5")}
SEED, MADE_UP = 1_000_000, 2000  # a seed that no training has, and how many pictures


def as_in_mnist(pictures) -> torch.Tensor:
    """N×28×28 uint8 of N pictures, by the pre-processing that every picture goes through."""
    return torch.from_numpy(np.stack([digit for digit, _ in all_mnist_like(pictures, FinderNetwork())]))


def in_eight(images: torch.Tensor) -> torch.Tensor:
    """MNIST's pictures as scikit-learn's are: the digit in 8×8 pixels of 17 levels, read again."""
    pictures = []
    for image in images.numpy():
        small = Image.fromarray(image[4:24, 4:24]).resize((8, 8), Image.Resampling.BOX)
        pictures.append((np.asarray(small) / 255 * 16).round() / 16)
    return as_in_mnist(pictures)


def digits_of_scikit_learn() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return as_in_mnist(data.images / 16), torch.from_numpy(data.target)


def labelled_sets() -> dict:
    """By name: N×28×28 uint8 pictures and N labels."""
    mnist = load_mnist(ROOT / "data")
    return {
        "MNIST, test images": (mnist.test_images, mnist.test_labels),
        "fonts, unseen families": load_font_digits(FONTS, held_out=True),
        "scikit-learn, 8×8": digits_of_scikit_learn(),
        "MNIST in 8×8": (in_eight(mnist.test_images), mnist.test_labels),
    }


def made_up(digits: torch.Tensor, seed: int) -> dict:
    """By name: pictures as `--non-digits` draws them, the pairs of N×28×28 uint8 `digits`."""
    return {
        "scribbles": scribbles(MADE_UP, seed),
        "filled shapes": shapes(MADE_UP, seed),
        "two digits": digit_pairs(digits, MADE_UP, seed),
    }


def strange_sets() -> dict:
    """By name: N×28×28 uint8 pictures of what is no digit."""
    mnist = load_mnist(ROOT / "data")
    noise = np.random.default_rng(SEED).integers(0, 256, (500, 28, 28), dtype=np.uint8)
    clothes = load_dataset("fashion-mnist", ROOT / "data").test_images
    return {
        "letters, unseen families": load_letters(FONTS, held_out=True),
        **made_up(mnist.test_images, SEED),
        "Fashion-MNIST": as_in_mnist(clothes.numpy()),
        "noise": as_in_mnist(noise),
    }


def by_family(result: Evaluation) -> dict:
    """The share that is right in each package of fonts that is held out, and how many digits it has."""
    with font_archive(FONTS) as archive:
        packages = np.repeat(archive["packages"][archive["held_out"]], 10)
    right = (result.predictions == result.labels).numpy()
    names = sorted(set(packages.tolist()))
    return {name: [float(right[packages == name].mean()), int(sum(packages == name))] for name in names}


def chance_to_tell(digits: np.ndarray, others: np.ndarray) -> float:
    """How often a digit has more evidence than something else: the area under the ROC curve, 0 to 1."""
    order = np.sort(others)
    below, upto = (np.searchsorted(order, digits, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(others)))


def measure(weights, labelled: dict, strange: dict) -> dict:
    classifier = ImageClassifier(weights)
    limits = classifier.limits
    images, _ = held_out()
    sure = classifier.logits(images).softmax(dim=1).max(dim=1).values.quantile(0.01).item()
    confidence_alone = Limits(sure, 0.0)
    row = {"temperature": classifier.temperature, "limits": list(limits), "read": {}, "accepted": {}}
    for name, (images, labels) in labelled.items():
        result = evaluate(classifier.net, classifier.inputs(images), labels)
        warm = result.at_temperature(classifier.temperature)
        row["read"][name] = {
            "accuracy": result.accuracy,
            "by_digit": result.recall().tolist(),
            "answered": float(limits.kept(warm.logits).mean()),
            "coverage_area": warm.coverage_area(),
            "calibration_error": warm.calibration_error(),
            "calibration_error_before": result.calibration_error(),
        }
        if name.startswith("fonts"):
            row["by_family"] = by_family(result)
        if name.startswith("MNIST, test"):
            known = kl_from_uniform(warm.logits)
    for name, images in strange.items():
        logits = classifier.logits(images)
        has_ink = images.numpy().any(axis=(1, 2))  # --reject refuses blank pictures
        row["accepted"][name] = {
            "share": float((limits.kept(logits) & has_ink).mean()),
            "by_confidence_alone": float((confidence_alone.kept(logits) & has_ink).mean()),
            "told_from_mnist": chance_to_tell(known, kl_from_uniform(logits)),
        }
    return row


def print_table(rows: list[dict]) -> None:
    for row in rows:
        sure, nats = row["limits"]
        limits = f"refused below a confidence of {sure:.3f} or {nats:.2f} nats of evidence"
        print(f"{row['weights']}: temperature {row['temperature']:.2f}, {limits}")
        print("  read                        right  answered  area   calibration  worst digit")
        for name, found in row["read"].items():
            worst = int(np.argmin(found["by_digit"]))
            before, after = (100 * found[f"calibration_error{end}"] for end in ("_before", ""))
            print(
                f"  {name:24} {100 * found['accuracy']:6.2f} %  {100 * found['answered']:6.2f} %"
                f"  {found['coverage_area']:.4f}  {before:.2f} to {after:.2f} %"
                f"  {worst}: {100 * found['by_digit'][worst]:.1f} %"
            )
        print("  accepted though no digit            by confidence alone  told from MNIST by evidence")
        for name, found in row["accepted"].items():
            share, alone = (100 * found[limits] for limits in ("share", "by_confidence_alone"))
            print(f"  {name:24} {share:6.2f} %       {alone:6.2f} %   {found['told_from_mnist']:20.4f}")
    print("digits in fonts of unseen families, right by digit")
    for row in rows:
        shares = row["read"]["fonts, unseen families"]["by_digit"]
        print(f"  {row['weights']:14}" + "".join(f"{100 * share:6.1f}" for share in shares))
    print("and by package")
    for name, (_, count) in rows[0]["by_family"].items():
        shares = "".join(f"  {100 * row['by_family'][name][0]:6.1f} %" for row in rows)
        print(f"  {name:32} {count:4}{shares}")


def write_tables(rows: list[dict]) -> None:
    """Put the figures into the page about the shipped weights."""
    names, heads = list(rows[0]["read"]), [f"`{row['weights']}.pth`" for row in rows]

    def accuracy(found: dict) -> str:
        worst = int(np.argmin(found["by_digit"]))
        return f"{percent(found['accuracy'], 2)} (worst: {worst}, {percent(found['by_digit'][worst])})"

    read = [[name, *(accuracy(row["read"][name]) for row in rows)] for name in names]
    write_between("accuracy", markdown(["accuracy on", *heads], read), PAGE)
    of_fonts = [row["read"]["fonts, unseen families"]["by_digit"] for row in rows]
    digits = [
        [head, *(f"{100 * share:.1f}" for share in own)]
        for head, own in zip(heads, of_fonts, strict=True)
    ]
    write_between("fonts by digit", markdown(["", *map(str, range(10))], digits), PAGE)
    accepted = [
        [name, *(percent(row["accepted"][name]["share"]) for row in rows)]
        for name in rows[0]["accepted"]
    ]
    write_between("rejection", markdown(["answered with `--reject`", *heads], accepted), PAGE)
    calibrated = [
        [
            name,
            percent(own["calibration_error_before"], 2),
            percent(own["calibration_error"], 2),
            f"{own['coverage_area']:.4f}",
            percent(own["answered"]),
        ]
        for name, own in rows[-1]["read"].items()
    ]
    columns = ["ECE before", "ECE after", "area", "answered with `--reject`"]
    write_between("calibration", markdown([heads[-1], *columns], calibrated), PAGE)


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--weights", nargs="+", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    def measure_all(weights: dict) -> list[dict]:
        sets = labelled_sets(), strange_sets()
        return [{"weights": name, **measure(path, *sets)} for name, path in weights.items()]

    if options.weights:
        rows = measure_all({path: path for path in options.weights})
    else:
        rows = measure_anew("anybody", lambda: measure_all(WEIGHTS), options.table)
    print_table(rows)
    if options.write:
        write_tables(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
