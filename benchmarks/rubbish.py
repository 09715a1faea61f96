"""How much j of equation 9 matters, on held-out training images; the test set is not looked at.

    python benchmarks/rubbish.py          # about half an hour on 2 cores, two runs at a time
    python benchmarks/rubbish.py --table  # print what was measured

The paper gives no number for j. Each is trained as in --recipe 1998, but with
5,000 of the 60,000 images held out. A run that is in the results already is not
made again, so the script can be interrupted.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, load, spread, two_at_a_time

from train import read_metrics

SEEDS = (101,)  # not one of the published figures
RUBBISH = (0.1, 10.0, 1.0, 30.0)
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import lenet1998, train
lenet1998.RUBBISH = float(sys.argv[2])
sys.exit(train.main(sys.argv[3:]))
"""


def measure(rubbish: float, seed: int) -> dict:
    flags = ["--recipe", "1998", "--val-size", "5000", "--seed", str(seed)]
    flags += ["--data-dir", str(ROOT / "data"), "--device", "cpu"]
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(rubbish), *flags]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        history = read_metrics(next(Path(folder, "runs").iterdir()))
    errors = [round(1 - row["val_accuracy"], 4) for row in history]
    return {"rubbish": rubbish, "seed": seed, "val_errors": errors}


def main() -> int:
    results = load("rubbish")
    done = {(row["rubbish"], row["seed"]) for row in results["rows"]}
    wanted = [(j, seed) for seed in SEEDS for j in RUBBISH if (j, seed) not in done]
    if "--table" not in sys.argv:
        two_at_a_time("rubbish", results, measure, wanted)
    for j in RUBBISH:
        last = [row["val_errors"][-1] for row in results["rows"] if row["rubbish"] == j]
        if last:
            print(f"j = {j:<5}  validation error {spread(last)}  ({len(last)} seeds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
