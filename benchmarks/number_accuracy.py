"""How whole numbers are read: by the network over the strip, and by the graph of segments.

    python benchmarks/number_accuracy.py            # numbers of MNIST's test digits, by both
    python benchmarks/number_accuracy.py --windows  # one run over the strip beside window by window
    python benchmarks/number_accuracy.py --speed    # pictures a second
    python benchmarks/number_accuracy.py --strange  # blank, noise, letters, words: what is read in them
    python benchmarks/number_accuracy.py --fonts    # numbers in fonts that were not learned
    python benchmarks/number_accuracy.py --pages    # sheets with several numbers on several lines
    python benchmarks/number_accuracy.py --save FOLDER # pictures for real_numbers.py, in folders
    python benchmarks/number_accuracy.py --table    # print what was measured

The numbers are made by `made_up_numbers.py`, with slant, size, base line and noise. A number counts
as right if all its digits are, in order and without others.
"""

import argparse
import itertools
import multiprocessing
import os
import string
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from common import ROOT, load, median_and_range, save, spread
from made_up_numbers import PLAIN, make_strings
from photographs import lighting
from PIL import Image, ImageDraw, ImageFont

from lenet5.data.datasets import load_mnist
from lenet5.data.font_faces import default_face
from lenet5.data.fonts import FONTS, load_font_digits, load_letters
from lenet5.whole_numbers.number_reader import NumberReader
from lenet5.whole_numbers.space_displacement import row_of_answers
from lenet5.whole_numbers.strips import numbers_in
from lenet5.whole_numbers.windows import STRIDE, WINDOW, strip_input

READERS = ("network", "graph")
LENGTHS, SPACINGS, SEEDS = (1, 3, 5, 10), (20, 5, 0, -2, -4), (0, 1, 2)
STRINGS = 200  # of each length and spacing, for each seed
TURNS = 5
STRANGE = 500  # pictures of each kind
FONT_SPACING = 3  # pixels, about as in print
PAGES = 100
SAVED = 300  # of each kind
LICENCE = ROOT / "LICENSE"


def share(found: list[str], truth: list[str]) -> float:
    return mean(a == b for a, b in zip(found, truth, strict=True))


def read_each_way(readers: dict[str, NumberReader], pictures: list[np.ndarray]) -> dict[str, list[str]]:
    """The numbers that each reader finds in each picture, from the same strips."""
    find = readers["network"].find
    strips = [[strip.picture for strip in numbers_in(picture, find)] for picture in pictures]
    flat = [strip for found in strips for strip in found]
    found = {}
    for name, reader in readers.items():
        texts = iter([reading.text for reading in reader.reader.read(flat)])
        found[name] = [" ".join(filter(None, (next(texts) for _ in own))) for own in strips]
    return found


def accuracy(readers: dict[str, NumberReader], images, labels):
    """Rows of length, spacing, seed and each reader's share of numbers right."""
    for length in LENGTHS:
        for spacing, seed in itertools.product(SPACINGS if length > 1 else (0,), SEEDS):
            made = make_strings(
                images, labels, STRINGS, 1000 + seed, lengths=(length, length), spacing=spacing
            )
            found = read_each_way(readers, made.strips())
            row = {name: share(texts, made.texts()) for name, texts in found.items()}
            yield {"length": length, "spacing": spacing, "seed": seed, "strings": STRINGS, **row}


def measure_windows(reader: NumberReader, images, labels) -> dict:
    """One run over strips of five digits beside a run over each of their windows."""
    net = reader.reader.network.net
    strings = make_strings(images, labels, 50, 0, lengths=(5, 5), spacing=5)
    inputs = torch.from_numpy(strip_input(strings.pictures.numpy(), net.mean, net.std))
    windows = inputs.unfold(3, WINDOW, STRIDE).transpose(2, 3).transpose(1, 2)
    windows = windows.reshape(-1, 1, WINDOW, WINDOW)
    ratios, differences = [], []
    with torch.inference_mode():
        for _ in range(TURNS + 1):
            start = time.perf_counter()
            whole = row_of_answers(net, inputs)
            middle = time.perf_counter()
            one_by_one = torch.cat([net(part) for part in windows.split(500)])
            ratios.append((time.perf_counter() - middle) / (middle - start))
            differences.append((whole.flatten(0, 1) - one_by_one).abs().max().item())
    print(f"times as fast: {median_and_range(ratios[1:])}; difference {max(differences):.1e}")
    return {"times_as_fast": ratios[1:], "largest_difference": max(differences), "strips": len(inputs)}


def time_reading(seed: int) -> tuple[float, float]:
    """Seconds, by the clock and of the processor, for 200 pictures of five digits in this process."""
    torch.set_num_threads(1)
    mnist = load_mnist(ROOT / "data")
    reader = NumberReader(device="cpu")
    images, labels = mnist.test_images, mnist.test_labels
    pictures = make_strings(images, labels, 220, seed, lengths=(5, 5), spacing=5).strips()
    reader.predict_batch(pictures[:20])
    start, worked = time.perf_counter(), time.process_time()
    reader.predict_batch(pictures[20:])
    return time.perf_counter() - start, time.process_time() - worked


