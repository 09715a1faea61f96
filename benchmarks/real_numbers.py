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

from common import ROOT, make_parser, markdown, measure_anew, percent, write_between

from lenet5.data.picture_files import find_pictures
from lenet5.whole_numbers.number_reader import NumberReader

OTHERS = ROOT / "benchmarks" / "contestants" / "ocr.py"
HEADS = ["pictures", "number", "read right", "with `--reject` answered", "of these right"]


def digits_of(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def measure(folder: Path, reader: NumberReader, others: str | None) -> dict:
    """One folder's row; shares from 0 to 1."""
    paths = list(find_pictures([str(folder)]))
    truth = [digits_of(Path(path).stem.partition("_")[0]) for path in paths]
    results = reader.predict_batch(paths)
    texts = ["".join(number["text"] for number in result.numbers or []) for result in results]
    answered = [i for i, result in enumerate(results) if result.prediction is not None]
    kept = share([texts[i] for i in answered], [truth[i] for i in answered]) if answered else None
    row = {"set": folder.name, "pictures": len(paths), "right": share(texts, truth)}
    row |= {"answered": len(answered) / len(paths), "right_of_answered": kept}
    if others:
        command = [others, str(OTHERS), *paths]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        row["others"] = {name: share([*map(digits_of, read)], truth) for name, read in found.items()}
    return row


def share(found: list[str], truth: list[str]) -> float:
    return sum(a == b for a, b in zip(found, truth, strict=True)) / len(truth)


def table_of(rows: list[dict]) -> str:
    names = list(rows[0].get("others", {}))
    cells = []
    for row in rows:
        shares = [percent(row[name]) for name in ("right", "answered", "right_of_answered")]
        shares += [percent(row["others"][name]) for name in names]
        cells.append([row["set"], f"{row['pictures']:,}", *shares])
    return markdown([*HEADS, *names], cells)


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
        return [measure(folder, reader, options.others) for folder in options.folders]

    table = table_of(measure_anew("real_numbers", rows, options.table))
    print(table)
    if options.write:
        write_between("beside other readers", table, "docs/whole-numbers.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
