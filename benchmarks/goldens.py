"""Compare what the commands write and print with an older commit, on the same machine.

    $ python benchmarks/goldens.py                        # all, 15 minutes on two busy cores
    $ python benchmarks/goldens.py --only quick
    same     quick (160 values, 18 s)

It checks out the older commit into a temporary worktree and runs the public commands of
both trees on the same inputs with the same environment. Numbers and bytes have to be equal;
where words alone differ, a note says so. The exit status is 1 if anything differs.
"""

import argparse
import ast
import csv
import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image

BASE = "a8ad365b24cff3686d9dd3b78060af3f4df4657b"  # the last commit before the files moved
ROOT = Path(__file__).resolve().parent.parent
# Commands that are modules since the move, which start by `-m` where the file is gone.
MODULES = {"train_numbers.py": "lenet5.whole_numbers.train"}
SCRIPTS = ("train", "inference", "read_number", "export", "generate_test_digits", "draw")
SCRIPTS += ("train_numbers",)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "500"}
NOTE = "note: "  # begins the name of a value that may change
# By the recipe: the flags that keep 20 steps of it short.
FEW = "--dataset pictures --batch-size 50"
RECIPES = {
    "default": "",
    "quick": "",
    "lenet-gap": FEW,
    "fine-tune": f"{FEW} --init-from pretrained/lenet5.pth",
    "1998": "--dataset pictures --batch-size 20",
    "1998-distorted": "--dataset pictures --batch-size 20",
    "teacher": f"{FEW} --val-size 10",
    "anybody": f"{FEW} --pictures 300",
    "record": f"{FEW} --teacher pretrained/teacher.pth",
}
READ = (
    "inference test_digits --top-k 10",
    "read_number numbers --top-k 3",
    "read_number numbers pictures torn.png --reject",
    "inference pictures test_digits torn.png --reject",
    "inference pictures --weights pretrained/lenet5-1998.pth --invert yes",
)
# Bad or partly bad input, of which the exit status counts.
BAD = """train --epochs 0|train --dataset nowhere|train --resume nowhere|train --optimizer sdlm
train --init he --init-from pretrained/lenet5.pth|train --recipe 1998 --label-smoothing 0.1
inference nowhere.png|inference torn.png test_digits|inference test_digits --weights torn.png
inference test_digits --output torn.png|inference test_digits --format json --output missing/x.json
read_number torn.png|read_number torn.png test_digits|read_number --weights torn.png test_digits
export|export --npz missing/x.npz|export --weights torn.png --npz x.npz|export --prune x.pth --keep 2
generate_test_digits --size 0|generate_test_digits --fonts nowhere.ttf|train_numbers --strings 1"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def flat(value, name: str = "", digits: int = 17) -> dict[str, str]:
    """The leaves of nested dicts and lists by their names; arrays as digests, but no times."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found = [
            flat(v, f"{name}/{k}", digits) for k, v in pairs if k not in ("seconds", "param_groups")
        ]
        return functools.reduce(dict.__or__, found, {})
    if isinstance(value, torch.Tensor):
        kind, data = f"{value.dtype}{list(value.shape)}", value.detach().reshape(-1).view(torch.uint8)
        return {name: f"{kind} {digest(data.numpy().tobytes())}"}
    if isinstance(value, np.ndarray):
        return {name: f"{value.dtype}{list(value.shape)} {digest(value.tobytes())}"}
    if isinstance(value, float):
        return {name: f"{value:.{digits}g}"}
    text = repr(value)
    return {name: text if len(text) < 80 else digest(text.encode())}


class Tree:
    """One of the two trees, and a folder to run its commands in."""

    def __init__(self, root: Path, folder: Path, *inputs: Path):
        self.root, self.folder = root, folder
        folder.mkdir(parents=True)
        for path in (root / "pretrained", root / "test_digits", ROOT / "data", *inputs):
            (folder / path.name).symlink_to(path)

    def run(self, name: str, flags: str = "", status: int | None = 0, start=()):
        """Run a script; AssertionError if it ends with another status than this one."""
        script, environment = self.root / f"{name}.py", ENVIRONMENT
        command = [str(script)]
        if not script.exists():
            command = ["-m", MODULES[script.name]]
            environment = {**ENVIRONMENT, "PYTHONPATH": str(self.root)}
        command = [sys.executable, *start, *command, *flags.split()]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        done.stderr = done.stderr.replace(str(self.root), "").replace(str(self.folder), "")
        assert status in (None, done.returncode), (
            f"{' '.join(command)}: {done.returncode}\n{done.stderr}"
        )
        return done

    def trained(self) -> dict:
        """What a training left: weights, their metadata and its metrics."""
        weights = torch.load(self.folder / "out.pth", weights_only=True)
        (metrics,) = self.folder.glob("runs/*/metrics.csv")
        found = {"weights": weights, "metadata": weights._metadata}
        return flat(found | {"metrics": list(csv.DictReader(metrics.open()))})


