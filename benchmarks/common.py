"""What the measurements share: the machine, result files, training runs, work in turns."""

import argparse
import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, median, stdev

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
sys.path.insert(0, str(ROOT))  # the scripts are modules of no package

from lenet5.runtime.atomic_files import md5, write_file
from lenet5.runtime.errors import UserError


def make_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with --table, whose --help prints the script's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print what was measured")
    return parser


def flags(doc: str, *names: str) -> set[str]:
    """Which of a script's switches were typed; `--help` prints its docstring."""
    parser = make_parser(doc)
    for name in set(names) - {"--table"}:
        parser.add_argument(name, action="store_true")
    typed = vars(parser.parse_args())
    return {name for name in names if typed[name.strip("-")]}


# ---------------------------------------------------------------- the machine


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


def lines_of(pattern: str) -> list[str]:
    """The lines of all files below /proc that match a pattern (Linux)."""
    lines = []
    for path in Path("/proc").glob(pattern):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            lines += path.read_text().splitlines()
    return lines


def children_of(process: int) -> list[int]:
    """The processes that one started, and those that they started."""
    found = [int(word) for line in lines_of(f"{process}/task/*/children") for word in line.split()]
    return found + [below for child in found for below in children_of(child)]


def memory_of(process: int, kind: str) -> int:
    """Bytes of a process of a kind in /proc/PID/smaps_rollup (Linux); 0 if it has ended.

    "Private_" is its own alone, "Pss:" that and its share of what others use too.
    """
    lines = lines_of(f"{process}/smaps_rollup")
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))


# ---------------------------------------------------------------- result files


def load(name: str, folder: Path = RESULTS) -> dict:
    """A result file's content, or an empty one to begin with."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"machine": machine(), "rows": []}


def save(name: str, results: dict, folder: Path = RESULTS) -> None:
    folder.mkdir(exist_ok=True)
    write_file(folder / f"{name}.json", (json.dumps(results, indent=1) + "\n").encode())


def measure_anew(name: str, measure: Callable[[], list[dict]], table: bool) -> list[dict]:
    """The rows of a result file, which `measure` makes; those of before with `table`."""
    results = load(name)
    if not table:
        results = {"machine": machine(), "rows": measure()}
        save(name, results)
    return results["rows"]


def measure_missing(
    name: str, measure: Callable[..., dict], wanted: list[tuple], key: Callable, table: bool, at_once=2
) -> list[dict]:
    """The rows of a result file, which has one of `measure(*arguments)` for each of `wanted`.

    `key(row)` gives a row's arguments; those that the file has are not measured again, and
    with `table` none is.
    """
    results = load(name)
    done = [key(row) for row in results["rows"]]
    if not table:
        missing = [arguments for arguments in wanted if arguments not in done]
        two_at_a_time(name, results, measure, missing, at_once)
    return results["rows"]


def two_at_a_time(name: str, results: dict, measure, wanted: list[tuple], at_once: int = 2) -> None:
    """Add the row of `measure(*arguments)` for each of `wanted` to a result file, as each is done.

    Two runs of one thread get more done on two cores than one run of two threads.
    """
    if at_once > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for run in as_completed([pool.submit(measure, *arguments) for arguments in wanted]):
                results["rows"].append(run.result())
                save(name, results)
        except BaseException:  # also Ctrl-C: start none of the others
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_between(name: str, text: str, page: str) -> None:
    """Put a text into a page of docs/ or the README, between the two marks with this name.

    Raises UserError without them.
    """
    path = ROOT / page
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    if end not in rest:
        raise UserError(f"{page} has no place for {name!r}: {begin} and {end}")
    write_file(path, f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}".encode())


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table of texts."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


# ---------------------------------------------------------------- training runs


def run_training(
    flags: list[str], folder: Path | None = None, start: tuple[str, ...] = (sys.executable,)
) -> tuple[list[dict], str]:
    """The rows of metrics.csv and the output of one `python train.py` in a folder of its own.

    A run that is in the given `folder` already is resumed. `start` is what stands before
    train.py, in place of `python`.
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


def words_of(setting: dict) -> list[str]:
    """The command line of a setting: a flag for each name, alone if its value is True, none if None."""
    words = []
    for name, value in setting.items():
        if value is not None:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def work_folder(name: str, seed: int, recipe: str) -> Path:
    """An untracked folder for a long run, which is resumed if it was interrupted.

    The recipe's present settings are part of the name, so that no run of an older recipe
    is resumed.
    """
    from lenet5.training.recipes import RECIPES  # imports torch, which not every measurement needs here

    settings = RECIPES["default"] | RECIPES[recipe]
    return ROOT / "benchmarks" / "work" / f"{name}-{md5(json.dumps(settings).encode())[:8]}-seed{seed}"


def held_out(size: int = 5000, seed: int = 0):
    """MNIST's training images that a run with this --val-size and --seed did not learn, and labels.

    N×28×28 uint8 and N. Settings are chosen and limits are fitted on them.
    """
    from lenet5.data.datasets import load_mnist, split

    mnist = load_mnist(ROOT / "data")
    _, held = split(mnist.train_labels, size, seed)
    return mnist.train_images[held], mnist.train_labels[held]


# ---------------------------------------------------------------- turns, and figures of them


def in_turns(works: dict[str, Callable], turns: int) -> list[dict]:
    """What each function returns, by name, a dict a turn; one turn before them warms up.

    A machine has good and bad minutes, so compare within a turn.
    """
    return [{name: work() for name, work in works.items()} for _ in range(1 + turns)][1:]


def seconds_of(work: Callable[[], object], calls: int = 1) -> float:
    """Seconds of one call, the mean of some."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def median_and_range(values: list[float], digits: int = 2) -> str:
    """The median of values and their range."""
    middle, least, most = (f"{what(values):,.{digits}f}" for what in (median, min, max))
    return f"{middle} ({least} to {most})"


def spread(values: list[float]) -> str:
    """Mean and sample deviation in percent."""
    deviation = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{deviation} %"
