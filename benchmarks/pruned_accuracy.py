"""Accuracy against the number of parameters that `python export.py --prune` leaves.

    python benchmarks/pruned_accuracy.py          # about half an hour on 2 cores, two runs at a time
    python benchmarks/pruned_accuracy.py --table  # print and draw what was measured: docs/pruning.png

Of three default runs (python train.py --seed 0, 1, 2, of which the first is
lenet5-plain.pth) and of the shipped weights, which are one training. How the pruning
itself was chosen is in tune.py prune. Runs that are in the results already are not repeated.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import ROOT, flags, load, spread, two_at_a_time
from tune import default_weights

from lenet5.evaluation.figures import WIDTH, curve_style, new_figure, save
from lenet5.networks.weights import load_weights
from model import count_parameters

KEEP = (0.1, 0.05, 0.2, 0.03, 0.5, 0.3)  # what matters most first
SHIPPED = "pretrained/lenet5.pth"
PLAIN = "python train.py"
RUNS = [(PLAIN, 0), (PLAIN, 1), (PLAIN, 2), (SHIPPED, 0)]
FIGURE = ROOT / "docs" / "pruning.png"


def weights_of(name: str, seed: int) -> Path:
    if name == SHIPPED:
        return ROOT / SHIPPED
    return ROOT / "pretrained" / "lenet5-plain.pth" if seed == 0 else default_weights(seed)


def export(*flags) -> None:
    command = [sys.executable, str(ROOT / "export.py"), "--data-dir", str(ROOT / "data")]
    done = subprocess.run([*command, *map(str, flags)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{flags}: {done.stderr}")


def measure(name: str, seed: int, keep: float) -> dict:
    """What pruned weights say of themselves, and their size in a compressed file."""
    folder = ROOT / "benchmarks" / "work" / f"prune-{name.split('/')[0]}-{seed}".replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    weights, npz = weights_of(name, seed), folder / f"{keep}.npz"
    if keep < 1:
        export("--weights", weights, "--prune", folder / f"{keep}.pth", "--keep", keep)
        weights = folder / f"{keep}.pth"
    export("--weights", weights, "--npz", npz)
    net, metadata = load_weights(weights)
    row = {"weights": name, "seed": seed, "keep": keep, "npz_bytes": npz.stat().st_size}
    row["parameters"] = metadata.get("parameters_left", count_parameters(net))
    return row | {kind: metadata[kind] for kind in ("val_accuracy", "test_accuracy")}


def draw(rows: list[dict]) -> None:
    """Test accuracy against the parameters that are left: a mark for each run, a curve of means."""
    figure = new_figure(WIDTH, 5)
    axes = figure.subplots()
    for i, name in enumerate(dict.fromkeys(row["weights"] for row in rows)):
        found: dict[int, list[float]] = {}
        for row in sorted(rows, key=lambda row: row["parameters"]):
            if row["weights"] == name:
                found.setdefault(row["parameters"], []).append(100 * row["test_accuracy"])
        style, seeds = curve_style(i), max(map(len, found.values()))
        means = [sum(values) / len(values) for values in found.values()]
        axes.plot(list(found), means, "-", color=style["color"], linewidth=1.8)
        places = [(count, value) for count, values in found.items() for value in values]
        label = f"{name}, {seeds} seeds" if seeds > 1 else name
        axes.plot(*zip(*places, strict=True), markersize=6, linestyle="", label=label, **style)
    ticks = sorted({row["parameters"] for row in rows})
    title = "MNIST's test images, read with fewer and fewer parameters"
    axes.set(xscale="log", title=title, xlabel="parameters that are left", ylabel="test accuracy, %")
    axes.set_xticks(ticks, [f"{count:,}\n{count / ticks[-1]:.0%}" for count in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save(figure, FIGURE)


def main() -> int:
    given = flags(__doc__, "--table")
    results = load("prune")
    done = {(row["weights"], row["seed"], row["keep"]) for row in results["rows"]}
    wanted = [(*run, keep) for runs in (RUNS[:3], RUNS[3:]) for keep in (1.0, *KEEP) for run in runs]
    if "--table" not in given:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(weights_of, *zip(*RUNS, strict=True)))
        two_at_a_time("prune", results, measure, [w for w in wanted if w not in done])
    print(f"{'weights':22} {'kept':>5} {'left':>7} {'bytes':>8}  validation       test")
    for name in dict.fromkeys(name for name, _ in RUNS):
        for keep in (1.0, *sorted(KEEP, reverse=True)):
            rows = [r for r in results["rows"] if (r["weights"], r["keep"]) == (name, keep)]
            if rows:
                val, test = (spread([r[k] for r in rows]) for k in ("val_accuracy", "test_accuracy"))
                size = sum(row["npz_bytes"] for row in rows) / len(rows)
                left = rows[0]["parameters"]
                print(f"{name:22} {keep:5.0%} {left:7,} {size:8,.0f}  {val:15}  {test}")
    if results["rows"]:
        draw(results["rows"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
