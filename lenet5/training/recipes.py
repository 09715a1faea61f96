"""Recipes: named sets of defaults for train.py."""

RECIPES = {
    "default": {
        "arch": "lenet5",
        "dataset": "mnist",
        "data_dir": "data",
        "epochs": 10,
        "batch_size": 256,
        "lr": 8e-3,
        "optimizer": "adam",
        "scheduler": "onecycle",
        "augment": "affine",
        "fonts": None,
        "few_pixels": None,
        "non_digits": None,
        "val_size": 5000,
        "seed": 0,
        "device": "auto",
        "init": None,
        "init_from": None,
        "teacher": None,
        "temperature": None,
        "average": None,
        "weight_decay": None,
        "label_smoothing": None,
        "precision": None,
        "output": "lenet5_model.pth",
        "plot": "training_results.png",
        "tensorboard": None,
        "max_steps": None,
        "dry_run": False,
    },
}
RECIPES |= {
    # Seed document 003's epochs and batches. Its constant rate of 0.001 ends lower and
    # jumps by half a point from epoch to epoch: table in docs/experiments.md.
    "lenet-gap": {
        "arch": "lenet-gap",
        "epochs": 30,
        "batch_size": 64,
        "lr": 2e-3,
        "scheduler": "cosine",
        "augment": "none",
    },
    # 99 % soon: chosen on held-out images (benchmarks/tune.py quick), and none held out here.
    "quick": {
        "epochs": 2,
        "max_steps": 352,  # an epoch and a half of MNIST
        "batch_size": 256,
        "lr": 0.05,
        "optimizer": "muon",
        "augment": "none",
        "label_smoothing": 0.1,
        "precision": "auto",
        "init": "xavier",
        "val_size": 0,
    },
    # A few own pictures with --init-from: little enough that the old ones are not forgotten.
    "fine-tune": {"lr": 5e-4, "scheduler": "cosine"},
    # Section III of the paper: 20 passes, one pattern at a time, no image held out.
    "1998": {
        "arch": "lenet5-1998",
        "epochs": 20,
        "batch_size": 100,  # learned one by one
        "lr": 1e-4,  # a fifth of the paper's: see DiagonalLevenbergMarquardt
        "optimizer": "sdlm",
        "scheduler": "1998",
        "augment": "none",
        "val_size": 0,
    },
}
RECIPES |= {
    # A larger network for --teacher to name.
    "teacher": {
        "arch": "teacher",
        "epochs": 25,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "elastic",
        "average": 0.999,
        "val_size": 10_000,
        "output": "teacher.pth",
    },
    # Reads anybody's digit, and knows what is none: benchmarks/choose_anybody.py has what was tried.
    "anybody": {
        "epochs": 150,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "augment": "pens",
        "average": 0.999,
        "fonts": "fonts/digits.npz",
        "few_pixels": True,
        "non_digits": True,
    },
    # The most that lenet5 can do: docs/experiments.md has what was tried.
    "record": {
        "teacher": "pretrained/teacher.pth",
        "epochs": 100,
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "augment": "elastic-mild",
        "average": 0.999,
        "val_size": 0,
    },
}
RECIPES["1998-distorted"] = {**RECIPES["1998"], "augment": "1998"}


DRY_STEPS, DRY_EPOCHS, DRY_IMAGES = 5, 2, 1000  # what --dry-run leaves of a run
