"""The figures of the default command, `python train.py`, over five seeds.

    python benchmarks/default_run.py          # about 4 minutes on 2 cores
    python benchmarks/default_run.py --table  # print what was measured

A seed that is in the results already is not trained again.
"""

import re
import sys

from common import best_row, flags, load, run_training, save, spread

SEEDS = range(5)


def main() -> int:
    given = flags(__doc__, "--table")
    results = load("default_run")
    done = {row["seed"] for row in results["rows"]}
    for seed in () if "--table" in given else SEEDS:
        if seed in done:
            continue
        rows, output = run_training(["--seed", str(seed)])
        best = best_row(rows)
        training = float(re.search(r"training accuracy +([\d.]+) %", output)[1]) / 100
        seconds = float(re.search(r"time +([\d.]+) s", output)[1])
        row = {"seed": seed, "epoch": int(best["epoch"]), "training_accuracy": training}
        row |= {name: best[name] for name in ("val_accuracy", "test_accuracy")}
        results["rows"].append(row | {"seconds": seconds})
        save("default_run", results)
    for row in results["rows"]:
        print(
            f"seed {row['seed']}  epoch {row['epoch']:2}  val {100 * row['val_accuracy']:.2f} %"
            f"  test {100 * row['test_accuracy']:.2f} %"
            f"  training {100 * row['training_accuracy']:.2f} %  {row['seconds']:.1f} s"
        )
    for name in ("val_accuracy", "test_accuracy", "training_accuracy"):
        print(f"{name:17} {spread([row[name] for row in results['rows']])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
