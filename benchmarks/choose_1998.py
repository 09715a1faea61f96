"""What the paper leaves open, chosen on held-out training images; the test set is not looked at.

    python benchmarks/choose_1998.py          # about an hour on 2 cores, two runs at a time
    python benchmarks/choose_1998.py --table  # print what was measured

The paper gives no number for j of equation 9, and its step sizes do not work as
published (README.md here has those trials): how much smaller have they to be?
Each setting is trained as in --recipe 1998, but with 5,000 of
the 60,000 images held out. A run that is in the results already is not made
again, so the script can be interrupted.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, load, two_at_a_time

from lenet5.training.run_folder import read_metrics

SEED = 101  # not one of the published figures
# Recipe, j of equation 9, first step size (the paper: 0.0005).
SETTINGS = [
    ("1998", 0.1, 5e-5),
    ("1998", 1.0, 5e-5),
    ("1998", 10.0, 5e-5),
    ("1998", 30.0, 5e-5),
    ("1998", 0.1, 1e-4),
    ("1998", 0.1, 2e-4),
]
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import lenet1998, train
lenet1998.RUBBISH = float(sys.argv[2])
sys.exit(train.main(sys.argv[3:]))
"""


def measure(recipe: str, rubbish: float, lr: float) -> dict:
    flags = ["--recipe", recipe, "--lr", str(lr), "--val-size", "5000", "--seed", str(SEED)]
    flags += ["--data-dir", str(ROOT / "data"), "--device", "cpu"]
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(rubbish), *flags]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        history = read_metrics(next(Path(folder, "runs").iterdir()))
    row = {"recipe": recipe, "rubbish": rubbish, "lr": lr, "seed": SEED}
    row["val_errors"] = [round(1 - epoch["val_accuracy"], 4) for epoch in history]
    row["train_errors"] = [round(1 - epoch["train_accuracy"], 4) for epoch in history]
    row["val_losses"] = [round(epoch["val_loss"], 4) for epoch in history]
    return row


def main() -> int:
    results = load("choose_1998")
    by_setting = {(row["recipe"], row["rubbish"], row["lr"]): row for row in results["rows"]}
    if "--table" not in sys.argv:
        wanted = [setting for setting in SETTINGS if setting not in by_setting]
        two_at_a_time("choose_1998", results, measure, wanted)
    for row in results["rows"]:
        print(
            f"{row['recipe']:14}  j = {row['rubbish']:<5} first step {row['lr']:.0e}"
            f"  validation error {100 * row['val_errors'][-1]:.2f} %"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
