"""What is lost when something ends a script, and whether it resumes as if nothing had happened.

    python benchmarks/kills.py            # two hours; resumes where it was stopped
    python benchmarks/kills.py --short    # half a minute: a few of each, nothing is kept
    python benchmarks/kills.py --table    # print what was measured

Small runs of train.py (three epochs, twenty pictures a class), inference.py and
generate_test_digits.py are ended at a random moment, exactly before one of their file
operations, by a signal or by an error of the disk. Then each of their files has to be missing
or whole. The run, resumed and often ended again, has to end with the results of a run that
was not disturbed, to the bit. Anything else ends this script with an AssertionError.

Prints a row a fault: how often it was tried, how many runs ended the same, and the most steps,
epochs and temporary files that one try lost or left behind. Linux or macOS; the small disk
needs root.
"""

import contextlib
import io
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from errno import EMFILE, ENOSPC
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import torch
from common import ROOT, flags, load, save
from PIL import Image

import generate_test_digits
import inference
import train
from lenet5.networks.weights import load_weights
from lenet5.reading.output_file import read_done
from lenet5.runtime import atomic_files
from lenet5.training import training_pool
from lenet5.training.run_folder import read_metrics

WEIGHTS = "lenet5_model.pth"
PER_DIGIT = 20  # pictures
RUN = ["--dataset", "pictures", "--epochs", "3", "--batch-size", "20", "--device", "cpu"]
TEACHER = ["--teacher", str(ROOT / "pretrained" / "lenet5.pth"), "--average", "0.99"]
AVERAGED = "averaged, with a teacher"
LARGEST_FILE = 600_000  # bytes, of a training run
RUN_KIB = 2200  # a little less than a run needs
AGAIN = 0.5  # how often a resumed run is ended again
EARLIEST = 0.15  # seconds; before them Python itself shows a traceback at a signal
STATUS = {SIGINT: 130, SIGTERM: 143}

# A forked child can wait for ever for a lock of a thread that was not copied. So its parent, the
# fork server, has one thread: it only imports, and OpenBLAS is told to start none.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["train", "inference", "generate_test_digits"])
steps = server.Value("q", 0, lock=False)  # started by the child, and read by us
operations = server.Value("q", 0, lock=False)  # on files
rng = random.Random(0)


# ---------------------------------------------------------------- a script in a child process


class Child(server.Process):
    """A script's main() in a child that has imported torch, with its output in files.

    `prepare` is called before main().
    """

    def __init__(self, folder: Path, main, flags: list[str], prepare):
        steps.value = operations.value = 0
        super().__init__(target=run_child, args=(folder, main, flags, prepare, steps, operations))
        self.start()

    def wait(self) -> int:
        """The exit status, -9 after a SIGKILL."""
        self.join()
        return self.exitcode


def run_child(folder: Path, main, flags: list[str], prepare, its_steps, its_operations) -> None:
    """What a child does, until it ends with the status of main()."""
    global steps, operations
    steps, operations = its_steps, its_operations
    try:
        if sys.platform == "linux":
            assert len(os.listdir(f"/proc/{os.getppid()}/task")) == 1  # threads of the fork server
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        training_pool.SMALLEST_EPOCH = 1  # each picture once an epoch
        train.on_step = count_step
        if prepare is not None:
            prepare()
        os._exit(main(flags))
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(99)


def count_step(step: int) -> None:
    steps.value += 1


def disturb_files(chosen: int, code: int) -> None:
    """Disturb this process before its `chosen`th operation that changes the disk.

    A `code` of 0 kills it there; another one is the error of that operation and all later ones.
    """

    def tick():
        operations.value += 1
        if operations.value >= chosen:
            if code == 0:
                os.kill(os.getpid(), SIGKILL)
            raise OSError(code, os.strerror(code))

    class Halves(io.FileIO):
        """A file that is written in two halves, each of them an operation."""

        def write(self, data: bytes) -> int:
            middle = len(data) // 2
            tick()
            super().write(data[:middle])
            tick()
            return middle + super().write(data[middle:])

    def ticking(function):
        def operation(*arguments, **options):
            tick()
            return function(*arguments, **options)

        return operation

    def open_ticking(path, mode="r", *arguments, **options):
        if "r" in mode:
            return open(path, mode, *arguments, **options)
        tick()
        return Halves(path, mode)

    for name in ("mkdir", "fsync", "replace", "rename"):
        setattr(os, name, ticking(getattr(os, name)))
    atomic_files.open = open_ticking


# ---------------------------------------------------------------- what is run


