"""Rows of pictures of single digits, as on a meter or in a register, for real_numbers.py.

    python benchmarks/rows_of_digits.py ../shared/real/choose/meter_digits rows/ --length 7
    python benchmarks/real_numbers.py rows --one

FOLDER has a sub-folder for each digit. A row is of pictures that are about as bright and have about as
much contrast, on one height, up to `--gap` pixels apart on a dark frame or on paper like theirs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from common import ROOT  # noqa: F401, it sets the path
from PIL import Image

from lenet5.data.picture_files import find_pictures


def row_of(paths: list[str], gap: int, rng: np.random.Generator) -> Image.Image:
    """The pictures side by side, on the height of the highest."""
    pictures = [Image.open(path).convert("RGB") for path in paths]
    height = max(picture.height for picture in pictures)
    pictures = [one.resize((round(one.width * height / one.height), height)) for one in pictures]
    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in pictures])
    like_theirs = tuple(np.median(pixels, axis=0).astype(int).tolist())
    dark = (int(rng.integers(60)),) * 3
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) + 1)
    sheet = Image.new("RGB", (width, height + 2 * gap), like_theirs if rng.random() < 0.5 else dark)
    x = gap
    for picture in pictures:
        sheet.paste(picture, (x, gap))
        x += picture.width + gap
    return sheet


def light_of(path: str) -> np.ndarray:
    levels = np.asarray(Image.open(path).convert("L"), float)
    return np.array([levels.mean(), levels.std()])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("output", metavar="OUTPUT", type=Path)
    for name, default in (("length", 5), ("count", 100), ("gap", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    paths = [path for path in find_pictures([str(options.folder)]) if Path(path).parent.name.isdigit()]
    lights = np.array([light_of(path) for path in paths])
    options.output.mkdir(parents=True, exist_ok=True)
    for k in range(options.count):
        away = np.abs(lights - lights[rng.integers(len(paths))]).sum(axis=1) + rng.uniform(
            0, 10, len(paths)
        )
        alike = np.argsort(away)[: 2 * options.length]
        chosen = [paths[i] for i in rng.permutation(alike)[: options.length]]
        number = "".join(Path(path).parent.name for path in chosen)
        row_of(chosen, int(rng.integers(options.gap + 1)), rng).save(
            options.output / f"{number}_{k}.png"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
