"""Accuracy on pictures of numbers, folder by folder, beside Tesseract and RapidOCR.

    python benchmarks/real_numbers.py FOLDER ...                  # FOLDER/<number>_<k>.jpg
    python benchmarks/real_numbers.py FOLDER ... --one            # a single number in each picture
    python benchmarks/real_numbers.py FOLDER ... --others PYTHON  # beside other readers
    python benchmarks/real_numbers.py --table                     # print what was measured
    python benchmarks/real_numbers.py --table --write             # and put it into docs/

Only digits count: a picture is read right if the digits of everything that was read in it are those
of its name before the underscore. PYTHON is that of an environment with
benchmarks/requirements-ocr.txt; Tesseract 5 is Debian's package. `number_accuracy.py --save FOLDER`
makes folders of made-up numbers.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from common import ROOT, make_parser, markdown, measure_anew, percent, write_between

from lenet5.data.picture_files import find_pictures
from lenet5.evaluation.metrics import calibration_error
from lenet5.runtime.errors import say
from lenet5.whole_numbers.number_reader import NumberReader, NumberResult

OTHERS = ROOT / "benchmarks" / "contestants" / "ocr.py"
AT_ONCE = 256  # pictures
HEADS = {
    "right": "read right",
    "answered": "with `--reject` answered",
    "right_of_answered": "of these right",
    "calibration_error": "calibration error",
}


def digits_of(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def labelled(folder: Path) -> dict[str, str]:
    """The pictures in a folder, and the digits of the number that each name begins with."""
    paths = find_pictures([str(folder)])
    numbers = {path: digits_of(Path(path).stem.partition("_")[0]) for path in paths}
    found = {path: number for path, number in numbers.items() if number}
    if len(found) < len(numbers) or not found:
        say(f"{folder}: left out {len(numbers) - len(found)} whose names do not begin with a number")
    return found


def scores(results: list[NumberResult], truth: list[str]) -> dict:
    """Shares from 0 to 1: read right; with `reject` answered, and right of these; calibration error."""
    texts = ["".join(number["text"] for number in result.numbers or []) for result in results]
    right = torch.tensor([a == b for a, b in zip(texts, truth, strict=True)])
    answered = torch.tensor([result.prediction is not None for result in results])
    sure = torch.tensor([result.confidence or 0.0 for result in results])
    return {
        "right": right.double().mean().item(),
        "answered": answered.double().mean().item(),
        "right_of_answered": right[answered].double().mean().item() if answered.any() else None,
        "calibration_error": calibration_error(sure, right),
    }


def measure(folder: Path, reader: NumberReader, others: str | None) -> dict | None:
    """One folder's row; shares from 0 to 1."""
    numbers = labelled(folder)
    if not numbers:
        return None
    paths, truth = list(numbers), list(numbers.values())
    results = []
    for start in range(0, len(paths), AT_ONCE):
        results += reader.predict_batch(paths[start : start + AT_ONCE])
    row = {"set": folder.name, "pictures": len(paths), **scores(results, truth)}
    if others:
        done = subprocess.run(
            [others, str(OTHERS)], input="\n".join(paths), stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        row["others"] = {name: share([*map(digits_of, read)], truth) for name, read in found.items()}
    return row


def share(found: list[str], truth: list[str]) -> float:
    return sum(a == b for a, b in zip(found, truth, strict=True)) / len(truth)


def table_of(rows: list[dict]) -> str:
    names = list(rows[0].get("others", {})) if rows else []
    cells = []
    for row in rows:
        shares = [percent(row[name]) for name in HEADS] + [
            percent(row["others"][name]) for name in names
        ]
        cells.append([row["set"], f"{row['pictures']:,}", *shares])
    return markdown(["pictures", "number", *HEADS.values(), *names], cells)


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", type=Path)
    parser.add_argument("--one", action="store_true")
    parser.add_argument("--others", metavar="PYTHON")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if not options.folders and not options.table:
        parser.error("name a folder of pictures, or --table")

    def rows() -> list[dict]:
        reader = NumberReader(device="cpu", one=options.one, reject=True)
        measured = [measure(folder, reader, options.others) for folder in options.folders]
        return [row for row in measured if row]

    table = table_of(measure_anew("real_numbers", rows, options.table))
    print(table)
    if options.write:
        write_between("beside other readers", table, "docs/whole-numbers.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
