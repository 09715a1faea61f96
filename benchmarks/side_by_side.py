"""Training beside others and beside the machine's limit: time, accuracy, memory, start-up.

    python benchmarks/side_by_side.py --python others=/opt/others/bin/python
    python benchmarks/side_by_side.py --rows training --only ours --minutes 8   # a part of it
    python benchmarks/side_by_side.py --table      # print what was measured
    python benchmarks/side_by_side.py --write      # and put it into docs/results.md

Each contestant is a script in contestants/ that can be run alone, and a process of its own
here; they take turns, with two threads each. Those of other libraries need what
requirements-others.txt names, in an environment of their own if you like; this script
installs nothing, and the table says which library is missing.

    python3 -m venv /opt/others && /opt/others/bin/pip install -r benchmarks/requirements-others.txt

Rows: `training` trains every contestant once for each seed, for at most ten epochs or until
99.3 % of the test images are read right, and gives the time of an epoch, the time to an
accuracy, the evaluation and the memory; `growth` is the first epoch over 1, 2, 4 and 8 copies
of the images; `startup` is what each script takes to say --help (left out with --only). A run
that is in the results is not repeated; `--anew` measures again what --rows and --only name.
All of it takes about an hour on two idle cores, one run a few minutes.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from statistics import mean, median, stdev
from typing import NamedTuple

from common import ROOT, children_of, load, machine, median_and_range, memory_of, save, write_between

from lenet5.data.datasets import load_mnist
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError, say
from lenet5.training.recipes import RECIPES

NAME = "side_by_side"
THREADS = 2
TARGETS = (0.985, 0.99, 0.993)  # of the test images
EPOCHS = 10  # at most
ROUNDS, GROWTH_ROUNDS, COPIES = 5, 3, (1, 2, 4, 8)
SAMPLE_SECONDS = 1.0  # between two samples of a contestant's memory
LONGEST = 3600  # seconds of one contestant's run


class Contestant(NamedTuple):
    """One that takes part: a script in contestants/, its flags, and what it imports."""

    title: str
    script: str
    flags: tuple[str, ...] = ()
    needs: str = "torch"
    epochs: int = EPOCHS
    grows: bool = False  # takes part in the row `growth`


def ours(*flags: str, **more) -> Contestant:
    """`train.py` with these flags, which are handed on to it."""
    return Contestant(f"`{' '.join(('train.py', *flags))}`", "ours.py", flags, **more)


QUICK = RECIPES["quick"]  # its steps are named, since every contestant is told its epochs
# One more is one line more.
CONTESTANTS = {
    "textbook-0": Contestant(
        "textbook loop, no workers", "textbook.py", ("--workers", "0"), "torchvision", grows=True
    ),
    "textbook-2": Contestant(
        "textbook loop, 2 workers", "textbook.py", ("--workers", "2"), "torchvision"
    ),
    "keras": Contestant("Keras, TensorFlow", "keras_lenet.py", needs="keras"),
    "flax": Contestant("JAX, Flax", "flax_lenet.py", needs="flax"),
    "tinygrad": Contestant("tinygrad", "tinygrad_lenet.py", needs="tinygrad", epochs=4),
    "sklearn": Contestant("scikit-learn's MLP", "sklearn_mlp.py", needs="sklearn"),
    "ours": ours(grows=True),
    "ours-quick": Contestant(
        "`train.py --recipe quick`",
        "ours.py",
        ("--recipe", "quick", "--max-steps", str(QUICK["max_steps"])),
        epochs=QUICK["epochs"],
    ),
    "ours-plain": ours("--augment", "none"),
    "ours-rounded": ours("--precision", "bfloat16"),
    "ours-plain-rounded": ours("--augment", "none", "--precision", "bfloat16"),
}
LIMIT = "limit"  # takes its turn like a contestant, since the machine's speed drifts
OTHERS = ("keras", "flax", "tinygrad", "sklearn")
SCRIPTS = ("train.py", "inference.py", "generate_test_digits.py", "export.py", "read_number.py")
STARTS = {'python -c "import torch"': ("-c", "import torch")}
STARTS |= {f"python {name} --help": (str(ROOT / name), "--help") for name in SCRIPTS}
# Of every process: as many threads, and no GPU.
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(THREADS))
ENVIRONMENT |= {"CUDA_VISIBLE_DEVICES": ""}


class Task(NamedTuple):
    """One process to time: a contestant or a command in one round."""

    row: str
    who: str
    round: int  # also the seed
    copies: int = 1


def tasks() -> list[Task]:
    """All runs, in turns."""
    growing = [who for who, contestant in CONTESTANTS.items() if contestant.grows]
    growth = [(i, copies, who) for i in range(GROWTH_ROUNDS) for copies in COPIES for who in growing]
    return [
        *(Task("training", who, i) for i in range(ROUNDS) for who in (LIMIT, *CONTESTANTS)),
        *(Task("growth", who, i, copies) for i, copies, who in growth),
        *(Task("startup", command, i) for i in range(ROUNDS) for command in STARTS),
    ]


def task_of(row: dict) -> Task:
    return Task(*(row[name] for name in Task._fields))


# ---------------------------------------------------------------- one process


def use_two_cores() -> None:
    """Keep this process and all that it starts on two cores, where the system can.

    Some libraries start a thread for each core, regardless of the environment.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


