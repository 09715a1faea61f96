"""The web server beside the same calls in this process: pictures a second, latency, memory.

    python benchmarks/server.py          # a minute
    python benchmarks/server.py --table  # print what was measured
    python benchmarks/server.py --table --write  # and put it into docs/reading-pictures.md

Eight clients send MNIST's test images as PNGs of 28×28, and simulated photographs of 1,200×900 pixels as
JPEGs, one after the other, to POST /digit of a server in another process; in turns the same pictures are
read here by `predict`, one by one, and by `predict_batch`. Median and range of the turns. Memory is what
a process has more at its peak during some `predict` than after its imports.
"""

import http.client
import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import torch
from common import ROOT, make_parser, markdown, measure_anew, median_and_range, write_between
from photographs import TROUBLES, photograph
from PIL import Image

from lenet5.data.datasets import load_mnist
from lenet5.reading.classifier import PRETRAINED, ImageClassifier

CLIENTS, TURNS = 8, 5
COUNTS = {"28×28 PNG": 400, "1200×900 JPEG": 80}
ONE = """
import re, sys, time
from pathlib import Path
from inference import ImageClassifier
import torch

def kilobytes(what):
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: imports have had their own
before = kilobytes("VmRSS")
start = time.perf_counter()
reader = ImageClassifier(sys.argv[1], device="cpu")
reader.predict(sys.argv[2])
first = time.perf_counter() - start
times = []
for _ in range(50):
    start = time.perf_counter()
    reader.predict(sys.argv[2])
    times.append(time.perf_counter() - start)
times.sort()
print(first, times[25], (kilobytes("VmHWM") - before) / 1024)
"""


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def pictures() -> dict[str, list[bytes]]:
    """The files of each kind."""
    mnist, rng = load_mnist(ROOT / "data"), np.random.default_rng(0)
    images = mnist.test_images.numpy()
    small = [encoded(Image.fromarray(image), "PNG") for image in images[: COUNTS["28×28 PNG"]]]
    large = [
        encoded(photograph(image, rng, TROUBLES["light"]).resize((1200, 900)), "JPEG", quality=90)
        for image in images[: COUNTS["1200×900 JPEG"]]
    ]
    return dict(zip(COUNTS, (small, large), strict=True))


def ask(port: int, files: list[bytes]) -> list[float]:
    """Seconds until each answer, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times = []
    for data in files:
        start = time.perf_counter()
        connection.request("POST", "/digit", data, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        times.append(time.perf_counter() - start)
    connection.close()
    return times


def by_clients(port: int, files: list[bytes]) -> tuple[float, list[float]]:
    """Pictures a second of all clients together, and the latencies."""
    shares = [files[i::CLIENTS] for i in range(CLIENTS)]
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as executor:
        times = [t for own in executor.map(lambda share: ask(port, share), shares) for t in own]
    return len(files) / (time.perf_counter() - start), times


def measure() -> dict:
    reader = ImageClassifier(PRETRAINED, device="cpu")
    torch.set_num_threads(2)
    command = [sys.executable, str(ROOT / "draw.py"), "--no-browser", "--weights", str(PRETRAINED)]
    found: dict = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
            for kind, files in pictures().items():
                rows = {"clients": [], "one by one": [], "together": [], "latencies": []}
                for turn in range(TURNS + 1):
                    rate, times = by_clients(port, files)
                    start = time.perf_counter()
                    for data in files:
                        reader.predict(data)
                    middle = time.perf_counter()
                    reader.predict_batch(files)
                    end = time.perf_counter()
                    if turn:  # the first one warms up
                        rows["clients"].append(rate)
                        rows["one by one"].append(len(files) / (middle - start))
                        rows["together"].append(len(files) / (end - middle))
                        rows["latencies"] += times
                found[kind] = rows
        finally:
            server.terminate()
    path = ROOT / "test_digits" / "digit_7.png"
    done = subprocess.run(
        [sys.executable, "-c", ONE, str(PRETRAINED), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, again, memory = map(float, done.stdout.split())
    found["one"] = {"first": first, "again": again, "megabytes": memory}
    return found


def table_of(found: dict) -> str:
    cells = []
    for kind in COUNTS:
        row = found[kind]
        times = sorted(row["latencies"])
        cells.append(
            [
                kind,
                median_and_range(row["clients"], 0),
                f"{1000 * median(times):.0f} ms, {1000 * times[int(0.95 * len(times))]:.0f} ms",
                median_and_range(row["one by one"], 0),
                median_and_range(row["together"], 0),
            ]
        )
    heads = [
        "pictures a second",
        "8 clients",
        "their wait, median and 95 %",
        "`predict`",
        "`predict_batch`",
    ]
    first, again, megabytes = (found["one"][name] for name in ("first", "again", "megabytes"))
    return markdown(heads, cells) + (
        f"\n\nThe first `predict` of a 128×128 PNG takes {first:.2f} s with the weights and the finder, "
        f"a later one {1000 * again:.1f} ms; all took {megabytes:.0f} MB beside PyTorch's own."
    )


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    options = parser.parse_args()
    table = table_of(measure_anew("server", measure, options.table))
    print(table)
    if options.write:
        write_between("server", table, "docs/reading-pictures.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
