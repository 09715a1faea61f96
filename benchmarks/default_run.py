"""The figures of the default command, `python train.py`, over five seeds.

    python benchmarks/default_run.py          # about 4 minutes on 2 cores
    python benchmarks/default_run.py --table  # print what was measured

Prints each seed's kept epoch with its accuracies and seconds, then mean and deviation. A
seed that is in the results is not trained again.
"""

import re
import sys

from common import flags, measure_missing, run_training, spread

from lenet5.training.run_folder import best_row

SEEDS = range(5)


def measure(seed: int) -> dict:
    rows, output = run_training(["--seed", str(seed)])
    best = best_row(rows)
    return {
        "seed": seed,
        "epoch": int(best["epoch"]),
        "training_accuracy": float(re.search(r"training accuracy +([\d.]+) %", output)[1]) / 100,
        "val_accuracy": best["val_accuracy"],
        "test_accuracy": best["test_accuracy"],
        "seconds": float(re.search(r"time +([\d.]+) s", output)[1]),
    }


def main() -> int:
    table = bool(flags(__doc__, "--table"))
    wanted = [(seed,) for seed in SEEDS]
    rows = measure_missing("default_run", measure, wanted, lambda row: (row["seed"],), table, at_once=1)
    for row in rows:
        print(
            f"seed {row['seed']}  epoch {row['epoch']:2}  val {100 * row['val_accuracy']:.2f} %"
            f"  test {100 * row['test_accuracy']:.2f} %"
            f"  training {100 * row['training_accuracy']:.2f} %  {row['seconds']:.1f} s"
        )
    for name in ("val_accuracy", "test_accuracy", "training_accuracy"):
        print(f"{name:17} {spread([row[name] for row in rows])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