class FailedError(Exception):
    """A contestant failed; the message is the last line that it said."""


def run(command: list[str], watching: bool = True) -> tuple[str, dict]:
    """The output of a command, its seconds, and the most MB that its children had at a time.

    Children count with what they do not share. `watching` them makes the seconds less exact (0.05).
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began, peak = time.perf_counter(), 0.0
        environment = os.environ | ENVIRONMENT
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors, env=environment)
        try:
            while process.poll() is None:
                own = [memory_of(child, "Private_") for child in children_of(process.pid)]
                peak = max(peak, sum(own) / 1e6)
                if time.perf_counter() - began > LONGEST:
                    raise FailedError(f"did not end in {LONGEST} seconds")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SAMPLE_SECONDS if watching else None)
        finally:  # also at Ctrl-C
            process.kill()
            process.wait()
        seconds = time.perf_counter() - began
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            lines = errors.read().strip().splitlines() or [f"exit status {process.returncode}"]
            raise FailedError(lines[-1].strip())
        return output.read(), {"run_seconds": seconds, "children_mb": peak}


def compete(task: Task, pythons: dict) -> dict:
    """The row of results of one contestant's run, or of the limit."""
    contestant = CONTESTANTS.get(task.who, Contestant("", "limit.py"))
    python = pythons.get(task.who, sys.executable)
    if not has_module(python, contestant.needs):
        raise FailedError("not installed")
    settings = {
        "--data": ROOT / "data",
        "--seed": task.round,
        "--epochs": 1 if task.row == "growth" else contestant.epochs,
        "--until": max(TARGETS),
        "--copies": task.copies,
    }
    script = ROOT / "benchmarks" / "contestants" / contestant.script
    words = [str(word) for setting in settings.items() for word in setting]
    output, watched = run([python, str(script), *contestant.flags, *words, "--json"])
    found = json.loads(output.splitlines()[-1])
    found["peak_mb"] += watched.pop("children_mb")
    return {**task._asdict(), **found, **watched}


def start(task: Task) -> dict:
    """The row of results of one command's start."""
    command = [sys.executable, *STARTS[task.who]]
    run(command)  # brings the script and its libraries into memory
    _, watched = run(command, watching=False)
    return {**task._asdict(), "seconds": watched["run_seconds"]}


