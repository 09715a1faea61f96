"""How many small changes of the code the tests notice: mutation testing with mutmut.

    $ pip install -r benchmarks/requirements.txt
    $ python benchmarks/mutation.py                 # the three files, about an hour
    $ python benchmarks/mutation.py lenet5/imaging/preprocess.py   # or one

mutmut changes one thing at a time (a number, an operator, a name, an argument) and runs the
tests of that file. A mutant that no test notices has survived: either a test is missing, or
the change makes no difference. Prints a line a file: mutants noticed, mutants, and how they
ended. It works in benchmarks/work/, in a copy of the tracked files, resumes where it was
stopped, and then tries again what survived before, for which there may be tests now.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from common import ROOT, load, machine, save

# The tests that each file is held to: its own, not all that happen to use it.
TESTS = {
    "lenet5/imaging/preprocess.py": ["tests/imaging"],
    "lenet5/networks/weights.py": ["tests/networks", "tests/imaging/test_properties.py"],
    "lenet5/training/checkpoint.py": ["tests/training/test_checkpoint.py"],
}
SLOW = "not test_accuracy_on_mnist and not test_mnists_own"  # too many pictures for every mutant
# Imported once, before a process is forked for each mutant; the tests themselves refuse to fork.
PRELOAD = ("torch", "torchvision", "matplotlib.pyplot", "hypothesis")
CONFIG = """[mutmut]
source_paths=.
only_mutate=
    {file}
also_copy=
    {copied}
pytest_add_cli_args_test_selection=
    {tests}
pytest_add_cli_args=
    -q
    -x
    -n
    0
    -p
    no:cacheprovider
    -k
    {slow}
process_isolation=forkserver
forkserver_warmup=import
preload_modules_file=preload.txt
timeout_multiplier=20
timeout_constant=5
"""


def prepare(file: str) -> Path:
    """A copy of the tracked files with the settings for one of them."""
    folder = ROOT / "benchmarks" / "work" / f"mutants-{Path(file).stem}"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if name.startswith("benchmarks/results/"):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    top = sorted({p.name for p in folder.iterdir()} - {"mutants", "data", "setup.cfg", ".git"})
    copied = [name for name in top if not name.endswith(".py")]
    tests = "\n    ".join(TESTS[file])
    text = CONFIG.format(file=file, copied="\n    ".join(copied), tests=tests, slow=SLOW)
    (folder / "setup.cfg").write_text(text)
    (folder / "preload.txt").write_text("\n".join(PRELOAD))
    return folder


def mutmut(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def changed_lines(diff: str) -> dict:
    """What a mutant took out and put in, from mutmut's diff of its function."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    before = [line[1:].strip() for line in lines if line.startswith("-")]
    after = [line[1:].strip() for line in lines if line.startswith("+")]
    return {"before": " ".join(before), "after": " ".join(after)}


def outcomes(folder: Path) -> dict[str, str]:
    """What became of each mutant."""
    lines = mutmut(folder, "results", "--all", "true")
    return dict(re.findall(r"^\s*(\S+): (.+)$", lines, re.MULTILINE))


def survivors_of(found: dict[str, str]) -> list[str]:
    return [name for name, status in found.items() if status in ("survived", "no tests", "suspicious")]


def measure(file: str, workers: int) -> dict:
    folder = prepare(file)
    again = (folder / "mutants").exists()
    mutmut(folder, "run", "--max-children", str(workers))
    left = survivors_of(outcomes(folder))
    if again and left:  # the tests may be others than they were
        mutmut(folder, "run", "--max-children", str(workers), *left)
    found = outcomes(folder)
    counts = dict(Counter(found.values()))
    left = survivors_of(found)
    survivors = [{"mutant": name} | changed_lines(mutmut(folder, "show", name)) for name in left]
    return {"file": file, "mutants": len(found), "by_status": counts, "survivors": survivors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", default=list(TESTS), metavar="FILE")
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time (2)")
    args = parser.parse_args()
    results = load("mutation")
    for file in args.files:
        row = measure(file, args.workers)
        results["machine"] = machine()
        results["rows"] = [other for other in results["rows"] if other["file"] != file] + [row]
        save("mutation", results)
        counts = row["by_status"]
        noticed = row["mutants"] - len(row["survivors"])
        share = 100 * noticed / row["mutants"]
        print(f"{file}: {noticed} of {row['mutants']} noticed ({share:.1f} %) {counts}")


if __name__ == "__main__":
    main()
