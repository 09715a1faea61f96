"""What was tried for `--recipe record`, on held-out training images; the test set is not looked at.

    python benchmarks/choose_record.py          # hours on 2 cores, two runs at a time
    python benchmarks/choose_record.py --table  # print what was measured

Each idea is trained on 50,000 images and judged on the 10,000 others, which the
teacher was not trained on either (`python train.py --recipe teacher` holds out the
same ones, and chooses its epoch by them). What counts is the last epoch, as in the
recipe itself. A run that is in the results already is not made again, so the
script can be interrupted.
"""

import sys

from common import ROOT, load, run_training, two_at_a_time

TEACHER = str(ROOT / "pretrained" / "teacher.pth")
# At 40 epochs the teacher was an earlier one: 20 epochs of Adam, itself wrong in 0.54 %; now 0.45 %.
COMMON = {"val-size": 10_000, "seed": 0, "epochs": 40}
ELASTIC = {"augment": "elastic"}
ADAMW = {"optimizer": "adamw", "weight-decay": 0.05}
IDEAS = {
    "the default recipe": {"epochs": 10},
    "40 epochs": {},
    "stronger affine distortions": {"augment": "affine-strong"},
    "elastic distortions": ELASTIC,
    "averaged weights": {"average": 0.999},
    "weight decay 0.05": ADAMW,
    "label smoothing 0.1": {"label-smoothing": 0.1},
    "a teacher": {"teacher": TEACHER},
    "a teacher, elastic": {"teacher": TEACHER} | ELASTIC,
    "a teacher, elastic, temperature 2": {"teacher": TEACHER, "temperature": 2} | ELASTIC,
    "a teacher, elastic, temperature 4": {"teacher": TEACHER, "temperature": 4} | ELASTIC,
    "elastic, weight decay 0.05": ELASTIC | ADAMW,
    "elastic, weight decay 0.1": ELASTIC | ADAMW | {"weight-decay": 0.1},
    "elastic, SGD, weight decay 0.0005": {"optimizer": "sgd", "lr": 0.05, "weight-decay": 0.0005}
    | ELASTIC,
    "elastic, constant rate, averaged": {"scheduler": "constant", "lr": 0.002, "average": 0.9995}
    | ELASTIC,
    "stronger elastic, weight decay 0.05": {"augment": "elastic-strong"} | ADAMW,
}
# The best of these for longer, and what may be better there. All with averaged weights.
LONG = {"epochs": 100, "average": 0.999} | ADAMW | {"weight-decay": 0.1}
IDEAS |= {
    "100 epochs: elastic, weight decay 0.1": LONG | ELASTIC,
    "100 epochs: the same, shifted less": LONG | {"augment": "elastic-centred"},
    "100 epochs: the same, milder": LONG | {"augment": "elastic-mild"},
    "100 epochs: a teacher, affine": LONG | {"teacher": TEACHER},
    "100 epochs: a teacher, mild": LONG | {"teacher": TEACHER, "augment": "elastic-mild"},
}


def measure(idea: str) -> dict:
    setting = COMMON | IDEAS[idea]
    flags = [word for name, value in setting.items() for word in (f"--{name}", str(value))]
    rows, _ = run_training(flags)
    last = rows[-1]
    return {
        "idea": idea,
        "setting": {name: value for name, value in setting.items() if name != "teacher"},
        "val_accuracy": last["val_accuracy"],
        "val_loss": last["val_loss"],
        "train_accuracy": last["train_accuracy"],
        "val_accuracies": [row["val_accuracy"] for row in rows],
        "seconds_an_epoch": sum(row["seconds"] for row in rows) / len(rows),
    }


def main() -> int:
    results = load("choose_record")
    done = {row["idea"] for row in results["rows"]}
    wanted = [(idea,) for idea in IDEAS if idea not in done]
    if "--table" not in sys.argv:
        two_at_a_time("choose_record", results, measure, wanted)
    by_idea = {row["idea"]: row for row in results["rows"]}
    for idea in IDEAS:
        if idea in by_idea:
            row = by_idea[idea]
            print(
                f"{idea:36} error {100 * (1 - row['val_accuracy']):.2f} %"
                f"  loss {row['val_loss']:.4f}  {row['seconds_an_epoch']:.1f} s an epoch"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
