"""Every architecture at its own document's setting, three seeds each, test accuracy and time.

    python benchmarks/architectures.py          # most of an hour on 2 cores, two runs at a time
    python benchmarks/architectures.py --table  # print what was measured

The setting is the default recipe (10 epochs), but for lenet-gap, whose document
names its own: 30 epochs, batches of 64, Adam at 0.001, no distortions. Our
--recipe lenet-gap has the same with a schedule. What lenet5-1998 does in the
paper's own training is in benchmarks/paper.py. Each run has one thread, which the
seconds an epoch are for. A run that is in the results
already is not made again, so the script can be interrupted.
"""

import shutil
import sys
from statistics import mean

from common import ROOT, best_row, load, run_training, spread, two_at_a_time, work_folder

from model import NETWORKS

SEEDS = (0, 1, 2)
SETTINGS = {
    "lenet5": ["--arch", "lenet5"],
    "lenet5-padded": ["--arch", "lenet5-padded"],
    "lenet5-padded, Xavier": ["--arch", "lenet5-padded", "--init", "xavier"],
    "lenet5-conv": ["--arch", "lenet5-conv"],
    "lenet-gap": ["--recipe", "lenet-gap"],
    "lenet-gap, no schedule": ["--recipe", "lenet-gap", "--lr", "0.001", "--scheduler", "constant"],
    "lenet5-tanh": ["--arch", "lenet5-tanh"],
    "lenet5-1998": ["--arch", "lenet5-1998"],
}
# The weights in pretrained/ are those of seed 0; of these two, another command's.
MADE_ELSEWHERE = ("lenet5", "lenet5-1998")


def measure(setting: str, seed: int) -> dict:
    flags = SETTINGS[setting]
    recipe = "lenet-gap" if "lenet-gap" in flags else "default"
    folder = work_folder(setting, seed, recipe)
    rows, _ = run_training([*flags, "--seed", str(seed)], folder)
    if seed == 0 and setting in NETWORKS and setting not in MADE_ELSEWHERE:
        shutil.copy(folder / "lenet5_model.pth", ROOT / "pretrained" / f"{setting}.pth")
    seconds = mean(row["seconds"] for row in rows)
    return {"setting": setting, "seed": seed, **best_row(rows), "seconds_an_epoch": seconds}


def main() -> int:
    results = load("architectures")
    done = {(row["setting"], row["seed"]) for row in results["rows"]}
    wanted = [(setting, seed) for seed in SEEDS for setting in SETTINGS if (setting, seed) not in done]
    if "--table" not in sys.argv:
        two_at_a_time("architectures", results, measure, wanted)
    for setting in SETTINGS:
        rows = [row for row in results["rows"] if row["setting"] == setting]
        if rows:
            print(
                f"{setting:22} {len(rows)} seeds  test {spread([r['test_accuracy'] for r in rows])}"
                f"  {mean(r['seconds_an_epoch'] for r in rows):.1f} s an epoch"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