def measure_speed() -> dict:
    """Pictures a second, by two processes with a thread each."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        turns = [list(pool.map(time_reading, (turn, turn + 100))) for turn in range(TURNS)]
    by_clock = [sum(200 / clock for clock, _ in pair) for pair in turns]
    by_work = [sum(200 / worked for _, worked in pair) for pair in turns]
    print(f"pictures a second, two processes: {median_and_range(by_clock)}")
    print(f"with two cores to themselves, by the processor's time: {median_and_range(by_work)}")
    return {"by_clock": by_clock, "by_work": by_work, "load": os.getloadavg()}


def strange_pictures(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Pictures without a digit: plain paper, grain, letters in unseen fonts in rows, words."""
    letters = load_letters(FONTS, held_out=True)
    nothing = torch.full((len(letters),), -1)
    letters_in_rows = make_strings(letters, nothing, STRANGE, 5)
    sizes = rng.integers(32, 300, (2 * STRANGE, 2))
    return {
        "blank": [np.full(size, rng.integers(0, 256), np.uint8) for size in sizes[:STRANGE]],
        "noise": [
            np.clip(rng.normal(rng.integers(60, 200), rng.uniform(2, 60), size), 0, 255).astype(np.uint8)
            for size in sizes[STRANGE:]
        ],
        "letters": letters_in_rows.strips(),
        "words": [words_of(rng) for _ in range(STRANGE)],
    }


def words_of(rng: np.random.Generator) -> np.ndarray:
    """A part of a line of the licence, in print of any size."""
    line = rng.choice([line for line in LICENCE.read_text().splitlines() if len(line) > 20])
    words = line.translate(str.maketrans("", "", string.digits)).split()
    start = rng.integers(len(words))
    font = ImageFont.truetype(default_face().path, int(rng.integers(12, 60)))
    text = " ".join(words[start : start + int(rng.integers(1, 6))])
    sheet = Image.new("L", [round(side) + 30 for side in font.getbbox(text)[2:]], 240)
    ImageDraw.Draw(sheet).text((15, 12), text, int(rng.integers(0, 120)), font)
    return np.asarray(sheet)


def measure_rejection(reader: NumberReader, images, labels) -> list[dict]:
    """For each spacing the share of numbers of five digits answered, and how many of these are right."""
    rows = []
    for spacing in SPACINGS:
        made = make_strings(images, labels, STRINGS, 1000, lengths=(5, 5), spacing=spacing)
        found = [result.prediction for result in reader.predict_batch(made.strips())]
        answered = [(a, b) for a, b in zip(found, made.texts(), strict=True) if a is not None]
        right = mean(a == b for a, b in answered) if answered else None
        rows.append({"spacing": spacing, "answered": len(answered) / len(found), "right": right})
        print(rows[-1])
    return rows


def measure_strange(reader: NumberReader) -> dict:
    rows = {}
    for name, pictures in strange_pictures(np.random.default_rng(0)).items():
        found = reader.predict_batch(pictures)
        read = mean(bool(result.numbers) for result in found)
        answered = mean(result.prediction is not None for result in found)
        rows[name] = {"read": read, "answered": answered, "pictures": len(found)}
        print(f"{name:8} {100 * read:6.2f} % read, {100 * answered:6.2f} % with --reject")
    return rows


