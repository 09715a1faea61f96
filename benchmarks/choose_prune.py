"""Choose how weights are left out, on validation images; the test set is not looked at.

    python benchmarks/choose_prune.py          # about 12 minutes on 2 cores, two at a time
    python benchmarks/choose_prune.py --table  # print what was measured

Of default runs of two seeds, each with its own split, 5 % of the parameters are kept.
What is in the results already is not made again, so the script can be interrupted.
"""

import sys

from common import ROOT, load, print_settings, run_training, two_at_a_time, work_folder

from lenet5.export.pruning import prune

SEEDS = (101, 102)  # not those of the published figures
KEEP = 0.05
SETTINGS = [
    {"lr": 2e-3, "cutting": 0.5, "epochs": 10},
    {"lr": 4e-3, "cutting": 0.5, "epochs": 10},
    {"lr": 8e-3, "cutting": 0.5, "epochs": 10},
    {"lr": 4e-3, "cutting": 0.5, "epochs": 5},
    {"lr": 4e-3, "cutting": 0.8, "epochs": 5},
    {"lr": 4e-3, "cutting": 1e-6, "epochs": 5},  # all at once, at the first step
]


def base(seed: int):
    """The weights of a default run, which is made where it is not there yet."""
    folder = work_folder("prune", seed, "default")
    if not (folder / "lenet5_model.pth").exists():
        run_training(["--seed", str(seed)], folder)
    return folder / "lenet5_model.pth"


def measure(setting: dict, seed: int) -> dict:
    run = prune(base(seed), KEEP, **setting, data_dir=ROOT / "data", say=lambda line: None)
    return {"setting": setting, "seed": seed} | {
        name: run.history[-1][name] for name in ("val_accuracy", "val_loss")
    }


def main() -> int:
    results = load("choose_prune")
    done = [(row["setting"], row["seed"]) for row in results["rows"]]
    wanted = [(s, seed) for s in SETTINGS for seed in SEEDS if (s, seed) not in done]
    if "--table" not in sys.argv:
        for seed in SEEDS:
            base(seed)
        two_at_a_time("choose_prune", results, measure, wanted)
    print_settings(results["rows"], SETTINGS, 40)
    return 0


if __name__ == "__main__":
    sys.exit(main())
