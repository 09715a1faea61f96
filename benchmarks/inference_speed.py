"""How fast whole folders are read, beside a plain script and Pillow's bare decoding; and the memory.

    python benchmarks/inference_speed.py            # about 20 minutes on two idle cores
    python benchmarks/inference_speed.py --only small --repeats 1    # or large, or memory
    python benchmarks/inference_speed.py --only memory --count 20000
    python benchmarks/inference_speed.py --table    # print what was measured

Small pictures are MNIST's 10,000 test images as 28×28 PNGs; large ones are made-up photographs
of 4000×3000 pixels in JPEG. Each way to read them is a process of its own, and they take turns.
The time is that of the pictures alone: imports, weights and the start of workers come before it.

Memory: `inference.py` reads a tree of a million names (links to the 10,000 PNGs, 10,000 a folder)
into a file, is stopped by SIGINT halfway, and starts again. The proportional set size of it and of
its workers is looked at five times a second (/proc/PID/smaps_rollup, Linux).
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

A_FOLDER = 10_000  # names
WEIGHTS = ROOT / "pretrained" / "lenet5.pth"
# Programs that print the seconds which the paths in the file sys.argv[1] take.
BARE = """
import multiprocessing, sys, time
from PIL import Image
def decode(path):
    Image.open(path).load()
if __name__ == "__main__":
    paths, count = open(sys.argv[1]).read().split(), int(sys.argv[2])
    with multiprocessing.Pool(count) as pool:
        pool.map(decode, paths[: 2 * count], 1)
        start = time.perf_counter()
        if count > 1:
            pool.map(decode, paths, max(1, len(paths) // (8 * count)))
        else:
            list(map(decode, paths))
        print(time.perf_counter() - start)
"""
PLAIN = """
import sys, time
import numpy as np, torch
from PIL import Image
from lenet5.networks.weights import load_weights
net, metadata = load_weights(sys.argv[3])
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
import os, sys, time
from lenet5.imaging.preprocess import prepare
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.many_pictures import batches, read_all
from lenet5.reading.results import JsonWriter
from lenet5.reading.workers import Preparation
if __name__ == "__main__":
    paths, writer = open(sys.argv[1]).read().split(), JsonWriter(open(os.devnull, "w"))
    classifier = ImageClassifier(sys.argv[3], device="cpu")
    classifier.predict_batch(paths[:1] * 256)
    with Preparation(prepare, "auto", int(sys.argv[2])) as preparation:
        for _ in range(8):
            preparation.of(paths[:1] * 8)
        start = time.perf_counter()
        for results in read_all(classifier, preparation, batches(iter(paths), 256)):
            assert not any(result.error for result in results)
            writer.write(results)
        print(time.perf_counter() - start)
"""
# By name: the program, and its number of processes, threads or workers.
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


def rate(name: str, listed: Path, count: int) -> float:
    """Pictures a second of one way to read them, in a process of its own."""
    program, number = WAYS[name]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:  # multiprocessing needs a file
        file.write(program)
        file.flush()
        command = [sys.executable, file.name, str(listed), str(number), str(WEIGHTS)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return count / float(done.stdout)


def measure_speed(what: str, arguments) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        is_small = what == "small"
        paths = make_small(Path(folder)) if is_small else make_large(Path(folder), arguments.large)
        ways = [name for name in WAYS if is_small or name != "plain script"]  # it takes 28×28 alone
        listed = Path(folder, "paths.txt")
        listed.write_text("".join(f"{path}\n" for path in paths))
        return [
            {"what": what, "repeat": repeat} | {name: rate(name, listed, len(paths)) for name in ways}
            for repeat in range(arguments.repeats)
        ]


def read_tree(tree: Path, output: Path, stop_at: float) -> dict:
    """Read a tree into a file, stopped at so many bytes: the seconds, the status and the most memory."""
    flags = [str(tree), "--weights", str(WEIGHTS), "--device", "cpu", "--workers", "2"]
    command = [sys.executable, str(ROOT / "inference.py"), *flags, "--output", str(output)]
    before = output.stat().st_size if output.exists() else 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start, found = time.perf_counter(), {"first": 0.0, "most": 0, "most_of_workers": 0}
    while process.poll() is None:
        size = output.stat().st_size if output.exists() else 0
        if size > before and not found["first"]:
            found["first"] = time.perf_counter() - start
        if size > stop_at:
            process.send_signal(signal.SIGINT)
            stop_at = float("inf")
        workers = sum(memory_of(child, "Pss:") for child in children_of(process.pid))
        found["most_of_workers"] = max(found["most_of_workers"], workers)
        found["most"] = max(found["most"], memory_of(process.pid, "Pss:"))
        time.sleep(0.2)
    return found | {"seconds": time.perf_counter() - start, "status": process.returncode}


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
    with tempfile.TemporaryDirectory() as folder:
        pictures, tree, output = (Path(folder, name) for name in ("pictures", "tree", "out.jsonl"))
        pictures.mkdir()
        paths = make_small(pictures)
        for i in range(count):
            below, picture = tree / f"{i // A_FOLDER:04}", paths[i % len(paths)]
            below.mkdir(parents=True, exist_ok=True)
            os.link(picture, below / f"{picture.stem}_{i:07}.png")
        first = read_tree(tree, output, stop_at=90 * count)  # of about 180 bytes a result
        second = read_tree(tree, output, stop_at=float("inf"))
        with open(output) as file:
            names = [json.loads(line)["path"] for line in file]
    return {
        "what": "memory",
        "count": count,
        "imports": memory_of_imports(),
        "first_result": first["first"],
        "first_seconds": first["seconds"],
        "first_status": first["status"],
        "goes_on_after": second["first"],
        "second_seconds": second["seconds"],
        "second_status": second["status"],
        "results": len(names),
        "different": len(set(names)),
        "most": max(first["most"], second["most"]),
        "most_of_workers": max(first["most_of_workers"], second["most_of_workers"]),
    }


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
    imports, most, workers = (row[name] / 1e6 for name in ("imports", "most", "most_of_workers"))
    print(
        f"{row['count']:,} pictures: {most - imports:.0f} MB above the {imports:.0f} MB of the imports "
        f"and weights, and {workers:.0f} MB in two workers"
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
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", type=int, default=48, help="large pictures")
    parser.add_argument("--count", type=int, default=1_000_000, help="pictures for the memory")
    arguments = parser.parse_args()
    name = Path(__file__).stem
    results = load(name)
    wanted = [arguments.only] if arguments.only else ["small", "large", "memory"]
    for what in [] if arguments.table else wanted:
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
