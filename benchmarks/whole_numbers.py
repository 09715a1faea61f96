"""How whole numbers are read: by the network over the strip, by the graph of segments, by both.

    python benchmarks/whole_numbers.py            # strings of MNIST's test digits
    python benchmarks/whole_numbers.py --choose   # the same of held-out training digits
    python benchmarks/whole_numbers.py --windows  # one run over the strip beside window by window
    python benchmarks/whole_numbers.py --speed    # pictures a second
    python benchmarks/whole_numbers.py --strange  # blank, noise, letters: what is read in them
    python benchmarks/whole_numbers.py --table    # print what was measured

(The file is not called numbers.py, since Python's own module of that name would then
not be found by what is imported beside it.) The numbers are made as `strings.py` tells,
with slant, size, base line and noise; what was learned from and chosen by are training
images alone. A number counts as right if all its digits are, in order and without others.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import mean

import numpy as np
import torch
from common import ROOT, held_out, load, median_and_range, save

from dataset import load_mnist
from decoding import best_path, likeliest
from displacement import STRIDE, WINDOW, row_of_answers, strip_input
from inference import FONTS
from lines import numbers_in
from nondigits import load_letters
from read_number import WEIGHTS, NumberReader
from segments import graphs_of, read_graph
from strings import make_strings

LENGTHS, SPACINGS, SEEDS = (1, 3, 5, 10), (20, 5, 0, -2, -4), (0, 1, 2)
STRINGS = 200  # of each length and spacing, for each seed
TURNS = 5
STRANGE = 500  # pictures of each kind


def strips_of(strings) -> list[np.ndarray]:
    """Each number as a picture of its own, 32×W uint8."""
    widths = strings.widths.tolist()
    return [picture[:, :width].numpy() for picture, width in zip(strings.pictures, widths, strict=True)]


def share(found: list[str], truth: list[str]) -> float:
    return mean(a == b for a, b in zip(found, truth, strict=True))


def read_each_way(reader: NumberReader, pictures: list[np.ndarray]) -> dict[str, list[str]]:
    """What each way of reading says of each picture, through the same strips."""
    strips = [[strip.picture for strip in numbers_in(picture)] for picture in pictures]
    flat = [strip for found in strips for strip in found]
    with torch.inference_mode():
        rows = reader.reader.shares(flat)
    logs = [torch.from_numpy(row).clamp(min=1e-30).log()[None] for row in rows]
    ways = {
        "best path": [best_path(row)[0] for row in logs],
        "prefix search": [likeliest(row)[0].text for row in logs],
        "graph": ["".join(map(str, read_graph(g)[0])) for g in graphs_of(flat, reader.digits.logits)],
        "both": [reading.text for reading in reader.reader.read(flat)],
    }
    found = {}
    for name, texts in ways.items():
        rest = iter(texts)
        found[name] = [" ".join(filter(None, (next(rest) for _ in own))) for own in strips]
    return found


def accuracy(reader: NumberReader, images, labels, seeds=SEEDS, lengths=LENGTHS, strings=STRINGS):
    """Rows of length, spacing, seed and each way's share of numbers right."""
    for length in lengths:
        for spacing in SPACINGS if length > 1 else (0,):
            for seed in seeds:
                made = make_strings(
                    images, labels, strings, 1000 + seed, lengths=(length, length), spacing=spacing
                )
                found = read_each_way(reader, strips_of(made))
                row = {name: share(texts, made.texts()) for name, texts in found.items()}
                yield {"length": length, "spacing": spacing, "seed": seed, "strings": strings, **row}


def measure_windows(reader: NumberReader, images, labels) -> dict:
    """One run over strips of five digits beside a run over each of their windows."""
    net = reader.reader.net
    strings = make_strings(images, labels, 50, 0, lengths=(5, 5), spacing=5)
    inputs = strip_input(strings.pictures, net.mean, net.std)
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
    pictures = strips_of(
        make_strings(mnist.test_images, mnist.test_labels, 220, seed, lengths=(5, 5), spacing=5)
    )
    reader.predict_batch(pictures[:20])
    start, worked = time.perf_counter(), time.process_time()
    reader.predict_batch(pictures[20:])
    return time.perf_counter() - start, time.process_time() - worked


def measure_speed() -> dict:
    """Pictures a second, by two processes with a thread each."""
    with ProcessPoolExecutor(2) as pool:
        turns = [list(pool.map(time_reading, (turn, turn + 100))) for turn in range(TURNS)]
    by_clock = [sum(200 / clock for clock, _ in pair) for pair in turns]
    by_work = [sum(200 / worked for _, worked in pair) for pair in turns]
    print(f"pictures a second, two processes: {median_and_range(by_clock)}")
    print(f"with two cores to themselves, by the processor's time: {median_and_range(by_work)}")
    return {"by_clock": by_clock, "by_work": by_work, "load": os.getloadavg()}


def strange_pictures(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Pictures without a digit: plain paper, grain, and letters in unseen fonts in rows."""
    letters = load_letters(FONTS, held_out=True)
    nothing = torch.full((len(letters),), -1)
    words = make_strings(letters, nothing, STRANGE, 5)
    sizes = rng.integers(32, 300, (2 * STRANGE, 2))
    return {
        "blank": [np.full(size, rng.integers(0, 256), np.uint8) for size in sizes[:STRANGE]],
        "noise": [
            np.clip(rng.normal(rng.integers(60, 200), rng.uniform(2, 60), size), 0, 255).astype(np.uint8)
            for size in sizes[STRANGE:]
        ],
        "letters": strips_of(words),
    }


def measure_strange(reader: NumberReader) -> dict:
    rows = {}
    for name, pictures in strange_pictures(np.random.default_rng(0)).items():
        found = reader.predict_batch(pictures)
        read = mean(bool(result.numbers) for result in found)
        answered = mean(result.prediction is not None for result in found)
        rows[name] = {"read": read, "answered": answered, "pictures": len(found)}
        print(f"{name:8} {100 * read:6.2f} % read, {100 * answered:6.2f} % with --reject")
    return rows


def print_table(rows: list[dict]) -> None:
    ways = ("best path", "prefix search", "graph", "both")
    print("length  spacing" + "".join(f"{way:>15}" for way in ways))
    for length in LENGTHS:
        for spacing in SPACINGS:
            own = [row for row in rows if (row["length"], row["spacing"]) == (length, spacing)]
            if own:
                shown = "".join(f"{100 * mean(row[way] for row in own):13.2f} %" for way in ways)
                print(f"{length:6}  {spacing:7}{shown}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("choose", "windows", "speed", "strange", "table"):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--weights", default=str(WEIGHTS))
    arguments = parser.parse_args()
    results = load("whole_numbers")
    if arguments.table:
        print_table(results["rows"])
        return 0
    if arguments.speed:
        results["speed"] = measure_speed()
        save("whole_numbers", results)
        return 0
    torch.set_num_threads(1)
    reader = NumberReader(arguments.weights, device="cpu", reject=True)
    images, labels = held_out()
    if arguments.choose:
        print_table(list(accuracy(reader, images, labels, (0,), (5,))))
    elif arguments.windows:
        results["windows"] = measure_windows(reader, images, labels)
        save("whole_numbers", results)
    elif arguments.strange:
        results["strange"] = measure_strange(reader)
        save("whole_numbers", results)
    else:
        mnist = load_mnist(ROOT / "data")
        results["rows"] = []
        for row in accuracy(reader, mnist.test_images, mnist.test_labels):
            results["rows"].append(row)
            save("whole_numbers", results)
        print_table(results["rows"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
