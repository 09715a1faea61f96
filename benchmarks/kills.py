"""What is lost when something ends a script, and whether it goes on as if nothing had.

    python benchmarks/kills.py            # half an hour; goes on where it was stopped
    python benchmarks/kills.py --short    # half a minute: a few of each, nothing is kept
    python benchmarks/kills.py --table    # print what was measured

A small run of three epochs, twenty pictures a class, is ended at a random moment, or
exactly between two file operations of its saves, one after the other. Then each of
its files has to be missing or one that the run wrote that nobody disturbed, and the
run, resumed and often killed again, has to end with the same weights and metrics.
Whatever is not so ends this script with an AssertionError.

Most runs show their pictures once an epoch, in children of a fork server: a process without
threads that has imported torch already; they need Linux or macOS. The others are
`python train.py`.
"""

import contextlib
import errno
import functools
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

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
EPOCHS = 3
RUN = ["--dataset", "pictures", "--epochs", str(EPOCHS), "--batch-size", "20", "--device", "cpu"]
TEACHER = ["--teacher", str(ROOT / "pretrained" / "lenet5.pth"), "--average", "0.99"]
AVERAGED = "averaged, with a teacher"
VARIANTS = {"plain": RUN, AVERAGED: [*RUN, *TEACHER, "--augment", "elastic"]}
ROOM = 2200  # KiB, a little less than a run needs
AGAIN = 0.3  # how often a run that is resumed is killed again
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}

# A child that is forked waits for ever for locks of threads that it has not, so its parent is a
# process of its own, which has one thread: it only imports, and OpenBLAS is told to start none.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["train", "inference", "generate_test_digits"])
steps = server.Value("q", 0, lock=False)  # begun by the child, and read by us
operations = server.Value("q", 0, lock=False)


def draw(folder: Path) -> None:
    """A sub-folder a digit, with pictures as small as MNIST's, which are read the fastest."""
    face = generate_test_digits.default_face()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for copy in range(1, PER_DIGIT + 1):
            drawing = generate_test_digits.Drawing(digit, face, "plain", copy)
            drawing.draw(28, seed=0).save(folder / str(digit) / f"{drawing.name}.png")


# ---------------------------------------------------------------- a run in a process of its own


class Child:
    """A script's main() in a child of this process, whose standard output and error go to files.

    `prepare` is called before it. It has begun when this is made, with all that it imports.
    """

    def __init__(self, folder: Path, main, flags: list[str], prepare=None):
        steps.value = operations.value = 0
        ours, its = server.Pipe()
        self.process = server.Process(
            target=run_child, args=(folder, main, flags, prepare, its, (steps, operations))
        )
        self.process.start()
        its.close()
        ours.recv()

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and the fork server knows
            os.kill(self.process.pid, number)

    def wait(self) -> int:
        """The exit status, -9 after a SIGKILL."""
        self.process.join()
        return self.process.exitcode


def run_child(folder: Path, main, flags: list[str], prepare, parent, shared) -> None:
    """What a child does, until it ends with the status of main()."""
    global steps, operations
    steps, operations = shared
    try:
        if sys.platform == "linux":
            assert len(os.listdir(f"/proc/{os.getppid()}/task")) == 1  # threads of the fork server
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        parent.send("ready")
        if prepare is not None:
            prepare()
        os._exit(main(flags))
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(99)


class Real:
    """A script as a person starts it."""

    def __init__(self, folder: Path, script: str, flags: list[str]):
        command = [sys.executable, str(ROOT / script), *flags]
        with open(folder / "stdout", "ab") as out, open(folder / "stderr", "ab") as err:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait()


def child_training(folder: Path, flags: list[str], prepare=None) -> Child:
    return Child(folder, train.main, flags, functools.partial(prepare_training, prepare))


def prepare_training(prepare) -> None:
    training_pool.SMALLEST_EPOCH = 1  # each picture once an epoch
    count_steps()
    if prepare is not None:
        prepare()


