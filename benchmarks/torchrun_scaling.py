"""What a second process does for the time of an epoch, beside one process and a second thread.

    python benchmarks/torchrun_scaling.py            # five minutes on two idle cores
    python benchmarks/torchrun_scaling.py --table    # print what was measured

The default recipe for two epochs, of which the first warms up: with one process of one
thread, with two of one thread each (`torchrun --nproc-per-node=2`), and as `python
train.py` starts on two cores, with one process of two threads. They take turns. An epoch
is what metrics.csv calls one, with its evaluation; the whole run has the start of the
processes and the summary in it.
"""

import os
import sys
import time
from statistics import median

from common import flags, load, median_and_range, run_training, save

REPEATS = 5
FLAGS = ["--epochs", "2", "--device", "cpu"]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
# By what the table calls them: the threads of a process, and what starts train.py.
SETTINGS = {
    "1 process, 1 thread": ("1", (sys.executable,)),
    "2 processes, 1 thread each": ("1", TORCHRUN),
    "1 process, 2 threads": ("2", (sys.executable,)),
}


def measure_run(name: str) -> dict:
    """Seconds of the second epoch and of the whole run, and the test accuracy after it."""
    threads, start = SETTINGS[name]
    os.environ["OMP_NUM_THREADS"] = threads
    began = time.perf_counter()
    rows, _ = run_training(FLAGS, start=start)
    seconds = time.perf_counter() - began
    row = {"setting": name, "epoch": rows[-1]["seconds"], "run": seconds}
    return row | {"test_accuracy": rows[-1]["test_accuracy"]}


def main() -> int:
    results = load("processes")
    if "--table" not in flags(__doc__, "--table"):
        turns = [[measure_run(name) for name in SETTINGS] for _ in range(1 + REPEATS)]
        # The first turn brings the programs and the data into memory.
        results["rows"] = [row for turn in turns[1:] for row in turn]
        save("processes", results)
    rows = results["rows"]
    epochs = {name: [r["epoch"] for r in rows if r["setting"] == name] for name in SETTINGS}
    alone = epochs["1 process, 1 thread"]
    print("| | seconds an epoch | times as fast | seconds of a run of two epochs | test accuracy |")
    print("|---|---|---|---|---|")
    for name, seconds in epochs.items():
        ratios = [a / b for a, b in zip(alone, seconds, strict=True)]
        runs, accuracies = (
            median(r[kind] for r in rows if r["setting"] == name) for kind in ("run", "test_accuracy")
        )
        print(
            f"| {name} | {median_and_range(seconds)} | {median_and_range(ratios)} "
            f"| {runs:.1f} | {100 * accuracies:.2f} % |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
