"""What `python export.py --onnx` and `--int8` keep, in accuracy and bytes, and what they take in time.

    python benchmarks/exported_files.py            # bytes and accuracy, about two minutes
    python benchmarks/exported_files.py --time     # the time, half a minute on a quiet machine
    python benchmarks/exported_files.py --table    # print what was measured
    python benchmarks/exported_files.py --choices  # how the eight bits were chosen, on held-out images

Accuracy and bytes are those of every architecture's weights in pretrained/, by the files
that the command writes. The time is that of pretrained/lenet5.pth: PyTorch, onnxruntime in
float32 and in int8 take turns, after some to warm up, and a turn's figure is the mean of
its calls. The held-out images are 5,000 training images; the test images choose nothing. Bytes and
accuracies that are in the results already are not measured again.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import onnx
import onnxruntime
import torch
from common import ROOT, flags, held_out, load, machine, median_and_range, save

from lenet5.data.datasets import load_mnist
from lenet5.export import writers
from lenet5.export.onnx_graph import INPUT, OUTPUT, onnx_model, run_onnx, session_of
from lenet5.export.quantization import quantised
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights

TURNS = 15
CALLS = {1: 200, 256: 3}  # by batch size: a turn takes some hundredths of a second
THREADS = (1, 2)
WAYS = ("PyTorch", "float32", "int8")


def source_of(arch: str) -> writers.Source:
    """An architecture's weights in pretrained/."""
    path = ROOT / "pretrained" / f"{arch}.pth"
    return writers.Source(str(path), *load_weights(path), str(ROOT / "data"))


def accuracy(model, inputs, labels) -> float:
    return float((run_onnx(model, inputs).argmax(axis=1) == labels.numpy()).mean())


def kept(arch: str) -> dict:
    """Bytes and accuracies of the two files that the command writes for an architecture's weights."""
    source, mnist = source_of(arch), load_mnist(ROOT / "data")
    sets = {"held_out": held_out(), "test": (mnist.test_images, mnist.test_labels)}
    row = {"arch": arch}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"float32": Path(folder, "a.onnx"), "int8": Path(folder, "b.onnx")}
        files = ["--onnx", paths["float32"], "--int8", paths["int8"], "--data-dir", source.data_dir]
        command = [sys.executable, ROOT / "export.py", "--weights", source.weights, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            row["refused"] = done.stderr.strip()
        for kind, path in paths.items():
            if path.exists():
                row[f"{kind}_bytes"] = path.stat().st_size
                for name, (images, labels) in sets.items():
                    inputs = source.inputs(images).numpy()
                    row[f"{kind}_{name}"] = accuracy(onnx.load(path), inputs, labels)
    return row


def calibration_inputs(source: writers.Source):
    images = writers.calibration_images(source, writers.own_data(source))
    return source.inputs(images).numpy()


def ways(made: tuple, threads: int, batch_size: int) -> dict:
    """A function for each way that reads one batch.

    `made` is the network, its ONNX graphs in float32 and int8, and inputs.
    """
    torch.set_num_threads(threads)
    net, whole, small, inputs = made
    batch = inputs[:batch_size].contiguous()
    array = batch.numpy()

    def pytorch():
        with torch.inference_mode():
            net(batch)

    def runs(model):
        session = session_of(model, threads)
        return lambda: session.run([OUTPUT], {INPUT: array})

    return {"PyTorch": pytorch, "float32": runs(whole), "int8": runs(small)}


def microseconds(work, calls: int, batch_size: int) -> float:
    """Of one picture, the mean of so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return 1e6 * (time.perf_counter() - start) / calls / batch_size


def measure_times() -> list[dict]:
    source = source_of("lenet5")
    whole = onnx_model(source.net, source.metadata)
    small = quantised(whole, calibration_inputs(source))
    made, rows = (source.net.eval(), whole, small, source.inputs(held_out()[0])), []
    for threads in THREADS:
        for batch_size, calls in CALLS.items():
            work = ways(made, threads, batch_size)
            for name in WAYS:  # to warm up
                microseconds(work[name], calls, batch_size)
            for turn in range(TURNS):
                # Each is first in a third of the turns.
                order = WAYS[turn % 3 :] + WAYS[: turn % 3]
                found = {name: microseconds(work[name], calls, batch_size) for name in order}
                rows.append({"threads": threads, "batch": batch_size, **found})
    return rows


def choices() -> None:
    """Held-out accuracy of some ways to quantise, for every architecture."""
    images, labels = held_out()
    for arch in NETWORKS:
        source = source_of(arch)
        whole = onnx_model(source.net, source.metadata)
        inputs, chosen = source.inputs(images).numpy(), calibration_inputs(source)
        words = [f"float32 {accuracy(whole, inputs, labels):.2%}"]
        all_layers = {"nodes_to_quantize": None}
        for name, count, changes in (
            ("chosen", len(chosen), {}),
            ("all layers, 8-bit weights", len(chosen), {**all_layers, "reduce_range": False}),
            ("all layers", len(chosen), all_layers),
            ("one range a layer", len(chosen), {"per_channel": False}),
            ("100 images", 100, {}),
        ):
            small = quantised(whole, chosen[:count], **changes)
            words.append(f"{name} {accuracy(small, inputs, labels):.2%}")
        print(f"{arch:13}  {',  '.join(words)}", flush=True)


def main() -> int:
    given = flags(__doc__, "--choices", "--table", "--time")
    if "--choices" in given:
        choices()
        return 0
    results = load("export")
    if "--table" not in given:
        versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        results["machine"] = machine() | versions
        if "--time" in given:
            results["times"] = measure_times()
        else:
            rows = {row["arch"]: row for row in results["rows"] if "refused" not in row}
            results["rows"] = [rows.get(arch) or kept(arch) for arch in NETWORKS]
        save("export", results)
    print(f"{'network':13}  {'bytes':>8}  {'int8':>8}  held-out: float32, int8  test: float32, int8")
    for row in results["rows"]:
        if "refused" in row:
            print(f"{row['arch']:13}  {row['refused']}")
            continue
        held, test = ([f"{row[f'{k}_{n}']:.2%}" for k in WAYS[1:]] for n in ("held_out", "test"))
        sizes = f"{row['float32_bytes']:8,}  {row['int8_bytes']:8,}"
        print(f"{row['arch']:13}  {sizes}  {held[0]:>16}, {held[1]}  {test[0]:>12}, {test[1]}")
    print("\nmicroseconds a picture: median (range); ratio of int8 to float32, turn by turn")
    for threads in THREADS:
        for batch_size in CALLS:
            own = {"threads": threads, "batch": batch_size}
            turns = [turn for turn in results.get("times", []) if turn.items() >= own.items()]
            if not turns:
                continue
            found = {name: [turn[name] for turn in turns] for name in WAYS}
            words = [f"{n} {median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for n, v in found.items()]
            ratio = median_and_range([turn["int8"] / turn["float32"] for turn in turns])
            print(f"{threads} threads, batch {batch_size:3}: {'  '.join(words)}  ratio {ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
