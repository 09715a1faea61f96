"""What twenty own digits a class do: outlined digits, which the shipped weights read badly.

    python benchmarks/fine_tune.py          # three minutes
    python benchmarks/fine_tune.py --table  # print what was measured

Twenty outlined digits of each class in DejaVu Sans, Serif and Mono to learn from;
what counts is the same style in the other families that come with matplotlib, and
what the network still knows of MNIST. Three seeds, with each of two recipes.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from common import ROOT, load, run_training, save, spread

from dataset import load_mnist
from evaluate import evaluate
from generate_test_digits import Drawing, find_faces, installed_faces
from inference import ImageClassifier

WEIGHTS = ROOT / "pretrained" / "lenet5.pth"
SEEDS = (0, 1, 2)
RECIPES = ("fine-tune", "default")
LEARNED = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")


def draw(folder: Path, faces: list, per_digit: int, seed: int) -> None:
    """A sub-folder a digit with outlined digits, of which each further copy is moved and turned."""
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for i in range(per_digit):
            drawing = Drawing(digit, faces[i % len(faces)], "outline", 1 + i // len(faces))
            drawing.draw(128, seed).save(folder / str(digit) / f"{drawing.name}.png")


def accuracies(weights, others: Path) -> dict:
    """The share of right answers on the other faces, and on MNIST's test images."""
    classifier = ImageClassifier(weights)
    read = classifier.predict_batch(sorted(others.glob("*/*.png")))
    mnist = load_mnist(ROOT / "data")
    known = evaluate(classifier.net, classifier.inputs(mnist.test_images), mnist.test_labels)
    return {"others": sum(result.correct for result in read) / len(read), "mnist": known.accuracy}


def measure(folder: Path, seed: int) -> list[dict]:
    others = [
        face for face in installed_faces() if "mpl-data" in face.path and "DejaVu" not in face.family
    ]
    draw(folder / "mine", find_faces(list(LEARNED)), 20, seed)
    draw(folder / "others", others, 2 * len(others), seed)
    rows = [{"recipe": "none", "seed": seed, **accuracies(WEIGHTS, folder / "others")}]
    for recipe in RECIPES:
        flags = ["--dataset", str(folder / "mine"), "--init-from", str(WEIGHTS), "--recipe", recipe]
        output = folder / f"{recipe}.pth"
        run_training([*flags, "--seed", str(seed), "--output", str(output)])
        rows.append({"recipe": recipe, "seed": seed, **accuracies(output, folder / "others")})
    return rows


def main() -> int:
    results = load("fine_tune")
    if "--table" not in sys.argv:
        results["rows"] = []
        for seed in SEEDS:
            folder = Path(tempfile.mkdtemp())
            results["rows"] += measure(folder, seed)
            shutil.rmtree(folder)
        save("fine_tune", results)
    for recipe in ("none", *RECIPES):
        rows = [row for row in results["rows"] if row["recipe"] == recipe]
        others, mnist = (spread([row[name] for row in rows]) for name in ("others", "mnist"))
        print(f"{recipe:10} {len(rows)} seeds  the style in other faces {others}  MNIST {mnist}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
