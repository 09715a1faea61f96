"""Compare finished runs."""

from pathlib import Path

from lenet5.runtime.errors import UserError, say
from lenet5.training.progress import percent
from lenet5.training.run_folder import RUNS, is_better, read_metrics, run_folder

COMPARISON_PLOT = "runs_comparison.png"


def compare_runs(names: list[str], plot: str) -> int:
    """Print the best figures of several runs side by side and draw their curves over each other."""
    from lenet5.evaluation.training_figures import run_comparison

    folders = [run_folder(name) for name in names]
    if not names:
        folders = sorted(p.parent for p in Path(RUNS).glob("*/config.json"))
    runs = {}
    for folder in folders:
        if (folder / "metrics.csv").exists():
            runs[folder.name] = read_metrics(folder)
        else:
            say(f"left out: {folder} has finished no epoch")
    if not runs:
        raise UserError(f"there is no run with metrics to compare in {RUNS}/; make one: python train.py")
    width = max(len("run"), *map(len, runs))
    print(f"{'run':{width}}  epochs  best  {'val':>7}  {'test':>7}  {'train':>7}  seconds")
    for name, history in runs.items():
        best = history[0]
        for row in history[1:]:
            best = row if is_better(row, best) else best
        print(
            f"{name:{width}}  {len(history):6}  {best['epoch']:4.0f}  {percent(best['val_accuracy'])}"
            f"  {percent(best['test_accuracy'])}  {percent(best['train_accuracy'])}"
            f"  {sum(row['seconds'] for row in history):7.1f}"
        )
    run_comparison(runs, plot)
    print(f"curves: {plot}")
    return 0
