"""A run's settings, and recipes: named sets of them."""

from dataclasses import asdict, dataclass


@dataclass
class Settings:
    """The settings of a run, each a flag of train.py. Their order is that in config.json."""

    arch: str = "lenet5"
    dataset: str = "mnist"
    data_dir: str = "data"
    epochs: int = 10
    batch_size: int = 256
    lr: float = 8e-3
    optimizer: str = "adam"
    scheduler: str = "onecycle"
    augment: str = "affine"
    fonts: str | None = None
    few_pixels: bool | None = None
    non_digits: bool | None = None
    val_size: int = 5000
    seed: int = 0
    device: str = "auto"
    init: str | None = None
    init_from: str | None = None
    teacher: str | None = None
    temperature: float | None = None
    average: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    precision: str | None = None
    output: str = "lenet5_model.pth"
    plot: str = "training_results.png"
    tensorboard: bool | None = None
    max_steps: int | None = None
    dry_run: bool = False
    recipe: str = "default"


DEFAULTS = asdict(Settings())
# What each recipe changes; "default" holds every setting but the recipe's own name.
RECIPES = {
    "default": {name: value for name, value in DEFAULTS.items() if name != "recipe"},
    # A constant rate of 0.001 ends lower and jumps by half a point from epoch to epoch:
    # table in docs/experiments.md.
    "lenet-gap": {
        "arch": "lenet-gap",
        "epochs": 30,
        "batch_size": 64,
        "lr": 2e-3,
        "scheduler": "cosine",
        "augment": "none",
    },
    # 99 % in seconds. Chosen on held-out images (benchmarks/tune.py quick); holds out none.
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
    # For a few own pictures with --init-from; a low rate keeps what was learned before.
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
    # Reads digits from any picture and rejects non-digits: trials in benchmarks/choose_anybody.py.
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
    # The best accuracy of lenet5: trials in docs/experiments.md.
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
