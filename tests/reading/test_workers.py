"""Workers prepare what one process prepares alone, each picture once and in order, come what may."""

import contextlib
import json
import multiprocessing
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import inference
from lenet5.imaging.preprocess import all_mnist_like
from lenet5.reading import workers
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.workers import Preparation
from lenet5.runtime.errors import Stopped, UserError
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line, assert_same_readings

DIGITS = ROOT / "test_digits"
READING = ["--weights", str(PRETRAINED), "--device", "cpu"]
# A module for workers: it counts what it is asked for, and is killed by some pictures.
DEADLY = """
import os
import signal
from lenet5.imaging.preprocess import all_mnist_like

def prepare(paths, invert):
    for path in paths:
        with open("asked", "a") as file:
            file.write(path + "\\n")
        if "deadly" in path:
            os.kill(os.getpid(), signal.SIGKILL)
        if "once" in path and not os.path.exists("killed"):
            open("killed", "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return all_mnist_like(paths, invert)
"""


@pytest.fixture
def started(monkeypatch):
    """How many workers each pool has; in the end no process is left."""
    counts, pool = [], workers.ProcessPoolExecutor

    def start(count, *arguments):
        counts.append(count)
        return pool(count, *arguments)

    monkeypatch.setattr(workers, "ProcessPoolExecutor", start)
    yield counts
    assert not multiprocessing.active_children()