@functools.cache
def has_module(python: str, name: str) -> bool:
    """Whether an interpreter finds a library."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- all of them


def measure(wanted: list[Task], results: dict, pythons: dict, minutes: float) -> int:
    """Do the wanted tasks that are not in the results, save after each; how many contestants failed."""
    began, failed = time.monotonic(), set()
    done = {task_of(row) for row in results["rows"]}
    for task in wanted:
        if task in done or task.who in failed:
            continue
        if time.monotonic() - began > 60 * minutes:
            say(f"stopped after {minutes:g} minutes; the same command resumes")
            break
        try:
            row = start(task) if task.row == "startup" else compete(task, pythons)
        except FailedError as error:
            failed.add(task.who)
            results["missing"][task.who] = str(error)
            say(f"{task.who}: {error}")
        else:
            results["missing"].pop(task.who, None)
            results["rows"].append(row)
            say(f"{task.row}, {task.who}, round {task.round}, copies {task.copies}: {words_of(row)}")
        save(NAME, results)
    return len(failed)


def words_of(row: dict) -> str:
    """What a row of results says, for the terminal."""
    if "epochs" in row:
        best = max(epoch["accuracy"] for epoch in row["epochs"])
        seconds = ", ".join(f"{epoch['seconds']:.1f}" for epoch in row["epochs"])
        return f"epochs of {seconds} s, at best {best:.2%}, {row['peak_mb']:.0f} MB"
    return f"{row.get('seconds', row.get('limit_seconds')):.2f} s"


# ---------------------------------------------------------------- figures of the results


def time_to_accuracy(epochs: list[dict], target: float) -> float | None:
    """Seconds of training up to the first epoch after which this share is right; None if none is.

    The evaluations in between are not counted.
    """
    seconds = 0.0
    for epoch in epochs:
        seconds += epoch["seconds"]
        if epoch["accuracy"] >= target:
            return seconds
    return None


def usual(epochs: list[dict], what: str) -> float:
    """The median of a run's epochs without the first, in which libraries compile and warm up.

    Of the seconds of training, half an epoch tells nothing; if no other is whole, it is the first.
    """
    later = epochs[1:]
    if what == "seconds":
        later = [epoch for epoch in later if epoch.get("is_whole", True)]
    return median(epoch[what] for epoch in later or epochs[:1])


def by_round(results: dict, row: str, who: str, value, copies: int = 1) -> dict:
    """Round to `value(row of results)` of those there are and have one."""
    wanted = (row, who, copies)
    rows = [r for r in results["rows"] if (r["row"], r["who"], r["copies"]) == wanted]
    found = {r["round"]: value(r) for r in rows}
    return {i: found[i] for i in sorted(found) if found[i] is not None}


def epoch_seconds(results: dict, who: str) -> dict:
    """Round to seconds of an epoch, or of the limit's."""
    if who == LIMIT:
        return by_round(results, "training", LIMIT, lambda r: r["limit_seconds"])
    return by_round(results, "training", who, lambda r: usual(r["epochs"], "seconds"))


def seconds_until(results: dict, who: str, target: float) -> dict:
    """Round to seconds up to an accuracy, of those rounds in which it was reached."""
    return by_round(results, "training", who, lambda r: time_to_accuracy(r["epochs"], target))


# ---------------------------------------------------------------- the tables


def figure(value: float) -> str:
    """A number with three digits at least."""
    return f"{value:.{max(0, 2 - (value >= 10) - (value >= 100))}f}"


def spread(found: dict) -> str:
    """Median and range of what each round gave, or a dash for nothing."""
    values = list(found.values())
    if not values:
        return "–"
    if len(values) == 1:
        return figure(values[0])
    return f"{figure(median(values))} ({figure(min(values))} to {figure(max(values))})"


def reached(results: dict, who: str, target: float) -> str:
    """Mean and deviation of the seconds to an accuracy, and how many seeds reached it if not all."""
    epochs = by_round(results, "training", who, lambda r: len(r["epochs"]))
    values = list(seconds_until(results, who, target).values())
    if not values:
        return f"not in {max(epochs.values())} epochs"
    deviation = f" ± {figure(stdev(values))}" if len(values) > 1 else ""
    seeds = "" if len(values) == len(epochs) else f" ({len(values)} of {len(epochs)})"
    return f"{figure(mean(values))}{deviation}{seeds}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def training_table(results: dict) -> list[str]:
    head = ["", "an epoch, s", *(f"to {100 * target:.1f} %, s" for target in TARGETS)]
    head += ["the whole run, s", "10,000 read, s", "memory, MB"]
    rows = []
    for who, contestant in CONTESTANTS.items():
        epochs = epoch_seconds(results, who)
        if not epochs:
            why = results["missing"].get(who, "not measured yet")
            title = f"{contestant.title} ({why})".replace("|", "\\|")
            rows.append([title, *["–"] * (len(head) - 1)])
            continue
        reading = by_round(results, "training", who, lambda r: usual(r["epochs"], "evaluation_seconds"))
        whole = by_round(results, "training", who, lambda r: r["run_seconds"])
        memory = by_round(results, "training", who, lambda r: r["peak_mb"])
        targets = [reached(results, who, target) for target in TARGETS]
        peak = figure(median(memory.values()))
        rows.append([contestant.title, spread(epochs), *targets, spread(whole), spread(reading), peak])
    limits = {
        "forward and backward alone": by_round(results, "training", LIMIT, lambda r: r["bare_seconds"]),
        "the limit": epoch_seconds(results, LIMIT),
    }
    rows += [[what, spread(found), *["–"] * (len(head) - 2)] for what, found in limits.items()]
    return table(head, rows)


