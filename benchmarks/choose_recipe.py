"""Choose a recipe on validation images; the test set is not looked at.

    python benchmarks/choose_recipe.py          # the default one: about 20 minutes on 2 cores
    python benchmarks/choose_recipe.py --quick  # --recipe quick: about 10 minutes
    python benchmarks/choose_recipe.py --table  # print what was measured

Each setting is trained with three seeds, each with its own split. A run that
is in the results already is not made again, so the script can be interrupted.
"""

import sys

from common import best_row, load, print_settings, run_training, save

SEEDS = (101, 102, 103)  # not those of the published figures
DEFAULT = [
    {"augment": "affine", "batch-size": "256", "lr": "0.008"},
    {"augment": "none", "batch-size": "256", "lr": "0.008"},
    {"augment": "affine-strong", "batch-size": "256", "lr": "0.008"},
    {"augment": "affine", "batch-size": "256", "lr": "0.004"},
    {"augment": "affine", "batch-size": "256", "lr": "0.012"},
    {"augment": "affine", "batch-size": "128", "lr": "0.004"},
    {"augment": "affine", "batch-size": "512", "lr": "0.012"},
    {"augment": "affine", "batch-size": "256", "lr": "0.008", "scheduler": "cosine"},
    {"augment": "affine", "batch-size": "256", "lr": "0.008", "optimizer": "adamw"},
]
# An epoch and a half each: --recipe quick, and what differs from it in one flag or a few.
CHOSEN = {"recipe": "quick", "val-size": "5000", "max-steps": "322"}
QUICK = [
    CHOSEN,
    CHOSEN | {"precision": "float32"},
    CHOSEN | {"optimizer": "adam", "lr": "0.008"},
    CHOSEN | {"optimizer": "sgd", "lr": "0.1"},
    CHOSEN | {"init": "he"},
    CHOSEN | {"label-smoothing": "0"},
    CHOSEN | {"label-smoothing": "0.05"},
    CHOSEN | {"batch-size": "192", "max-steps": "430", "lr": "0.03"},
    CHOSEN | {"batch-size": "384", "max-steps": "215"},
    CHOSEN | {"lr": "0.03"},
    CHOSEN | {"lr": "0.07"},
    CHOSEN | {"augment": "affine"},
    CHOSEN | {"scheduler": "cosine"},
    CHOSEN | {"max-steps": "215"},  # one epoch
    CHOSEN | {"max-steps": "430"},  # two
    {"max-steps": "322", "epochs": "2"},  # the default recipe
]


def main() -> int:
    name, settings = ("choose_quick", QUICK) if "--quick" in sys.argv else ("choose_recipe", DEFAULT)
    results = load(name)
    done = {(tuple(sorted(row["setting"].items())), row["seed"]) for row in results["rows"]}
    if "--table" not in sys.argv:
        for setting in settings:
            for seed in SEEDS:
                if (tuple(sorted(setting.items())), seed) in done:
                    continue
                flags = [word for flag, value in setting.items() for word in (f"--{flag}", value)]
                rows, _ = run_training([*flags, "--seed", str(seed)])
                best = best_row(rows)
                row = {"setting": setting, "seed": seed, "val_accuracy": best["val_accuracy"]}
                row |= {"val_loss": best["val_loss"], "seconds": sum(r["seconds"] for r in rows)}
                results["rows"].append(row)
                save(name, results)
    print_settings(results["rows"], settings, 58)
    return 0


if __name__ == "__main__":
    sys.exit(main())