def font_numbers(seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Two numbers of five digits in each of the faces kept for evaluation, and what they are."""
    images, labels = load_font_digits(FONTS, held_out=True)
    pictures, texts = [], []
    for face in range(len(images) // 10):
        own, face_seed = np.s_[10 * face : 10 * face + 10], 1000 * seed + face
        made = make_strings(images[own], labels[own], 2, face_seed, lengths=(5, 5), spacing=FONT_SPACING)
        pictures += made.strips()
        texts += made.texts()
    return pictures, texts


def measure_fonts(reader: NumberReader) -> dict:
    """The mean of three seeds."""
    right = []
    for seed in SEEDS:
        pictures, texts = font_numbers(seed)
        right.append(share([result.prediction for result in reader.predict_batch(pictures)], texts))
    print(f"{len(texts)} numbers a seed: {spread(right)} right")
    return {"numbers": len(texts), "right": right}


def save_pictures(folder: Path, images, labels) -> None:
    """A folder of PNGs named <number>_<k> for each kind of made-up number."""
    sets = {}
    gaps = {"5 pixels apart": 5, "uneven gaps": (2, 12), "touching": (-2, 1), "overlapping": -4}
    for name, spacing in gaps.items():
        made = make_strings(images, labels, SAVED, 1000, lengths=(2, 8), spacing=spacing)
        sets[name] = made.strips(), made.texts()
    sets["unseen fonts"] = font_numbers(0)
    rng = np.random.default_rng(0)
    sets["sheets"] = tuple(zip(*(page_of(images, labels, rng) for _ in range(PAGES)), strict=True))
    for name, (pictures, texts) in sets.items():
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        for i, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
            Image.fromarray(picture).save(own / f"{''.join(text)}_{i}.png")


def page_of(images, labels, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """A sheet with two to five lines of one to three numbers, H×W uint8, and these in order.

    Digits of one size all over the sheet, dark ink on paper in uneven light and grain, the
    sheet turned by up to two degrees.
    """
    zoom = rng.uniform(1.0, 2.5)
    gap = int(rng.integers(1, 6))
    sheet, texts, y = np.zeros((700, 900), np.float32), [], int(rng.integers(20, 50))
    style = PLAIN._replace(noise=0.0)
    for _ in range(rng.integers(2, 6)):
        count, seed = int(rng.integers(1, 4)), int(rng.integers(1 << 30))
        made = make_strings(images, labels, count, seed, lengths=(1, 6), spacing=gap, style=style)
        x = int(rng.integers(20, 60))
        for strip, text in zip(made.strips(), made.texts(), strict=True):
            strip = cv2.resize(strip, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
            if x + strip.shape[1] > sheet.shape[1] - 20 or y + strip.shape[0] > sheet.shape[0] - 20:
                break
            sheet[y : y + strip.shape[0], x : x + strip.shape[1]] = strip.clip(0, 255)
            texts.append(text)
            x += strip.shape[1] + int(rng.uniform(36, 80) * zoom)
        y += int(rng.uniform(36, 60) * zoom)
    height = max(80, np.flatnonzero(sheet.any(axis=1))[-1] + 30)
    turn = cv2.getRotationMatrix2D((450, height / 2), rng.uniform(-2, 2), 1.0)
    ink = cv2.warpAffine(sheet[:height], turn, (900, int(height)))
    paper = rng.uniform(180, 250)
    light = paper * lighting(ink.shape, rng, light=True, shadow=False)
    page = light * (1 - ink / 255 * rng.uniform(0.6, 0.9)) + rng.normal(0, rng.uniform(0, 5), ink.shape)
    return page.clip(0, 255).round().astype(np.uint8), texts


def measure_pages(reader: NumberReader, images, labels) -> dict:
    """How many sheets have their numbers found in order, and how many of these are right."""
    rng = np.random.default_rng(0)
    whole = found = right = total = 0
    for _ in range(PAGES):
        page, texts = page_of(images, labels, rng)
        answers = [number["text"] for number in reader.predict_batch([page])[0].numbers]
        total += len(texts)
        if len(answers) == len(texts):
            found += 1
            right += sum(a == b for a, b in zip(answers, texts, strict=True))
        whole += answers == texts
    rows = {"pages": PAGES, "numbers": total, "all_found": found, "all_right": whole, "right": right}
    print(", ".join(f"{name} {value:,}" for name, value in rows.items()))
    return rows


def print_table(rows: list[dict]) -> None:
    """The mean of the seeds for each length and spacing, as docs/whole-numbers.md has it."""
    print(f"| length | spacing | {' | '.join(READERS)} |")
    print("|---|---|---|---|")
    for length, spacing in dict.fromkeys((row["length"], row["spacing"]) for row in rows):
        own = [row for row in rows if (row["length"], row["spacing"]) == (length, spacing)]
        shown = " | ".join(f"{100 * mean(row[name] for row in own):.2f} %" for name in READERS)
        print(f"| {length} | {'' if length == 1 else spacing} | {shown} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("windows", "speed", "strange", "fonts", "pages", "table"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--weights", help="another network of numbers, whose figures are not kept")
    parser.add_argument("--save", metavar="FOLDER", type=Path)
    arguments = parser.parse_args()
    results = load("whole_numbers")
    if arguments.table:
        print_table(results["rows"])
        return 0
    torch.set_num_threads(1)
    mnist = load_mnist(ROOT / "data")
    test = mnist.test_images, mnist.test_labels
    if arguments.save:
        save_pictures(arguments.save, *test)
        return 0
    reader = NumberReader(arguments.weights, device="cpu", reject=True)
    if arguments.windows:
        results["windows"] = measure_windows(reader, *test)
    elif arguments.speed:
        results["speed"] = measure_speed()
    elif arguments.strange:
        results["strange"] = measure_strange(reader)
        results["rejection"] = measure_rejection(reader, *test)
    elif arguments.fonts:
        results["fonts"] = measure_fonts(reader)
    elif arguments.pages:
        results["pages"] = measure_pages(reader, *test)
    else:
        graph = NumberReader(reader="graph", device="cpu")
        results["rows"] = list(accuracy({"network": reader, "graph": graph}, *test))
        print_table(results["rows"])
    if not arguments.weights:
        save("whole_numbers", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