def quotients(over: dict, under: dict) -> str:
    """How many times as long one took as the other, round by round: median and range."""
    values = [over[i] / under[i] for i in over if i in under]
    if not values:
        return "–"
    rounds = max(len(over), len(under))
    return median_and_range(values) + (f", {len(values)} of {rounds} rounds" * (len(values) < rounds))


def comparison_table(results: dict) -> list[str]:
    """Ours beside the textbook loop and the limit."""
    head = ["", "textbook's epoch, no workers", "textbook's epoch, 2 workers"]
    head += ["textbook's time to 99.0 %, no workers", "own epoch beside the limit"]
    rows = []
    for who, contestant in CONTESTANTS.items():
        own = epoch_seconds(results, who)
        if contestant.script == "ours.py" and own:
            cells = [quotients(epoch_seconds(results, f"textbook-{n}"), own) for n in (0, 2)]
            until = (seconds_until(results, other, 0.99) for other in ("textbook-0", who))
            cells += [quotients(*until), quotients(own, epoch_seconds(results, LIMIT))]
            rows.append([contestant.title, *cells])
    return table(head, rows)


def growth_table(results: dict) -> list[str]:
    growing = {who: c.title for who, c in CONTESTANTS.items() if c.grows}
    head = ["copies of the images"]
    head += [f"{title}, {unit}" for title in growing.values() for unit in ("s", "MB")]
    rows = []
    for copies in sorted({r["copies"] for r in results["rows"] if r["row"] == "growth"}):
        cells = [str(copies)]
        for who in growing:
            times = by_round(results, "growth", who, lambda r: r["epochs"][0]["seconds"], copies)
            memory = by_round(results, "growth", who, lambda r: r["peak_mb"], copies)
            cells += [spread(times), figure(median(memory.values())) if memory else "–"]
        rows.append(cells)
    return table(head, rows) if rows else []


def startup_table(results: dict) -> list[str]:
    times = {who: by_round(results, "startup", who, lambda r: r["seconds"]) for who in STARTS}
    rows = []
    for who, found in times.items():
        if found:
            rows.append([f"`{who}`", spread(found), quotients(found, next(iter(times.values())))])
    return table(["", "seconds", "beside the first"], rows) if rows else []


def versions(results: dict) -> str:
    """The libraries that took part, with their versions."""
    found = {pair for row in results["rows"] for pair in row.get("versions", {}).items()}
    return ", ".join(f"{name} {release}" for name, release in sorted(found))


EXPLAINED = """\
An epoch is training alone, over 60,000 images: of each run the median of its epochs after
the first (of `--recipe quick`, which has but one whole epoch, that one); median and range of
the runs. To an accuracy of the test images it is the time of training up to the first epoch,
or the end of the run, after which they are read so well, with the first epoch and without
evaluations; mean and deviation of the seeds. The whole run is the command with its start-up
and evaluations: {most} epochs at most, and other people's loops end at {last:.1f} %.
Memory is the peak of a process and of those that it started, median of the runs.
"""


