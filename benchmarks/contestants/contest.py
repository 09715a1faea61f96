"""The rules that every contestant of side_by_side.py keeps, and MNIST as NumPy arrays.

A contestant is a script of its own that trains on MNIST and says after each epoch how
long the training took, how long the test set took, and how much of it was right. It
needs nothing but NumPy and its own library:

    python benchmarks/contestants/keras_lenet.py --data data --seed 0 --epochs 10

With --json the last line of its output is an object: "epochs" (a list of "seconds",
"accuracy" and "evaluation_seconds"), "versions" of what it ran with, and "peak_mb" of
its own memory.
"""

import argparse
import gzip
import json
import platform
import struct
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Mnist(NamedTuple):
    """uint8 images, N×28×28, and their labels, N int64."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def make_parser(description: str) -> argparse.ArgumentParser:
    """The flags of every contestant."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    add = parser.add_argument
    add("--data", default="data", help="the folder with MNIST/raw/ (data)")
    add("--seed", type=int, default=0, help="of the first weights and the order of images (0)")
    add("--epochs", type=int, default=10, help="how many at most (10)")
    add("--until", type=float, default=2.0, help="end after an epoch with this test accuracy, 0 to 1")
    add("--copies", type=int, default=1, help="train on so many copies of each image (1)")
    add("--images", type=int, help="use only the first images of each part, to try it out")
    add("--json", action="store_true", help="print the figures as JSON")
    return parser


def read_idx(path: Path) -> np.ndarray:
    """The bytes of an IDX file, which may be packed as .gz, in the shape that its head tells."""
    packed = path.with_name(path.name + ".gz")
    data = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    dimensions = data[3]
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def load(options: argparse.Namespace) -> Mnist:
    """MNIST as the options want it."""
    raw = Path(options.data, "MNIST", "raw")
    parts = []
    for part in ("train", "t10k"):
        copies = options.copies if part == "train" else 1
        images = read_idx(raw / f"{part}-images-idx3-ubyte")[: options.images]
        labels = read_idx(raw / f"{part}-labels-idx1-ubyte")[: options.images].astype(np.int64)
        parts += [np.tile(images, (copies, 1, 1)), np.tile(labels, copies)]
    return Mnist(*parts)


def clocked(work) -> tuple[float, object]:
    """Seconds that a call took, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compete(options: argparse.Namespace, train_epoch, accuracy) -> list[dict]:
    """Train and evaluate in turns; a dict an epoch.

    `train_epoch()` makes one pass over the training images and returns when all of it is
    computed; `accuracy()` is the share of the test images that is read right, 0 to 1.
    """
    epochs = []
    while len(epochs) < options.epochs:
        seconds, _ = clocked(train_epoch)
        evaluation_seconds, share = clocked(accuracy)
        epochs.append(
            {"seconds": seconds, "accuracy": float(share), "evaluation_seconds": evaluation_seconds}
        )
        show(options, len(epochs), epochs[-1])
        # The first epoch warms up, so there are at least two.
        if len(epochs) > 1 and epochs[-1]["accuracy"] >= options.until:
            break
    return epochs


def show(options: argparse.Namespace, number: int, epoch: dict) -> None:
    """A line for a person after each epoch."""
    if not options.json:
        print(
            f"epoch {number:2}  {epoch['seconds']:6.2f} s  test accuracy {epoch['accuracy']:.2%},"
            f" evaluated in {epoch['evaluation_seconds']:.2f} s",
            flush=True,
        )


def report(options: argparse.Namespace, epochs: list[dict], *libraries: str) -> None:
    """What the contest wants to know, where --json asks for it."""
    if options.json:
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        versions |= {name: version(name) for name in libraries}
        print(json.dumps({"epochs": epochs, "versions": versions, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """The most memory that this process has had so far, in MB of 10^6 bytes.

    From /proc where there is one: what getrusage tells counts the process before as well
    that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # Unix alone has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