def training(tree: Tree, flags: str, start=()) -> dict:
    tree.run("train", f"{flags} --max-steps 20 --output out.pth --plot out.png", start=start)
    (run,) = (tree.folder / "runs").iterdir()
    checkpoint = torch.load(run / "checkpoint.pth", weights_only=True)
    config = json.loads((run / "config.json").read_text())
    return tree.trained() | flat(checkpoint, "checkpoint") | flat(config)


def two_processes(tree: Tree) -> dict:
    return training(tree, FEW, ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"))


def reading(tree: Tree) -> dict:
    """What is printed and written of pictures, in six significant digits."""
    found = {}
    for line in READ:
        done = tree.run(*f"{line} --format json".split(" ", 1), status=None)
        found |= flat([json.loads(row) for row in done.stdout.splitlines()], f"{line} json", 6)
        found[f"{line} status"] = str(done.returncode)
    for line in READ[:2]:
        tree.run(*f"{line} --format csv --output out.csv".split(" ", 1))
        rows = [list(map(literal, row)) for row in csv.reader((tree.folder / "out.csv").open())]
        found |= flat(rows, f"{line} csv", 6)
        found[f"{NOTE}{line} table"] = tree.run(*line.split(" ", 1)).stdout
        (tree.folder / "out.csv").unlink()
    return found


def literal(cell: str):
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return cell


def exports(tree: Tree) -> dict:
    """The graphs, weights and metadata of exported files, and what the page holds."""
    found = {}
    for name in ("lenet5", "lenet-gap", "lenet5-1998"):
        int8 = "" if name == "lenet5-1998" else f"--int8 {name}-int8.onnx"
        flags = f"--html {name}.html --npz {name}.npz --onnx {name}.onnx {int8}"
        tree.run("export", f"--weights pretrained/{name}.pth {flags}", None)
    tree.run("export", "--prune pruned.pth --epochs 1")
    found |= flat(torch.load(tree.folder / "pruned.pth", weights_only=True), "pruned")
    for path in sorted(tree.folder.glob("*.npz")):
        found |= flat(dict(np.load(path)), path.name)
    for path in sorted(tree.folder.glob("*.onnx")):
        model = onnx.load(path)
        graph = model.graph
        nodes = [(n.op_type, sorted(str(a) for a in n.attribute)) for n in graph.node]
        arrays = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
        ends = [str(end) for end in (*graph.input, *graph.output)]
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        found |= flat([nodes, arrays, ends, metadata], path.name)
    for path in sorted(tree.folder.glob("*.html")):
        before, text, after = re.split(r"const NETWORKS = (.*);\n", path.read_text(), maxsplit=1)
        networks = json.loads(text)
        steps = [step for network in networks for step in network["operations"]]
        # The page's scripts alone know the kinds by their names, which changed.
        found[f"{NOTE}kinds of {path.name}"] = str([step.pop("kind") for step in steps])
        found |= flat(networks, path.name)
        found[f"{NOTE}scripts of {path.name}"] = digest((before + after).encode())
    return found


def networks(tree: Tree) -> dict:
    """The columns of numbers in the table of networks."""
    table = tree.run("train", "--arch list").stdout
    return flat([line.split()[:4] for line in table.splitlines()]) | {f"{NOTE}table": table}


def flags(tree: Tree) -> dict:
    """Each script's flags and their choices, after its --help."""
    found = {}
    for script in SCRIPTS:
        text = tree.run(script, "--help").stdout
        found[f"{NOTE}help of {script}"] = text
        for names, choices in re.findall(r"^  (-[^{\n]*?)(?: (\{.*?\}))?(?=  |\n)", text, re.MULTILINE):
            for name in re.findall(r"--?[a-z][\w-]*", names):
                found[f"{script} {name}"] = str(sorted(choices.strip("{}").split(",")))
    return found


def drawn(tree: Tree) -> dict:
    tree.run("generate_test_digits", "--output ten")
    tree.run("generate_test_digits", "--output styles --styles all --size 64 --seed 3 --sheet sheet.png")
    files = [*tree.folder.glob("*/*.png"), tree.folder / "sheet.png"]
    return {path.name: digest(path.read_bytes()) for path in files if not path.parent.is_symlink()}


def statuses(tree: Tree) -> dict:
    found = {}
    for line in re.split(r"\||\n", BAD):
        done = tree.run(*line.split(" ", 1), status=None)
        found[line] = f"{done.returncode}{' with a traceback' * ('Traceback' in done.stderr)}"
        found[f"{NOTE}{line}"] = done.stderr
    return found


GOLDENS = {
    recipe: functools.partial(training, flags=f"--recipe {recipe} {flags}")
    for recipe, flags in RECIPES.items()
}
GOLDENS |= {"two-processes": two_processes, "reading": reading}
GOLDENS |= {"exports": exports, "networks": networks, "flags": flags, "drawn": drawn, "bad": statuses}


def make_inputs(tree: Tree) -> list[Path]:
    """What both trees read beside the project's own files: pictures of digits and of numbers."""
    tree.run("generate_test_digits", "--output flat --size 64 --styles all")
    for path in (tree.folder / "flat").iterdir():
        folder = tree.folder / "pictures" / path.name.split("_")[1]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    (tree.folder / "torn.png").write_bytes(b"\x89PNG and no more")
    (tree.folder / "numbers").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        digits = rng.integers(0, 10, 2 + i % 5)
        step = 128 - 6 * i  # from apart to touching
        sheet = Image.new("L", (step * len(digits) + 100, 160), 255)
        for place, digit in enumerate(digits):
            picture = Image.open(ROOT / "test_digits" / f"digit_{digit}.png").convert("L")
            ink = picture.point(lambda level: 255 - level)
            sheet.paste(0, (20 + step * place, int(rng.integers(8, 24))), ink)
        text = "".join(map(str, digits))
        sheet.save(tree.folder / "numbers" / f"number_{text}_{i}.png")
    return [tree.folder / name for name in ("pictures", "numbers", "torn.png")]


def values_of(golden, tree: Tree) -> dict:
    """The values of a golden, or why there are none, which is never the same in both trees."""
    try:
        return golden(tree)
    except Exception as error:
        return {f"failed in {tree.root}": str(error)}


def compare(name: str, *trees: Tree) -> bool:
    """Print whether the two trees agree about a golden; True if they do."""
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        old, new = pool.map(functools.partial(values_of, GOLDENS[name]), trees)
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    notes = [key.removeprefix(NOTE) for key in changed if key.startswith(NOTE)]
    changed = [key for key in changed if not key.startswith(NOTE)]
    seconds = f"{time.perf_counter() - started:.0f} s"
    if changed:
        first = changed[0]
        more = f"; and {len(changed) - 1} more" if len(changed) > 1 else ""
        print(f"differs  {name}: {first}: {old.get(first)} -> {new.get(first)}{more} ({seconds})")
    else:
        print(f"same     {name} ({sum(not key.startswith(NOTE) for key in old)} values, {seconds})")
    for key in notes:
        print(f"note     {name}: other words in {key}")
    sys.stdout.flush()
    return not changed


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the commands with those of an older commit.")
    parser.add_argument("--base", default=BASE, help="the older commit (%(default)s)")
    parser.add_argument(
        "--only", action="append", choices=GOLDENS, metavar="NAME", help=", ".join(GOLDENS)
    )
    arguments = parser.parse_args()
    # Also a run that is ended takes its worktree away.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        older, folder = Path(folder, "older"), Path(folder)
        subprocess.run([*git, "add", "--quiet", "--detach", str(older), arguments.base], check=True)
        try:
            inputs = make_inputs(Tree(older, folder / "inputs"))
            same = []
            for name in arguments.only or GOLDENS:
                old = Tree(older, folder / "old" / name, *inputs)
                same.append(compare(name, old, Tree(ROOT, folder / name, *inputs)))
        finally:
            subprocess.run([*git, "remove", "--force", str(older)], check=True)
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
