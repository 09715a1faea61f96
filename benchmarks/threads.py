"""Whether a run repeats to the bit, and what another number of threads changes.

    python benchmarks/threads.py          # five minutes on two idle cores
    python benchmarks/threads.py --table  # print what was measured

The default recipe, ended after 20 steps and after an epoch: with one thread, with one
thread again, and with two. Prints how far the weights and the test accuracy are from the
first run's, over two seeds.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
from common import flags, measure_missing, run_training

SEEDS = (0, 1)
LENGTHS = {"20 steps": ["--max-steps", "20"], "an epoch": ["--max-steps", "215"]}
OTHERS = {"one thread again": "1", "two threads": "2"}


def trained(flags: list[str], threads: str) -> tuple[dict, float]:
    """Weights and test accuracy of a run."""
    os.environ["OMP_NUM_THREADS"] = threads
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "w.pth")
        rows, _ = run_training([*flags, "--output", str(output), "--device", "cpu"])
        return torch.load(output, weights_only=True), rows[-1]["test_accuracy"]


def measure(length: str, other: str, seed: int) -> dict:
    flags = [*LENGTHS[length], "--seed", str(seed)]
    first, first_accuracy = trained(flags, "1")
    weights, accuracy = trained(flags, OTHERS[other])
    return {
        "length": length,
        "seed": seed,
        "other": other,
        "largest_difference": max((weights[name] - first[name]).abs().max().item() for name in first),
        "largest_weight": max(tensor.abs().max().item() for tensor in first.values()),
        "accuracy": first_accuracy,
        "its_accuracy": accuracy,
    }


def main() -> int:
    table = bool(flags(__doc__, "--table"))
    wanted = [(length, other, seed) for length in LENGTHS for other in OTHERS for seed in SEEDS]
    found = measure_missing(
        "threads", measure, wanted, lambda r: (r["length"], r["other"], r["seed"]), table, at_once=1
    )
    print("| after | beside one thread | seeds | largest difference of a weight | test accuracy apart |")
    print("|---|---|---|---|---|")
    for length in LENGTHS:
        for other in OTHERS:
            rows = [row for row in found if (row["length"], row["other"]) == (length, other)]
            apart = max(row["largest_difference"] for row in rows)
            points = 100 * max(abs(row["accuracy"] - row["its_accuracy"]) for row in rows)
            print(f"| {length} | {other} | {len(rows)} | {apart:.1e} | {points:.2f} points at most |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
