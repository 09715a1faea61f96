"""Whether a run is the same again, and what another number of threads changes.

    python benchmarks/threads.py          # five minutes on two idle cores
    python benchmarks/threads.py --table  # print what was measured

The default recipe, ended after 20 steps and after an epoch, with one thread, with
one once more, and with two: how far the weights are from those of the first, and
the test accuracy. Two seeds.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
from common import flags, load, run_training, save

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


def compare(length: str, seed: int) -> list[dict]:
    flags = [*LENGTHS[length], "--seed", str(seed)]
    first, first_accuracy = trained(flags, "1")
    rows = []
    for other, threads in OTHERS.items():
        weights, accuracy = trained(flags, threads)
        apart = max((weights[name] - first[name]).abs().max().item() for name in first)
        largest = max(tensor.abs().max().item() for tensor in first.values())
        rows.append({"length": length, "seed": seed, "other": other, "largest_difference": apart})
        rows[-1] |= {"largest_weight": largest, "accuracy": first_accuracy, "its_accuracy": accuracy}
    return rows


def main() -> int:
    given = flags(__doc__, "--table")
    results = load("threads")
    if "--table" not in given:
        results["rows"] = []
        for length in LENGTHS:
            for seed in SEEDS:
                results["rows"] += compare(length, seed)
                save("threads", results)
    print("| after | beside one thread | seeds | largest difference of a weight | test accuracy apart |")
    print("|---|---|---|---|---|")
    for length in LENGTHS:
        for other in OTHERS:
            rows = [r for r in results["rows"] if (r["length"], r["other"]) == (length, other)]
            apart = max(row["largest_difference"] for row in rows)
            points = max(abs(row["accuracy"] - row["its_accuracy"]) for row in rows)
            print(
                f"| {length} | {other} | {len(rows)} | {apart:.1e} | {100 * points:.2f} points at most |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