class Training:
    """A run of train.py on pictures in a child, and what it left when nothing disturbed it.

    A subclass runs another script, or another way.
    """

    main, has_steps, largest = staticmethod(train.main), True, LARGEST_FILE

    def __init__(self, pictures: Path, flags=()):
        self.pictures, self.flags = pictures, [*RUN, *flags]
        with self.folder() as folder:
            began = time.perf_counter()
            process = self.start(folder, partial(disturb_files, sys.maxsize, 0))
            assert process.wait() == 0, read_text(folder / "stderr")
            self.seconds, self.operations = time.perf_counter() - began, operations.value
            self.whole = self.outcome(folder)

    @contextlib.contextmanager
    def folder(self, kibibytes: int = 0):
        """A folder to run in, with the pictures; on a disk of that size if it is not 0."""
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            if kibibytes:
                mount("-o", f"size={kibibytes}k", "tmpfs", name)
                stack.callback(subprocess.run, ["umount", name], check=True)
            os.symlink(self.pictures, Path(name, "pictures"))
            yield Path(name)

    def start(self, folder: Path, prepare=None):
        """Begin what is to be done in a folder, or resume it."""
        return Child(folder, self.main, self.next_flags(folder), prepare)

    def next_flags(self, folder: Path) -> list[str]:
        runs = runs_in(folder)
        return ["--resume", runs[0].name] if runs else self.flags

    def has_begun(self, folder: Path) -> bool:
        """Whether an error comes after the beginning: status 1 and not 2."""
        return bool(runs_in(folder) and steps.value)

    def check_files(self, folder: Path) -> tuple[int, int]:
        """Assert that every file is missing or whole; steps that are kept, epochs that are lost."""
        kept, history = 0, []
        assert len(runs_in(folder)) <= 1
        for run in runs_in(folder):
            assert (run / "config.json").read_bytes() == self.whole["config"]
            metrics = rows_of(run)
            assert metrics == self.whole["metrics"][: len(metrics)]
            if (run / "checkpoint.pth").exists():
                checkpoint = torch.load(run / "checkpoint.pth", weights_only=True)
                kept, history = checkpoint["step"], checkpoint["history"]
            assert len(history) - len(metrics) in (0, 1)
        if (folder / "training_results.png").exists():
            Image.open(folder / "training_results.png").load()
        if (folder / WEIGHTS).exists():
            _, metadata = load_weights(folder / WEIGHTS)
            row = self.whole["metrics"][metadata["epoch"] - 1]
            assert metadata["test_accuracy"] == row["test_accuracy"]
        lines = read_text(folder / "stdout").splitlines()
        printed = [int(line.split()[1].split("/")[0]) for line in lines if line[:6] == "epoch "]
        return kept, max(printed, default=0) - len(history)

    def outcome(self, folder: Path):
        """What has to be the same in the end."""
        (run,) = runs_in(folder)
        return {
            "weights": (folder / WEIGHTS).read_bytes(),
            "metrics": rows_of(run),
            "config": (run / "config.json").read_bytes(),
        }


class RealTraining(Training):
    """`python train.py` as a person starts it."""

    has_steps = False  # they are not counted

    def start(self, folder: Path, prepare=None):
        command = [sys.executable, str(ROOT / "train.py"), *self.next_flags(folder)]
        with open(folder / "stdout", "ab") as out, open(folder / "stderr", "ab") as err:
            return subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)


class Reading(Training):
    """inference.py --output on the pictures, which the same command continues."""

    main = staticmethod(inference.main)

    def __init__(self, pictures: Path, format: str):
        self.format = format
        super().__init__(pictures)

    def next_flags(self, folder: Path) -> list[str]:
        flags = ["pictures", "--output", "out", "--format", self.format, "--batch-size", "10"]
        return [*flags, "--weights", str(ROOT / "pretrained" / "lenet5.pth")]

    def has_begun(self, folder: Path) -> bool:
        return True

    def check_files(self, folder: Path) -> tuple[int, int]:
        return 0, 0

    def outcome(self, folder: Path):
        """Every picture's result once, and nothing after the last."""
        found = list(read_done(str(folder / "out"), self.format))
        self.largest = (folder / "out").stat().st_size
        assert found[-1][1] == self.largest
        return [(row["path"], str(row["prediction"])) for row, _ in found]


class Drawing(Training):
    """generate_test_digits.py, which draws every picture again."""

    main = staticmethod(generate_test_digits.main)

    def next_flags(self, folder: Path) -> list[str]:
        return ["--styles", "all", "--size", "40", "--output", "digits"]

    def check_files(self, folder: Path) -> tuple[int, int]:
        found = self.outcome(folder)
        assert all(self.whole[name] == data for name, data in found.items() if name[0] != ".")
        return 0, 0

    def outcome(self, folder: Path):
        return {path.name: path.read_bytes() for path in folder.glob("digits/*")}


def read_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def runs_in(folder: Path) -> list[Path]:
    return list(folder.glob("runs/[!.]*"))


