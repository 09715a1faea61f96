"""How fast whole folders are read, beside a plain script and Pillow's bare decoding; and the memory.

    python benchmarks/inference_speed.py            # about 20 minutes on two idle cores
    python benchmarks/inference_speed.py --only small --repeats 1    # or large, or memory
    python benchmarks/inference_speed.py --only memory --count 20000
    python benchmarks/inference_speed.py --table    # print what was measured

Small pictures are MNIST's 10,000 test images as 28×28 PNGs; large ones are made-up
photographs of 4000×3000 pixels in JPEG. Each way to read them is a process of its own, and
they take turns. The time is that of the pictures alone: what a script imports, its weights
and the start of its workers come before it.

Memory: `inference.py` reads a tree of a million names (links to the 10,000 PNGs, 10,000 a
folder) into a file, is stopped by SIGINT halfway, and goes on. The proportional set size of
it and of its workers is looked at five times a second (/proc/PID/smaps_rollup, Linux);
what its imports and its weights take is counted before.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import ROOT, children_of, held_out, load, median_and_range, memory_of, save
from PIL import Image

REPEATS, LARGE, MILLION = 5, 48, 1_000_000
A_FOLDER = 10_000  # names
WEIGHTS = ROOT / "pretrained" / "lenet5.pth"
BARE = """
import multiprocessing, sys, time
from PIL import Image
def decode(path):
    Image.open(path).load()