def report(results: dict) -> str:
    """All that was measured, in Markdown."""
    if not results["rows"]:
        return f"Not measured yet (`python benchmarks/{NAME}.py`)."
    lines = [conditions(results), "", *training_table(results), ""]
    lines += EXPLAINED.format(most=EPOCHS, last=100 * max(TARGETS)).splitlines()
    if limits := [row for row in results["rows"] if row["who"] == LIMIT]:
        speed = median(row["gflop_per_second"] for row in limits)
        lines += [
            f"The limit is {limits[0]['gflop']:.0f} GFLOP an epoch at {speed:.0f} GFLOP a second, the",
            "speed of a float32 product of 2048×2048 matrices.",
        ]
    lines += ["", "How many times as long, round by round:", "", *comparison_table(results)]
    ours, plain = (epoch_seconds(results, who) for who in ("ours", "ours-plain"))
    lines += ["", f"An epoch with distortions beside one without: {quotients(ours, plain)}."]
    if growth := growth_table(results):
        lines += ["", "The first epoch of a process, over copies of the 60,000 images:", "", *growth]
    if startup := startup_table(results):
        lines += ["", "Start-up, from the command to the end of the process:", "", *startup]
    return "\n".join(lines)


def conditions(results: dict) -> str:
    """On what the figures were measured."""
    of = results["machine"]
    rounds = max(len(epoch_seconds(results, who)) for who in (LIMIT, *CONTESTANTS))
    return (
        f"{THREADS} cores of an {of['processor']} ({of['system']}), {THREADS} threads each; the"
        f" contestants took turns ({rounds} rounds, each with a seed of its own).\n{versions(results)}."
    )


# ---------------------------------------------------------------- the command line


def interpreters(words: list[str]) -> dict:
    """Contestant to interpreter, of --python NAME=PATH; `others` is all of other libraries."""
    found = {}
    for word in words:
        name, _, path = word.partition("=")
        if name not in (*CONTESTANTS, "others") or shutil.which(path) is None:
            names = ", ".join((*CONTESTANTS, "others"))
            raise UserError(f"--python {word}: give NAME=PATH, an interpreter and a NAME of {names}")
        # Not resolved: what a link in a virtual environment leads to is outside of it.
        interpreter = os.path.abspath(shutil.which(path))
        found |= dict.fromkeys(OTHERS if name == "others" else [name], interpreter)
    return found


def choose(text: str | None, known: tuple[str, ...], flag: str) -> set[str]:
    """The names in a list with commas, or all. Raises UserError for one that is not known."""
    chosen = set(text.split(",")) if text else set(known)
    if unknown := sorted(chosen - set(known)):
        raise UserError(f"{flag} {unknown[0]}: there are {', '.join(known)}")
    return chosen


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(prog=f"benchmarks/{NAME}.py", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--rows", help="training, growth, startup, or several with commas (all)")
    add("--only", help=f"some of {', '.join((LIMIT, *CONTESTANTS))}, with commas (all)")
    add("--python", action="append", default=[], metavar="NAME=PATH", help="a contestant's interpreter")
    add("--minutes", type=number(float, 0), default=1e9, help="begin no further run after so many")
    add("--anew", action="store_true", help="first forget the results of --rows and --only")
    add("--table", action="store_true", help="measure nothing, print the tables")
    add("--write", action="store_true", help="measure nothing, put the tables into docs/results.md")
    return parser


@command_line
def main(argv=None) -> int:
    options = make_parser().parse_args(argv)
    rows = choose(options.rows, ("training", "growth", "startup"), "--rows")
    # With --only, a command's start is left out: it is no contestant's.
    everybody = choose(options.only, (LIMIT, *CONTESTANTS), "--only") | set(
        () if options.only else STARTS
    )
    pythons = interpreters(options.python)
    results, failed = {"missing": {}} | load(NAME), 0
    if not (options.table or options.write):
        if results["machine"] != machine():
            path = f"benchmarks/results/{NAME}.json"
            raise UserError(
                f"{path} is of another machine or other versions; move it away to start over"
            )
        wanted = [task for task in tasks() if task.row in rows and task.who in everybody]
        if options.anew:
            results["rows"] = [row for row in results["rows"] if task_of(row) not in wanted]
        use_two_cores()
        load_mnist(ROOT / "data")  # downloads it where it is missing, or says why it cannot
        failed = measure(wanted, results, pythons, options.minutes)
    print(report(results))
    if options.write:
        write_between("side by side", report(results), "docs/results.md")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