@pytest.fixture
def deadly(workdir, monkeypatch):
    """Workers that are killed by pictures with certain names."""
    (workdir / "deadly_work.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(workdir))  # which workers get too
    monkeypatch.setitem(workers.WORK, "digits", ("deadly_work", "prepare"))
    return workdir


def pictures(folder: Path, names) -> list[str]:
    """Copies of the ten digits with these names."""
    paths = []
    for i, name in enumerate(names):
        with Image.open(DIGITS / f"digit_{i % 10}.png") as image:
            image.resize((28, 28)).save(folder / name)
        paths.append(name)
    return paths


def same(some, others) -> bool:
    """Whether two lists of prepared pictures are the same, digits and errors."""
    assert len(some) == len(others)
    for (digit, error), (other, other_error) in zip(some, others, strict=True):
        if error != other_error or (digit is None) != (other is None):
            return False
        if digit is not None and (digit != other).any():
            return False
    return True


def objects(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


# ---------------------------------------------------------------- the same, in order, once


@pytest.mark.parametrize("count", [1, 3])
def test_results_are_those_of_one_process(workdir, capsys, started, count):
    """Sizes, modes and errors of many kinds; batches that end within a worker's share."""
    names = [f"digit_{i % 10}_{i}.png" for i in range(40)]
    pictures(workdir, names)
    Path("digit_0_0.png").write_bytes(b"no picture")
    Image.open(DIGITS / "digit_3.png").convert("RGBA").resize((70, 61)).save("digit_3_3.png")
    Image.new("I;16", (30, 30), 700).save("digit_5_5.png")
    flags = [*names, "none.png", str(DIGITS), *READING, "--format", "json", "--batch-size", "7"]
    found = {}
    for workers_asked in (0, count):
        assert inference.main([*flags, "--workers", str(workers_asked)]) == 1
        found[workers_asked] = objects(capsys.readouterr().out)
        assert started == [count] * (workers_asked > 0)
    assert_same_readings(found[count], found[0])
    assert [row["path"] for row in found[count][:41]] == [*names, "none.png"]


def test_the_network_runs_in_one_thread_beside_workers(workdir, monkeypatch, started):
    predict, threads = ImageClassifier.predict_batch, []

    def predict_and_count(classifier, paths, prepared=None):
        threads.append(torch.get_num_threads())
        return predict(classifier, paths, prepared)

    monkeypatch.setattr(ImageClassifier, "predict_batch", predict_and_count)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for count in (0, 1):
            assert inference.main([str(DIGITS), *READING, "--workers", str(count)]) == 0
        assert threads == [3, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_numbers_too(workdir, capsys, started):
    import read_number

    flags = [str(DIGITS / "digit_4.png"), "none.png", "--format", "json", "--device", "cpu"]
    assert read_number.main([*flags, "--workers", "1"]) == 1
    with_workers = objects(capsys.readouterr().out)
    assert read_number.main([*flags, "--workers", "0"]) == 1
    assert_same_readings(with_workers, objects(capsys.readouterr().out))
    assert with_workers[0]["prediction"] == "4"
    assert started == [1]


def test_each_picture_is_asked_for_once(deadly, started):
    paths = pictures(deadly, [f"{i}.png" for i in range(150)])
    with Preparation(2, "digits", "auto") as preparation:
        batches = [paths[:100], paths[100:101], paths[101:]]
        found = list(preparation.ahead(iter(batches)))
    assert [batch for batch, _ in found] == batches
    assert same([one for _, made in found for one in made], all_mnist_like(paths))
    assert sorted(Path("asked").read_text().split()) == sorted(paths)


def test_workers_are_some_batches_ahead_and_no_more(workdir, started):
    paths = pictures(workdir, ["a.png"])
    pulled = []

    def endless():
        while True:
            pulled.append(len(pulled))
            yield paths * 10

    with Preparation(1, "digits", "auto") as preparation:
        ahead = preparation.ahead(endless())
        for done in range(1, 20):
            next(ahead)
            # 64 pictures for each worker, and the batch that is given out.
            assert len(pulled) - done <= workers.AHEAD // 10
        ahead.close()


def test_a_worker_imports_no_pytorch_and_no_matplotlib():
    modules = sorted({module for module, _ in workers.WORK.values()})
    program = f"""
import importlib, sys
sys.path.insert(0, {str(ROOT)!r})
for name in {["lenet5.reading.workers", *modules]}:
    importlib.import_module(name)
print(sorted({{"torch", "matplotlib", "lenet5.data.datasets"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---------------------------------------------------------------- how many


def test_few_pictures_need_no_workers(workdir, capsys, started):
    assert inference.main([str(DIGITS), *READING]) == 0
    assert not started


def test_workers_are_started_when_there_is_much_to_do(workdir, started, monkeypatch):
    paths = pictures(workdir, ["a.png", "b.png"])
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    monkeypatch.setattr(workers, "most_that_pay", lambda: 2)
    end = time.monotonic() + 60

    def until_workers_are_ready():
        while not (preparation.pool and preparation.are_ready):
            assert time.monotonic() < end
            yield paths
        yield paths

    with Preparation(None, "digits", "auto") as preparation:
        found = list(preparation.ahead(until_workers_are_ready()))
    assert started == [2]
    assert len(found) > 2
    assert all(same(made, all_mnist_like(paths)) for _, made in found)


@pytest.mark.parametrize("waits", ["for the next path", "for the network"])
def test_workers_are_not_started_where_they_would_help_little(workdir, started, monkeypatch, waits):
    paths = pictures(workdir, ["a.png"])
    monkeypatch.setattr(workers, "PATIENCE", 0.0)
    monkeypatch.setattr(workers, "most_that_pay", lambda: 2)

    def slow():
        for _ in range(5):
            time.sleep(0.2 if waits == "for the next path" else 0)
            yield paths

    with Preparation(None, "digits", "auto") as preparation:
        for _ in preparation.ahead(slow()):
            time.sleep(0.2 if waits == "for the network" else 0)
    assert not started


# ---------------------------------------------------------------- ends


def test_a_picture_that_kills_its_worker_has_that_as_its_error(deadly, capsys, started):
    names = [f"digit_{i % 10}_{i}.png" for i in range(12)]
    names[7] = "deadly.png"
    pictures(deadly, names)
    flags = [*names, *READING, "--workers", "1", "--output", "out"]
    assert inference.main(flags) == 1
    rows = objects(Path("out").read_text())
    assert [row["path"] for row in rows] == names
    (error,) = (row["error"] for row in rows if row["path"] == "deadly.png")
    assert "memory" in error
    assert all(row["error"] is None for row in rows if row["path"] != "deadly.png")
    assert [row["prediction"] for row in rows[:7]] == list(range(7))
    err = capsys.readouterr().err
    assert "not read: deadly.png: " in err
    assert "Traceback" not in err
    assert len(started) == 3  # the first, and one after each end


def test_a_worker_that_was_killed_costs_no_picture(deadly, capsys, started):
    names = [f"digit_{i}_once.png" for i in range(10)]
    pictures(deadly, names)
    assert inference.main([*names, *READING, "--workers", "2", "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert [row["path"] for row in objects(captured.out)] == names
    assert [row["prediction"] for row in objects(captured.out)] == list(range(10))
    assert "a worker process ended" in captured.err


def test_a_worker_that_cannot_begin_is_one_line(workdir, capsys, started):
    executable = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable("/bin/false")
    try:
        assert inference.main([str(DIGITS), *READING, "--workers", "2"]) == 2
    finally:
        multiprocessing.set_executable(executable)
    assert_one_error_line(capsys.readouterr().err, "worker process", "--workers 0")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_and_keeps_what_was_read(
    workdir, capsys, monkeypatch, started, number, status
):
    predict, calls = ImageClassifier.predict_batch, []

    def predict_and_stop(classifier, paths, prepared=None):
        calls.append(paths)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return predict(classifier, paths, prepared)

    flags = [str(DIGITS), *READING, "--batch-size", "2", "--workers", "2", "--output", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(ImageClassifier, "predict_batch", predict_and_stop)
        assert inference.main(flags) == status
    assert "the same command goes on after the results in out" in capsys.readouterr().err
    assert not multiprocessing.active_children()
    assert len(objects(Path("out").read_text())) == 4  # two whole batches
    assert inference.main(flags) == 0
    assert [row["prediction"] for row in objects(Path("out").read_text())] == list(range(10))


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_picture(deadly, started):
    """A worker in the middle of its work is not waited for."""
    (deadly / "deadly_work.py").write_text(
        "import time\ndef prepare(paths, invert):\n    time.sleep(600 * len(paths))\n    return []\n"
    )
    began = time.monotonic()
    with contextlib.suppress(Stopped), Preparation(1, "digits", "auto") as preparation:
        preparation.submit(["a.png"])
        preparation.first[0].result()
        raise Stopped("interrupted", 130)
    assert time.monotonic() - began < 60


def test_ctrl_c_is_not_for_the_workers(deadly, started):
    """Pressed in a terminal, all processes of the group get it."""
    (deadly / "deadly_work.py").write_text(
        "import signal\ndef prepare(*a):\n    return [signal.getsignal(2) == signal.SIG_IGN]\n"
    )
    with Preparation(1, "digits", "auto") as preparation:
        assert preparation.first[0].result() == [True]


PROGRAM = """
import os, signal, sys
from multiprocessing import active_children
sys.path.insert(0, sys.argv[1])
from lenet5.reading.workers import Preparation
if __name__ == "__main__":
    preparation = Preparation(2, "digits", "auto")
    assert preparation.of(sys.argv[2:])[0][1] is None
    print(*[worker.pid for worker in active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are found in /proc")
def test_workers_end_with_the_process_that_asks_them(workdir):
    Path("program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", str(ROOT), str(DIGITS / "digit_1.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert "Traceback" not in done.stderr
    end = time.monotonic() + 60
    for pid in done.stdout.split():
        while Path("/proc", pid, "cmdline").exists() and Path("/proc", pid, "cmdline").read_bytes():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_what_is_wrong_with_the_reader_ends_the_workers(workdir, started):
    with pytest.raises(UserError), Preparation(2, "digits", "auto"):
        raise UserError("no usable weights")
    assert started == [2]