def real_training(folder: Path, flags: list[str]) -> Real:
    return Real(folder, "train.py", flags)


def count_steps() -> None:
    """Tell the parent how many steps were begun."""

    def count(step):
        steps.value += 1

    train.on_step = count


class Halves:
    """A file that is written in two halves, with a moment between them."""

    def __init__(self, file, act):
        self.file, self.act = file, act

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data: bytes) -> None:
        self.act()
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.act()
        self.file.write(data[len(data) // 2 :])

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return self.file.fileno()


def before_operations(act) -> None:
    """Have every operation by which a script changes the disk call `act(its number)` before it."""

    def tick():
        operations.value += 1
        act(operations.value)

    def ticking(function):
        def operation(*arguments, **options):
            tick()
            return function(*arguments, **options)

        return operation

    def open_ticking(path, mode="r", *arguments, **options):
        if not set(mode) & set("wxa"):
            return open(path, mode, *arguments, **options)
        tick()
        return Halves(open(path, mode, *arguments, **options), tick)

    for name in ("mkdir", "fsync", "replace", "rename"):
        setattr(os, name, ticking(getattr(os, name)))
    atomic_files.open = open_ticking


# What a child calls before each operation, given its number.


def do_nothing(number: int) -> None:
    pass


def kill_at(chosen: int, number: int) -> None:
    if number == chosen:
        os.kill(os.getpid(), signal.SIGKILL)


def fail_from(chosen: int, code: int, number: int) -> None:
    if number >= chosen:
        raise OSError(code, os.strerror(code))


# ---------------------------------------------------------------- what a run left


def rows_of(folder: Path) -> list[dict]:
    """The metrics of a run but for the seconds, which are never the same."""
    rows = read_metrics(folder) if (folder / "metrics.csv").exists() else []
    return [{**row, "seconds": None} for row in rows]


class Reference:
    """The run that nobody disturbed: its metrics, and the weights that it wrote after each epoch."""

    def __init__(self, start, pictures: Path, flags: list[str]):
        self.start, self.pictures, self.flags = start, pictures, flags
        # Python itself starts in less, and shows its own traceback before a script's first line.
        self.earliest = 0.15 if start is real_training else 0.0
        with self.folder() as folder:
            began = time.perf_counter()
            assert start(folder, flags).wait() == 0, (folder / "stderr").read_text()
            self.seconds = time.perf_counter() - began
            self.steps = steps.value
            (run,) = (folder / "runs").iterdir()
            self.metrics, self.config = rows_of(run), (run / "config.json").read_bytes()
            self.last = (folder / WEIGHTS).read_bytes()

    @contextlib.contextmanager
    def folder(self):
        """A folder to run in, with the pictures."""
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(self.pictures, Path(folder, "pictures"))
            yield Path(folder)


def leftovers(folder: Path) -> int:
    return sum(1 for path in folder.rglob(".*") if path.name.endswith(".tmp"))


def look(folder: Path, reference: Reference) -> dict:
    """Make sure that every file is missing or whole; what of the work is kept."""
    kept = {"steps": 0, "epochs": 0, "left": leftovers(folder)}
    runs = [path for path in folder.glob("runs/*") if not path.name.startswith(".")]
    assert len(runs) <= 1, runs
    for run in runs:
        assert (run / "config.json").read_bytes() == reference.config
        metrics = rows_of(run)
        assert metrics == reference.metrics[: len(metrics)]
        if (run / "checkpoint.pth").exists():
            checkpoint = torch.load(run / "checkpoint.pth", weights_only=True)
            history = [{**row, "seconds": None} for row in checkpoint["history"]]
            kept = {**kept, "steps": checkpoint["step"], "epochs": len(history)}
            assert len(history) - len(metrics) in (0, 1)
        else:
            assert not metrics
    if (folder / "training_results.png").exists():
        Image.open(folder / "training_results.png").load()
    if (folder / WEIGHTS).exists():
        _, metadata = load_weights(folder / WEIGHTS)
        row = reference.metrics[metadata["epoch"] - 1]
        assert metadata["test_accuracy"] == row["test_accuracy"]
    return kept


def finished_epochs(folder: Path) -> int:
    """How many epochs' lines are on the screen."""
    lines = (folder / "stdout").read_text().splitlines()
    return max((int(line.split()[1].split("/")[0]) for line in lines if line[:6] == "epoch "), default=0)


def flags_to_go_on(folder: Path, reference: Reference) -> list[str]:
    """Those that resume the run of a folder, or begin it where there is none yet."""
    runs = list(folder.glob("runs/[!.]*"))
    return ["--resume", runs[0].name] if runs else reference.flags


def go_on(folder: Path, reference: Reference, rng: random.Random) -> None:
    """Resume a run, now and then killed again, to its end, and compare it."""
    while True:
        process = reference.start(folder, flags_to_go_on(folder, reference))
        if rng.random() < AGAIN:
            time.sleep(rng.uniform(0, reference.seconds))
            process.send(signal.SIGKILL)
        status = process.wait()
        if status == 0:
            break
        assert status == -9, (folder / "stderr").read_text()
        look(folder, reference)
    compare(folder, reference)


def compare(folder: Path, reference: Reference) -> None:
    """Make sure that a run ended as the one that nobody disturbed, and that nothing else is left."""
    (run,) = (folder / "runs").iterdir()
    assert (folder / WEIGHTS).read_bytes() == reference.last
    assert rows_of(run) == reference.metrics
    assert leftovers(folder) == 0


# ---------------------------------------------------------------- the faults


class Fault:
    """A row of the table: how often something was tried, and what was lost at most."""

    def __init__(self, name: str, variant: str):
        self.row = {"fault": name, "variant": variant, "tried": 0, "same_weights": 0}
        self.row |= {"steps_lost": 0, "epochs_lost": 0, "left_behind": 0, "statuses": {}}

    def count(self, folder: Path, reference: Reference, status: int, before: int = 0) -> dict:
        """Look at what a process left that began with `before` steps done."""
        begun, finished = before + steps.value, finished_epochs(folder)
        kept = look(folder, reference)
        row = self.row
        row["tried"] += 1
        row["steps_lost"] = max(row["steps_lost"], begun - kept["steps"])
        row["epochs_lost"] = max(row["epochs_lost"], finished - kept["epochs"])
        row["left_behind"] = max(row["left_behind"], kept["left"])
        row["statuses"][str(status)] = row["statuses"].get(str(status), 0) + 1
        return kept

    def add(self, folder: Path, reference: Reference, status: int, rng: random.Random) -> None:
        """The same, then go on and compare."""
        self.count(folder, reference, status)
        go_on(folder, reference, rng)
        self.row["same_weights"] += 1


def ended_at_random(reference: Reference, fault: Fault, times: int, end, check) -> dict:
    """Runs that are ended at random moments, and resumed, until they come through or it was `times`.

    `end(process, rng)` ends a process, and `check(folder, status)` looks at its words.
    """
    rng = random.Random(fault.row["fault"])
    while fault.row["tried"] < times:
        with reference.folder() as folder:
            done = 0
            while True:
                process = reference.start(folder, flags_to_go_on(folder, reference))
                if fault.row["tried"] < times:
                    time.sleep(rng.uniform(reference.earliest, reference.seconds))
                    end(process, rng)
                status = process.wait()
                if status == 0:
                    break
                check(folder, status)
                done = fault.count(folder, reference, status, done)["steps"]
            compare(folder, reference)
        fault.row["same_weights"] += 1
    if reference.start is real_training:
        fault.row["steps_lost"] = None  # nobody counted them
    return fault.row


def killed_at_random(reference: Reference, variant: str, times: int, name: str) -> dict:
    def check(folder, status):
        assert status == -9, (folder / "stderr").read_text()

    fault = Fault(f"SIGKILL at a random moment{name}", variant)
    return ended_at_random(reference, fault, times, lambda p, rng: p.send(signal.SIGKILL), check)


def signalled(reference: Reference, number: int, times: int, twice: bool = False) -> dict:
    """SIGINT or SIGTERM at random moments of a real process, from its imports to its end."""

    def end(process, rng):
        process.send(number)
        if twice:
            time.sleep(rng.uniform(0, 0.2))
            process.send(number)

    def check(folder, status):
        text = (folder / "stderr").read_text()
        (folder / "stderr").unlink()
        # Before a script's first line and after its last, the signal's own end; the same to a shell.
        assert status in (STATUS[number], -number), (status, text)
        assert "Traceback" not in text, text
        if "stopped and saved" in text:
            assert "; to go on: python train.py --resume runs/" in text, text
        if not twice:
            assert len(text.splitlines()) <= 2, text  # one may be about the validation images

    name = signal.Signals(number).name
    name = f"{name} twice within 0.2 s" if twice else f"{name} at a random moment"
    return ended_at_random(reference, Fault(f"{name} (python train.py)", "plain"), times, end, check)


@functools.cache
def count_operations(reference: Reference) -> int:
    with reference.folder() as folder:
        reference.start(folder, reference.flags, functools.partial(before_operations, do_nothing)).wait()
    return operations.value


def killed_between_operations(reference: Reference, variant: str, every: int) -> dict:
    """Killed before each operation on the disk, or each `every`th."""
    fault, rng = Fault("SIGKILL between two file operations", variant), random.Random(1)
    for chosen in range(1, count_operations(reference) + 1, every):
        prepare = functools.partial(before_operations, functools.partial(kill_at, chosen))
        with reference.folder() as folder:
            process = reference.start(folder, reference.flags, prepare)
            fault.add(folder, reference, process.wait(), rng)
    assert set(fault.row["statuses"]) == {"-9"}
    return fault.row


def failing_from(chosen: int, code: int):
    """Prepare a child in which every operation on the disk fails from the `chosen`th on."""

    return functools.partial(before_operations, functools.partial(fail_from, chosen, code))


def failing_operations(reference: Reference, variant: str, every: int, code: int, name: str) -> dict:
    """An error from each operation on, with one line and status 1, or 2 if nothing had begun."""
    fault, rng = Fault(name, variant), random.Random(2)
    for chosen in range(1, count_operations(reference) + 1, every):
        with reference.folder() as folder:
            process = reference.start(folder, reference.flags, failing_from(chosen, code))
            status = process.wait()
            begun = any(folder.glob("runs/[!.]*"))
            assert status == (1 if begun and steps.value else 2), (folder / "stderr").read_text()
            check_line(folder, "error: cannot ")
            fault.add(folder, reference, status, rng)
    return fault.row


def no_file_above(size: int):
    """Prepare a child in which no file may grow beyond so many bytes."""
    return functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


def small_files(reference: Reference, variant: str, times: int) -> dict:
    """No file may grow beyond a size (RLIMIT_FSIZE): whatever is larger is cut off by the system."""
    fault, rng = Fault("no file above a size (RLIMIT_FSIZE)", variant), random.Random(3)
    for i in range(times):
        prepare = no_file_above(4096 + i * 600_000 // times)
        with reference.folder() as folder:
            status = reference.start(folder, reference.flags, prepare).wait()
            assert status == 1, (status, (folder / "stderr").read_text())
            check_line(folder, "File too large")
            fault.add(folder, reference, status, rng)
    return fault.row


@contextlib.contextmanager
def small_disk(folder: str, kibibytes: int):
    """A disk of that size over a folder, in memory; gives a function that makes it larger."""

    def mount(*options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], check=True)

    mount("-o", f"size={kibibytes}k")
    try:
        yield lambda: mount("-o", "remount,size=64m")
    finally:
        subprocess.run(["umount", folder], check=True)


def full_disks(reference: Reference, times: int) -> dict:
    """A disk with room for less and less of a run, and a larger one to go on with. Needs root."""
    fault, rng = Fault("a disk (tmpfs) that gets full", "plain"), random.Random(4)
    for i in range(times):
        with tempfile.TemporaryDirectory() as name, small_disk(name, 8 + i * ROOM // times) as enlarge:
            folder = Path(name)
            os.symlink(reference.pictures, folder / "pictures")
            status = reference.start(folder, reference.flags).wait()
            begun = any(folder.glob("runs/[!.]*"))
            assert status == (1 if begun and steps.value else 2), (
                i,
                status,
            )  # stderr has no room either
            enlarge()
            fault.add(folder, reference, status, rng)
    return fault.row


def check_line(folder: Path, *words: str) -> None:
    text = (folder / "stderr").read_text()
    assert "Traceback" not in text, text
    assert all(word in text.splitlines()[-1] for word in words), text


def set_the_clock() -> None:
    time.strftime = lambda form: "20200101-000000"


def at_the_same_time(reference: Reference, times: int) -> dict:
    """Two runs in the same second by their clocks, with the same outputs."""
    fault = Fault("two runs in the same second, the same outputs", "plain")
    for _ in range(times):
        with reference.folder() as folder:
            both = [reference.start(folder, reference.flags, set_the_clock) for _ in range(2)]
            assert [process.wait() for process in both] == [0, 0], (folder / "stderr").read_text()
            names = sorted(path.name for path in (folder / "runs").iterdir())
            assert names == ["20200101-000000-lenet5-seed0", "20200101-000000-lenet5-seed0-2"]
            assert (folder / WEIGHTS).read_bytes() == reference.last
            Image.open(folder / "training_results.png").load()
            assert all(rows_of(folder / "runs" / name) == reference.metrics for name in names)
            assert leftovers(folder) == 0
        fault.row["tried"] += 1
        fault.row["same_weights"] += 1
    fault.row["statuses"] = {"0": 2 * times}
    return fault.row


# ---------------------------------------------------------------- the other two scripts


def read_pictures(folder: Path, format: str, prepare=None) -> Child:
    flags = ["pictures", "--output", "out", "--format", format, "--batch-size", "10", "--weights"]
    flags.append(str(ROOT / "pretrained" / "lenet5.pth"))
    return Child(folder, inference.main, flags, prepare)


def readings(folder: Path, format: str) -> list[tuple]:
    found = list(read_done(str(folder / "out"), format))
    assert found[-1][1] == (folder / "out").stat().st_size
    return [(row["path"], str(row["prediction"])) for row, _ in found]


def reading_killed(reference: Reference, times: int, format: str) -> dict:
    """inference.py --output killed at random moments, again and again, until it is done."""
    fault = Fault(f"SIGKILL at a random moment (inference.py, {format})", "--output")
    rng = random.Random(4)
    with reference.folder() as folder:
        began = time.perf_counter()
        assert read_pictures(folder, format).wait() == 0
        seconds, whole = time.perf_counter() - began, readings(folder, format)
    while fault.row["tried"] < times:
        with reference.folder() as folder:
            status = None
            while status != 0:
                process = read_pictures(folder, format)
                time.sleep(rng.uniform(0, seconds))
                process.send(signal.SIGKILL)
                status = process.wait()
                fault.row["tried"] += status == -9
            assert readings(folder, format) == whole  # none is lost, and none is there twice
            fault.row["same_weights"] += 1
    return fault.row


def reading_on_a_full_disk(reference: Reference, times: int) -> dict:
    """A disk that gets full in mid-run: status 1, and the second call ends with what one had written."""
    fault = Fault("no file above a size (inference.py)", "--output")
    with reference.folder() as folder:
        assert read_pictures(folder, "json").wait() == 0
        whole, size = readings(folder, "json"), (folder / "out").stat().st_size
    for i in range(times):
        prepare = no_file_above((i + 1) * size // (times + 1))
        with reference.folder() as folder:
            assert read_pictures(folder, "json", prepare).wait() == 1
            check_line(folder, "cannot write out: File too large")
            assert read_pictures(folder, "json").wait() == 0
            assert readings(folder, "json") == whole
        fault.row["tried"] += 1
        fault.row["same_weights"] += 1
    fault.row["statuses"] = {"1": times}
    return fault.row


def drawing_killed(times: int) -> dict:
    """generate_test_digits.py killed at random moments: every picture is whole, and drawn again."""
    fault, rng = Fault("SIGKILL at a random moment (generate_test_digits.py)", ""), random.Random(5)
    flags = ["--styles", "all", "--size", "40", "--output", "digits"]

    def contents(folder: Path) -> dict:
        return {path.name: path.read_bytes() for path in (folder / "digits").iterdir()}

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        assert Child(Path(folder), generate_test_digits.main, flags).wait() == 0
        seconds, whole = time.perf_counter() - began, contents(Path(folder))
    while fault.row["tried"] < times:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            process = Child(folder, generate_test_digits.main, flags)
            time.sleep(rng.uniform(0, seconds))
            process.send(signal.SIGKILL)
            if process.wait() != -9 or not (folder / "digits").exists():
                continue
            found = contents(folder)
            left = [name for name in found if name.startswith(".")]
            fault.row["left_behind"] = max(fault.row["left_behind"], len(left))
            assert all(whole[name] == data for name, data in found.items() if name not in left)
            assert Child(folder, generate_test_digits.main, flags).wait() == 0
            assert contents(folder) == whole
        fault.row["tried"] += 1
        fault.row["same_weights"] += 1
    return fault.row


# ---------------------------------------------------------------- all of them


def measure(done: int):
    """The row of each fault but the first `done`, as soon as it is there."""
    full = "the disk is full from a file operation on"
    handles = "no file handle is left from a file operation on"
    with references() as (plain, averaged):
        real = functools.cache(lambda: Reference(real_training, plain.pictures, RUN))
        faults = [
            lambda: killed_between_operations(plain, "plain", every=1),
            lambda: killed_at_random(plain, "plain", 50, ""),
            lambda: killed_at_random(real(), "plain", 20, " (python train.py)"),
            lambda: signalled(real(), signal.SIGINT, 10),
            lambda: killed_at_random(averaged, AVERAGED, 50, ""),
            lambda: failing_operations(plain, "plain", 6, errno.ENOSPC, full),
            lambda: failing_operations(plain, "plain", 18, errno.EMFILE, handles),
            lambda: small_files(plain, "plain", 6),
            lambda: at_the_same_time(plain, 5),
            lambda: reading_killed(plain, 20, "json"),
            lambda: reading_killed(plain, 20, "csv"),
            lambda: reading_on_a_full_disk(plain, 10),
            lambda: drawing_killed(20),
            lambda: killed_between_operations(averaged, AVERAGED, every=6),
            lambda: full_disks(plain, 20),
            lambda: signalled(real(), signal.SIGTERM, 10),
            lambda: signalled(real(), signal.SIGINT, 5, twice=True),
        ]
        for fault in faults[done:]:
            yield fault()


def measure_little():
    """Rows of a few faults, for a test."""
    with references() as (plain, averaged):
        yield killed_between_operations(plain, "plain", every=40)
        yield killed_at_random(averaged, AVERAGED, 1, "")
        yield failing_operations(plain, "plain", 60, errno.ENOSPC, "the disk is full")
        yield at_the_same_time(plain, 1)
        yield reading_killed(plain, 2, "csv")


@contextlib.contextmanager
def references():
    """The two runs in a child that nobody disturbed, with pictures that stay for this long."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        draw(pictures)
        yield [Reference(child_training, pictures, flags) for flags in VARIANTS.values()]


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
        print_table(list(measure_little()))
        return 0
    results = load("kills")
    if "--table" not in given:
        for row in measure(done=len(results["rows"])):
            results["rows"].append(row)
            save("kills", results)
    print_table(results["rows"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