if __name__ == "__main__":
    paths, count = open(sys.argv[1]).read().split(), int(sys.argv[2])
    share = max(1, len(paths) // (8 * count))
    with multiprocessing.Pool(count) as pool:
        pool.map(decode, paths[: 2 * count], 1)
        start = time.perf_counter()
        if count > 1:
            pool.map(decode, paths, share)
        else:
            for path in paths:
                decode(path)
        print(time.perf_counter() - start)
"""
PLAIN = """
import sys, time
sys.path.insert(0, sys.argv[3])
import numpy as np, torch
from PIL import Image
from model import load_weights
net, metadata = load_weights(sys.argv[4])
net.eval()
torch.set_num_threads(int(sys.argv[2]))
paths = open(sys.argv[1]).read().split()
for begin in (paths[:20], paths):
    start = time.perf_counter()
    with torch.no_grad():
        for path in begin:
            pixels = np.asarray(Image.open(path).convert("L"), dtype=np.float32) / 255
            inputs = np.pad((pixels - metadata["mean"]) / metadata["std"], 2)
            net(torch.from_numpy(inputs.astype(np.float32))[None, None]).argmax().item()
print(time.perf_counter() - start)
"""
OURS = """
import contextlib, os, sys, time
sys.path.insert(0, sys.argv[3])
import inference
from lenet5.reading.results import Report
from lenet5.reading.workers import Preparation
flags = ["--files-from", sys.argv[1], "--format", "json", "--weights", sys.argv[4], "--device", "cpu"]
arguments = inference.parse_arguments(flags)
classifier = inference.classifier_of(arguments)
first = open(sys.argv[1]).readline().strip()
classifier.predict_batch([first] * 256)
with Preparation(int(sys.argv[2]), "digits", "auto") as preparation:
    for _ in range(8):
        preparation.of([first] * 8)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        start = time.perf_counter()
        report = Report()
        inference.score(classifier, arguments, report, None, preparation)
        seconds = time.perf_counter() - start
assert report.unreadable == 0
print(seconds)
"""
# By name: the script, and its number of processes, threads or workers.
WAYS = {
    "Pillow's decoding, 1 process": (BARE, 1),
    "Pillow's decoding, 2 processes": (BARE, 2),
    "plain script": (PLAIN, 1),
    "ours, no workers": (OURS, 0),
    "ours, 2 workers": (OURS, 2),
}
BESIDE = {
    "ours, no workers": "Pillow's decoding, 1 process",
    "ours, 2 workers": "Pillow's decoding, 2 processes",
}


# ---------------------------------------------------------------- pictures


def make_small(folder: Path) -> list[Path]:
    """MNIST's test images as PNGs."""
    from lenet5.data.datasets import load_mnist

    mnist, paths = load_mnist(ROOT / "data"), []
    for i, (image, label) in enumerate(zip(mnist.test_images, mnist.test_labels, strict=True)):
        paths.append(folder / f"digit_{label}_{i:05}.png")
        Image.fromarray(image.numpy()).save(paths[-1])
    return paths


def make_large(folder: Path, count: int) -> list[Path]:
    """Made-up photographs with every trouble by chance and a sensor's noise, of 12 megapixels."""
    from photographs import TROUBLES, photograph

    images, labels = (part.numpy() for part in held_out())
    rng, paths = np.random.default_rng(0), []
    for i in range(count):
        small = photograph(images[i] / np.float32(255), rng, TROUBLES["everything"])
        picture = np.asarray(small.resize((4000, 3000), Image.Resampling.BICUBIC), np.float32)
        picture = picture + rng.normal(0, 3, picture.shape).astype(np.float32)
        paths.append(folder / f"digit_{labels[i]}_{i:05}.jpg")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def link_many(pictures: list[Path], folder: Path, count: int) -> None:
    """A tree of `count` names for some pictures."""
    for i in range(count):
        below = folder / f"{i // A_FOLDER:04}"
        if i % A_FOLDER == 0:
            below.mkdir(parents=True)
        picture = pictures[i % len(pictures)]
        os.link(picture, below / f"{picture.stem}_{i:07}.png")


# ---------------------------------------------------------------- speed


def rate(name: str, listed: Path, count: int) -> float:
    """Pictures a second of one way to read them, in a process of its own."""
    script, number = WAYS[name]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:  # multiprocessing needs a file
        file.write(script)
        file.flush()
        command = [sys.executable, file.name, str(listed), str(number), str(ROOT), str(WEIGHTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return count / float(done.stdout)


def measure_speed(what: str, arguments) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        if what == "small":
            paths, ways = make_small(Path(folder)), list(WAYS)
        else:
            paths = make_large(Path(folder), arguments.large)
            ways = [name for name in WAYS if name != "plain script"]  # it takes 28×28 alone
        listed = Path(folder, "paths.txt")
        listed.write_text("".join(f"{path}\n" for path in paths))
        return [
            {"what": what, "repeat": repeat} | {name: rate(name, listed, len(paths)) for name in ways}
            for repeat in range(arguments.repeats)
        ]


# ---------------------------------------------------------------- memory


class Reading:
    """`inference.py` over a tree, and the most memory that it and its workers took."""

    def __init__(self, tree: Path, output: Path):
        flags = [str(tree), "--weights", str(WEIGHTS), "--device", "cpu", "--workers", "2"]
        command = [sys.executable, str(ROOT / "inference.py"), *flags, "--output", str(output)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.output, self.most, self.most_of_workers = output, 0, 0
        self.start, self.before = time.perf_counter(), self.size()

    def size(self) -> int:
        return self.output.stat().st_size if self.output.exists() else 0

    def watch(self, until=lambda: False) -> float:
        """Look at its memory until it ends or something is so; the seconds since it began."""
        while self.process.poll() is None and not until():
            workers = sum(memory_of(child, "Pss:") for child in children_of(self.process.pid))
            self.most_of_workers = max(self.most_of_workers, workers)
            self.most = max(self.most, memory_of(self.process.pid, "Pss:"))
            time.sleep(0.2)
        return time.perf_counter() - self.start


def memory_of_imports() -> int:
    """Bytes of a process that has imported what inference.py needs and loaded the weights."""
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]\n"
        "import os, common, inference\n"
        f"classifier = inference.ImageClassifier({str(WEIGHTS)!r}, device='cpu')\n"
        "print(common.memory_of(os.getpid(), 'Pss:'))"
    )
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


def measure_memory(count: int) -> dict:
    row = {"what": "memory", "count": count, "imports": memory_of_imports()}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        link_many(make_small(pictures), Path(folder, "tree"), count)
        output = Path(folder, "out.jsonl")
        first = Reading(Path(folder, "tree"), output)
        first.watch(lambda: first.size() > 0)
        row["first_result"] = time.perf_counter() - first.start
        middle = 90 * count  # bytes, of about 180 a result
        row["first_seconds"] = first.watch(lambda: first.size() > middle)
        first.process.send_signal(signal.SIGINT)
        row["first_status"], kept = first.process.wait(), first.size()
        second = Reading(Path(folder, "tree"), output)
        second.watch(lambda: second.size() > kept)
        row["goes_on_after"] = time.perf_counter() - second.start
        row["second_seconds"] = second.watch()
        row["second_status"] = second.process.wait()
        with open(output) as file:
            names = [json.loads(line)["path"] for line in file]
        row["results"], row["different"] = len(names), len(set(names))
        row["most"] = max(first.most, second.most)
        row["most_of_workers"] = max(first.most_of_workers, second.most_of_workers)
    return row


# ---------------------------------------------------------------- the table


def print_speed(rows: list[dict]) -> None:
    for what in ("small", "large"):
        own = [row for row in rows if row["what"] == what]
        for name in WAYS:
            rates = [row[name] for row in own if name in row]
            if not rates:
                continue
            beside = BESIDE.get(name)
            share = median_and_range([row[name] / row[beside] for row in own]) if beside else ""
            words = f"{median(rates):9,.1f} a second ({min(rates):,.1f} to {max(rates):,.1f})"
            print(f"{what}  {name:31} {words}" + (f", of Pillow's {share}" if share else ""))


def print_memory(row: dict) -> None:
    megabytes = {name: row[name] / 1e6 for name in ("imports", "most", "most_of_workers")}
    print(
        f"{row['count']:,} pictures: {megabytes['most'] - megabytes['imports']:.0f} MB above the "
        f"{megabytes['imports']:.0f} MB of the imports and weights, and "
        f"{megabytes['most_of_workers']:.0f} MB in two workers"
    )
    print(
        f"first result after {row['first_result']:.1f} s, stopped after {row['first_seconds']:.0f} s "
        f"(status {row['first_status']}), went on after {row['goes_on_after']:.1f} s, ended after "
        f"{row['second_seconds']:.0f} s (status {row['second_status']}): "
        f"{row['results']:,} results of {row['different']:,} pictures"
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", choices=["small", "large", "memory"])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--large", type=int, default=LARGE, help="large pictures")
    parser.add_argument("--count", type=int, default=MILLION, help="pictures for the memory")
    arguments = parser.parse_args()
    name = Path(__file__).stem
    results = load(name)
    if not arguments.table:
        for what in ("small", "large", "memory"):
            if arguments.only not in (None, what):
                continue
            is_memory = what == "memory"
            found = [measure_memory(arguments.count)] if is_memory else measure_speed(what, arguments)
            results["rows"] = [row for row in results["rows"] if row["what"] != what] + found
            save(name, results)
    print_speed(results["rows"])
    for row in results["rows"]:
        if row["what"] == "memory":
            print_memory(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