def rows_of(run: Path) -> list[dict]:
    """The metrics of a run but for the seconds, which are never the same."""
    rows = read_metrics(run) if (run / "metrics.csv").exists() else []
    return [{**row, "seconds": None} for row in rows]


def leftovers(folder: Path) -> int:
    return sum(1 for path in folder.rglob(".*") if path.name.endswith(".tmp"))


def draw(folder: Path) -> None:
    """A sub-folder a digit, with pictures as small as MNIST's, which are read the fastest."""
    face = generate_test_digits.default_face()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for copy in range(1, PER_DIGIT + 1):
            drawing = generate_test_digits.Drawing(digit, face, "plain", copy)
            drawing.draw(28, seed=0).save(folder / str(digit) / f"{drawing.name}.png")


def mount(*words: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", *words], check=True)


# ---------------------------------------------------------------- the faults


def attempt(job: Training, row: dict, check, prepare=None, end=None, kibibytes: int = 0) -> None:
    """A run with one fault; then it is resumed, often ended again, until it is done, and compared.

    The fault is made by `prepare()` in the child, by `end(process)` at a random moment, or by
    a disk of so many KiB. `check(job, folder, status, text)` looks at the status and at what
    was said on stderr.
    """
    with job.folder(kibibytes) as folder:
        process = job.start(folder, prepare)
        if end is not None:
            end_later(job, process, end)
        status = process.wait()
        if end is not None and status == 0:
            return  # it came too late
        check(job, folder, status, said(folder))
        kept, epochs_lost = job.check_files(folder)
        if job.has_steps:
            row["steps_lost"] = max(row["steps_lost"], steps.value - kept)
        row["epochs_lost"] = max(row["epochs_lost"], epochs_lost)
        row["left_behind"] = max(row["left_behind"], leftovers(folder))
        row["statuses"][str(status)] = row["statuses"].get(str(status), 0) + 1
        if kibibytes:
            mount("-o", "remount,size=64m", "tmpfs", str(folder))
        while status != 0:
            process = job.start(folder)
            if rng.random() < AGAIN:
                end_later(job, process, end or kill)
            status = process.wait()
            if status != 0:
                (check if end else check_killed)(job, folder, status, said(folder))
                job.check_files(folder)
        assert job.outcome(folder) == job.whole
        assert leftovers(folder) == 0
    row["tried"] += 1
    row["same_weights"] += 1


def end_later(job: Training, process, end) -> None:
    earliest = 0.0 if isinstance(process, Child) else EARLIEST
    time.sleep(rng.uniform(earliest, job.seconds))
    end(process)


def said(folder: Path) -> str:
    """What the last process said on stderr; the file is removed."""
    text = read_text(folder / "stderr")
    (folder / "stderr").unlink(missing_ok=True)
    assert "Traceback" not in text, text
    return text


def kill(process) -> None:
    process.kill()


def check_killed(job: Training, folder: Path, status: int, text: str) -> None:
    assert status == -SIGKILL, text


def check_failed(words: str):
    """The status of an error, and words of its line."""

    def check(job: Training, folder: Path, status: int, text: str) -> None:
        assert status == (1 if job.has_begun(folder) else 2), (status, text)
        assert words in (text.splitlines() or [""])[-1], text

    return check


# Each of these adds to a row: so many tries, or one before each `every`th file operation.


def at_random(end=kill, check=check_killed):
    """Ended at random moments."""

    def add(job: Training, row: dict, times: int) -> None:
        while row["tried"] < times:
            attempt(job, row, check, end=end)

    return add


def signalled(number: int, twice: bool = False):
    """SIGINT or SIGTERM at random moments of a real process, from its imports to its end."""

    def end(process) -> None:
        process.send_signal(number)
        if twice:
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(number)

    def check(job: Training, folder: Path, status: int, text: str) -> None:
        # Before a script's first line and after its last, the signal's own end; the same to a shell.
        assert status in (STATUS[number], -number), (status, text)
        if "stopped and saved" in text:
            assert "python train.py --resume runs/" in text, text
        # One line may be about the validation images.
        assert twice or len(text.splitlines()) <= 2, text

    return at_random(end, check)


def between_operations(code: int):
    """Killed before each operation on files, or with an error from each on (`disturb_files`)."""

    def add(job: Training, row: dict, every: int) -> None:
        check = check_failed("error: cannot ") if code else check_killed
        for chosen in range(1, job.operations + 1, every):
            attempt(job, row, check, prepare=partial(disturb_files, chosen, code))

    return add


def small_files(job: Training, row: dict, times: int) -> None:
    """The system cuts off every file at a size (RLIMIT_FSIZE)."""
    for i in range(times):
        size = (i + 1) * job.largest // (times + 1)
        prepare = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
        attempt(job, row, check_failed("File too large"), prepare=prepare)


def small_disks(job: Training, row: dict, times: int) -> None:
    """Disks with room for less of a run than it needs, which are then made larger."""
    for i in range(times):
        attempt(job, row, check_failed(""), kibibytes=8 + i * RUN_KIB // times)  # nor room for words


def stop_the_clock() -> None:
    time.strftime = lambda form: "20200101-000000"


def at_the_same_time(job: Training, row: dict, times: int) -> None:
    """Two runs in the same second by their clocks, with the same outputs."""
    for _ in range(times):
        with job.folder() as folder:
            both = [job.start(folder, stop_the_clock) for _ in range(2)]
            assert [process.wait() for process in both] == [0, 0], said(folder)
            runs = sorted(runs_in(folder))
            names = ["20200101-000000-lenet5-seed0", "20200101-000000-lenet5-seed0-2"]
            assert [run.name for run in runs] == names
            assert all(rows_of(run) == job.whole["metrics"] for run in runs)
            assert (folder / WEIGHTS).read_bytes() == job.whole["weights"]
            Image.open(folder / "training_results.png").load()
            assert leftovers(folder) == 0
        row["tried"] += 1
        row["same_weights"] += 1
    row["statuses"] = {"0": 2 * times}


# By name: what the table calls it, and a function of the folder of pictures.
JOBS = {
    "plain": ("plain", Training),
    AVERAGED: (AVERAGED, partial(Training, flags=[*TEACHER, "--augment", "elastic"])),
    "python train.py": ("plain", RealTraining),
    "json": ("--output", partial(Reading, format="json")),
    "csv": ("--output", partial(Reading, format="csv")),
    "digits": ("", Drawing),
}
KILL = "SIGKILL at a random moment"
BETWEEN = "SIGKILL between two file operations"
# The fault, the job, how it is done, how often (or before each how manieth file operation), and
# the same for --short, which leaves out those with 0.
FAULTS = (
    (BETWEEN, "plain", between_operations(0), 1, 40),
    (KILL, "plain", at_random(), 50, 0),
    (f"{KILL} (python train.py)", "python train.py", at_random(), 20, 0),
    ("SIGINT at a random moment (python train.py)", "python train.py", signalled(SIGINT), 10, 0),
    (KILL, AVERAGED, at_random(), 50, 1),
    ("the disk is full from a file operation on", "plain", between_operations(ENOSPC), 6, 60),
    ("no file handle is left from a file operation on", "plain", between_operations(EMFILE), 18, 0),
    ("no file above a size (RLIMIT_FSIZE)", "plain", small_files, 6, 0),
    ("two runs in the same second, the same outputs", "plain", at_the_same_time, 5, 1),
    (f"{KILL} (inference.py, json)", "json", at_random(), 20, 0),
    (f"{KILL} (inference.py, csv)", "csv", at_random(), 20, 2),
    ("no file above a size (inference.py)", "json", small_files, 10, 0),
    (f"{KILL} (generate_test_digits.py)", "digits", at_random(), 20, 0),
    (BETWEEN, AVERAGED, between_operations(0), 6, 0),
    ("a disk (tmpfs) that gets full", "plain", small_disks, 20, 0),
    ("SIGTERM at a random moment (python train.py)", "python train.py", signalled(SIGTERM), 10, 0),
    ("SIGINT twice within 0.2 s (python train.py)", "python train.py", signalled(SIGINT, True), 5, 0),
)  # fmt: skip


def measure(faults):
    """The row of each of `FAULTS`, as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        draw(pictures)
        jobs = {}
        for fault, name, add, count in faults:
            variant, make = JOBS[name]
            job = jobs[name] = jobs.get(name) or make(pictures)
            row = {"fault": fault, "variant": variant, "tried": 0, "same_weights": 0}
            row |= {"steps_lost": 0 if job.has_steps else None, "epochs_lost": 0, "left_behind": 0}
            row["statuses"] = {}
            add(job, row, count)
            yield row


def print_table(rows: list[dict]) -> None:
    print("| fault | run | tried | runs, all the same | steps lost | epochs lost | temporaries left |")
    print("|---|---|---|---|---|---|---|")
    names = ("fault", "variant", "tried", "same_weights", "steps_lost", "epochs_lost", "left_behind")
    for row in rows:
        cells = ("–" if row[name] is None else str(row[name]) for name in names)
        print("| " + " | ".join(cells) + " |")


def main() -> int:
    given = flags(__doc__, "--short", "--table")
    if "--short" in given:
        short = [(*fault[:-2], fault[-1]) for fault in FAULTS if fault[-1]]
        print_table(list(measure(short)))
        return 0
    results = load("kills")
    if "--table" not in given:
        for row in measure([fault[:-1] for fault in FAULTS[len(results["rows"]) :]]):
            results["rows"].append(row)
            save("kills", results)
    print_table(results["rows"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
