"""The paper's own training of its own network, three seeds, beside the paper's figures.

    python benchmarks/paper.py          # about 45 minutes on 2 cores, two runs at a time
    python benchmarks/paper.py --table  # print what was measured

Prints test and training error of each recipe. A run that is in the results is not repeated,
so an interrupted measurement continues.
"""

import re
import sys
from statistics import mean

from common import flags, measure_missing, run_training, spread, work_folder

SEEDS = (0, 1, 2)
PAPER = {"1998": 0.0095, "1998-distorted": 0.008}  # test errors, figure 9


def measure(recipe: str, seed: int) -> dict:
    folder = work_folder(recipe, seed, recipe)
    rows, output = run_training(["--recipe", recipe, "--seed", str(seed)], folder)
    training = float(re.search(r"training accuracy +([\d.]+) %", output)[1]) / 100
    return {
        "recipe": recipe,
        "seed": seed,
        "test_errors": [round(1 - row["test_accuracy"], 4) for row in rows],  # after each pass
        "training_error": round(1 - training, 6),
        "seconds_a_pass": mean(row["seconds"] for row in rows),
    }


def main() -> int:
    table = bool(flags(__doc__, "--table"))
    wanted = [(recipe, seed) for seed in SEEDS for recipe in PAPER]
    found = measure_missing("paper", measure, wanted, lambda r: (r["recipe"], r["seed"]), table)
    for recipe, error in PAPER.items():
        rows = [row for row in found if row["recipe"] == recipe]
        if rows:
            test = spread([row["test_errors"][-1] for row in rows])
            training = spread([row["training_error"] for row in rows])
            seconds = mean(row["seconds_a_pass"] for row in rows)
            print(
                f"{recipe:14} {len(rows)} seeds  test error {test} (paper {100 * error:.2f} %)"
                f"  training error {training}  {seconds:.0f} s a pass"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
