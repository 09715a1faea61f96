"""What the measurements share: the machine's description, result files, training runs."""

import argparse
import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, median, stdev

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
sys.path.insert(0, str(ROOT))  # the scripts are modules of no package

from lenet5.runtime.atomic_files import md5, write_file


def flags(doc: str, *names: str) -> set[str]:
    """Which of a script's switches were typed; `--help` prints its docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    for name in names:
        parser.add_argument(name, action="store_true", dest=name)
    return {name for name, typed in vars(parser.parse_args()).items() if typed}


def machine() -> dict:
    """The processor, the number of cores and the versions that a figure depends on."""
    import numpy
    import PIL
    import torch

    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }


def load(name: str, folder: Path = RESULTS) -> dict:
    """A result file's content, or an empty one to begin with."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"machine": machine(), "rows": []}


def save(name: str, results: dict, folder: Path = RESULTS) -> None:
    folder.mkdir(exist_ok=True)
    write_file(folder / f"{name}.json", (json.dumps(results, indent=1) + "\n").encode())


def median_and_range(ratios: list[float]) -> str:
    """Ratios that were measured turn by turn, in words: the median and the range."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def lines_of(pattern: str) -> list[str]:
    """The lines of all files below /proc like this, as far as there are any (Linux)."""
    lines = []
    for path in Path("/proc").glob(pattern):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines += path.read_text().splitlines()
    return lines


def children_of(process: int) -> list[int]:
    """The processes that one started, and those that they started."""
    found = [int(word) for line in lines_of(f"{process}/task/*/children") for word in line.split()]
    return found + [below for child in found for below in children_of(child)]


def memory_of(process: int, kind: str) -> int:
    """Bytes of a process of a kind in /proc/PID/smaps_rollup (Linux); 0 if it has ended.

    "Private_" is what it has for itself alone, "Pss:" that and its share of what others use too.
    """
    lines = lines_of(f"{process}/smaps_rollup")
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))


def run_training(
    flags: list[str], folder: Path | None = None, start: tuple[str, ...] = (sys.executable,)
) -> tuple[list[dict], str]:
    """The rows of metrics.csv and the output of one `python train.py` in a folder of its own.

    In a `folder` that is given, a run that is there already goes on. `start` is what
    stands before train.py, in place of `python`.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return run_training(flags, Path(temporary), start)
    folder.mkdir(parents=True, exist_ok=True)
    begun = sorted(folder.glob("runs/*/config.json"))
    resume = ["--resume", begun[0].parent.name] if begun else []
    command = [*start, str(ROOT / "train.py"), "--data-dir", str(ROOT / "data"), *flags]
    done = subprocess.run([*command, *resume], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(flags)}: {done.stderr}")
    with open(next(folder.glob("runs/*/metrics.csv"))) as file:
        rows = [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]
    return rows, done.stdout


def work_folder(name: str, seed: int, recipe: str) -> Path:
    """Where a long run stays, so that it goes on if it was interrupted; not tracked.

    Named after the recipe as it is now too, so that no run goes on with an older one.
    """
    from lenet5.training.recipes import RECIPES  # imports torch, which not every measurement needs here

    settings = RECIPES["default"] | RECIPES[recipe]
    return ROOT / "benchmarks" / "work" / f"{name}-{md5(json.dumps(settings).encode())[:8]}-seed{seed}"


def two_at_a_time(name: str, results: dict, measure, wanted: list[tuple]) -> None:
    """Add the row of `measure(*arguments)` for each of `wanted` to a result file, as each is done.

    Two runs with a thread each get more done on two cores than one with two.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    with ThreadPoolExecutor(2) as pool:
        try:
            for run in as_completed([pool.submit(measure, *arguments) for arguments in wanted]):
                results["rows"].append(run.result())
                save(name, results)
        except BaseException:  # also Ctrl-C: what has not begun is not to begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def held_out(size: int = 5000, seed: int = 0):
    """MNIST's training images that a run with this --val-size and --seed did not learn, and labels.

    N×28×28 uint8 and N. What is chosen or fitted is chosen and fitted on them.
    """
    from lenet5.data.datasets import load_mnist, split

    mnist = load_mnist(ROOT / "data")
    _, held = split(mnist.train_labels, size, seed)
    return mnist.train_images[held], mnist.train_labels[held]


def best_row(rows: list[dict]) -> dict:
    """The epoch that train.py keeps: by validation accuracy, then validation loss; else the last."""
    if rows[-1]["val_accuracy"] is None:
        return rows[-1]
    return max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))


def spread(values: list[float]) -> str:
    """Mean and sample deviation in percent."""
    deviation = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{deviation} %"


def print_settings(rows: list[dict], settings: list[dict], width: int = 58) -> None:
    """A line for each setting that was tried: accuracy and loss on held-out images, over the seeds."""
    for setting in settings:
        own = [row for row in rows if row["setting"] == setting]
        if own:
            words = ", ".join(f"{name} {value}" for name, value in setting.items())
            accuracy, loss = (
                spread([row["val_accuracy"] for row in own]),
                mean(r["val_loss"] for r in own),
            )
            print(f"{words:{width}}  {accuracy}  loss {loss:.4f}  ({len(own)} seeds)")
