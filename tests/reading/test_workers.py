"""Workers prepare what one process prepares alone, each picture once and in order, come what may."""

import importlib
import multiprocessing
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inference
import read_number
from lenet5.imaging import preprocess
from lenet5.imaging.preprocess import prepare
from lenet5.reading import workers
from lenet5.reading.workers import Preparation
from lenet5.runtime.errors import Stopped
from tests.conftest import (
    DIGITS,
    ROOT,
    SHIPPED,
    assert_one_error_line,
    assert_same_readings,
    objects,
)

READING = [*SHIPPED, "--device", "cpu"]
# A module for workers: it counts what it is asked for, and is killed by some pictures.
DEADLY = """
import os
import signal
from lenet5.imaging.preprocess import prepare as prepare_alone

def prepare(paths, invert):
    for path in paths:
        with open("asked", "a") as file:
            file.write(path + "\\n")
        if "deadly" in path:
            os.kill(os.getpid(), signal.SIGKILL)
        if "once" in path and not os.path.exists("killed"):
            open("killed", "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return prepare_alone(paths, invert)

def sleep(paths, invert):
    import time
    time.sleep(600 * len(paths))

def hears_ctrl_c(paths, invert):
    return [signal.getsignal(signal.SIGINT) != signal.SIG_IGN]
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
    for process in multiprocessing.active_children():  # of a broken pool, which nobody waits for
        process.join(10)
    assert not multiprocessing.active_children()


@pytest.fixture
def deadly(workdir, monkeypatch, started):
    """A module whose functions are called for pictures; inference.py calls its `prepare`."""
    (workdir / "deadly_work.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(workdir))  # which workers get too
    monkeypatch.delitem(sys.modules, "deadly_work", raising=False)
    module = importlib.import_module("deadly_work")
    monkeypatch.setattr(preprocess, "prepare", module.prepare)
    return module


def pictures(names) -> list[str]:
    """Copies of the ten digits with these names; every third needs the finder."""
    names = list(names)
    for i, name in enumerate(names):
        with Image.open(DIGITS / f"digit_{i % 10}.png") as image:
            image.resize((64, 48) if i % 3 == 2 else (28, 28)).save(name)
    return names


def assert_prepared(made, paths) -> None:
    """That these are what one process makes of the pictures: digits, views and errors."""
    for (one, error), (other, other_error) in zip(made, prepare(paths), strict=True):
        assert error == other_error
        assert type(one) is type(other)
        for mine, its in zip(one, other, strict=True) if one is not None else ():
            np.testing.assert_array_equal(mine, its)


# ---------------------------------------------------------------- the same, in order, once


@pytest.mark.parametrize("count", [1, 3])
def test_results_are_those_of_one_process(workdir, capsys, started, count):
    """Sizes, modes and errors of many kinds; batches that end within a worker's share."""
    names = pictures(f"digit_{i % 10}_{i}.png" for i in range(40))
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


def test_numbers_too(workdir, capsys, started):
    flags = [str(DIGITS / "digit_4.png"), "none.png", "--format", "json", "--device", "cpu"]
    assert read_number.main([*flags, "--workers", "1"]) == 1
    with_workers = objects(capsys.readouterr().out)
    assert read_number.main([*flags, "--workers", "0"]) == 1
    assert_same_readings(with_workers, objects(capsys.readouterr().out))
    assert with_workers[0]["prediction"] == "4"
    assert started == [1]


def test_each_picture_is_asked_for_once(deadly):
    paths = pictures(f"{i}.png" for i in range(150))
    with Preparation(deadly.prepare, "auto", 2) as preparation:
        batches = [paths[:100], paths[100:101], paths[101:]]
        found = list(preparation.ahead(iter(batches)))
    assert [batch for batch, _ in found] == batches
    assert_prepared([one for _, made in found for one in made], paths)
    assert sorted(Path("asked").read_text().split()) == sorted(paths)


def test_workers_are_some_batches_ahead_and_no_more(workdir, started):
    paths, pulled = pictures(["a.png"]), []

    def endless():
        while True:
            pulled.append(len(pulled))
            yield paths * 10

    with Preparation(prepare, "auto", 1) as preparation:
        ahead = preparation.ahead(endless())
        for done in range(1, 20):
            next(ahead)
            # 64 pictures for each worker, and the batch that is given out.
            assert len(pulled) - done <= workers.AHEAD // 10
        ahead.close()


def test_a_worker_imports_no_pytorch_and_no_matplotlib():
    program = (
        "import sys, lenet5.reading.workers, lenet5.imaging.preprocess, lenet5.whole_numbers.strips\n"
        "assert not {'torch', 'matplotlib', 'lenet5.data.datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


# ---------------------------------------------------------------- how many


def test_few_pictures_need_no_workers(workdir, started, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 60.0)  # on a busy machine ten pictures may take a second
    assert inference.main([str(DIGITS), *READING]) == 0
    assert not started


def test_workers_are_started_when_there_is_much_to_do(workdir, started, monkeypatch):
    paths = pictures(["a.png", "b.png"])
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    end = time.monotonic() + 60

    def until_workers_are_ready():
        while preparation.pool is None or not preparation.is_ready:
            assert time.monotonic() < end
            yield paths
        yield paths

    with Preparation(prepare, "auto", None) as preparation:
        found = list(preparation.ahead(until_workers_are_ready()))
    assert started == [2]
    assert len(found) > 2
    for _, made in found:
        assert_prepared(made, paths)


@pytest.mark.parametrize("waits", ["for the next path", "for the network"])
def test_workers_are_not_started_where_they_would_help_little(workdir, started, monkeypatch, waits):
    paths = pictures(["a.png"])
    monkeypatch.setattr(workers, "PATIENCE", 0.0)
    monkeypatch.setattr(workers, "cores", lambda: 2)

    def slow():
        for _ in range(5):
            time.sleep(0.2 if waits == "for the next path" else 0)
            yield paths

    with Preparation(prepare, "auto", None) as preparation:
        for _ in preparation.ahead(slow()):
            time.sleep(0.2 if waits == "for the network" else 0)
    assert not started


# ---------------------------------------------------------------- ends


def test_a_picture_that_kills_its_worker_has_that_as_its_error(deadly, capsys, started):
    names = [f"digit_{i % 10}_{i}.png" for i in range(12)]
    names[7] = "deadly.png"
    flags = [*pictures(names), *READING, "--workers", "1", "--output", "out"]
    assert inference.main(flags) == 1
    rows = objects(Path("out").read_text())
    assert [row["path"] for row in rows] == names
    (error,) = (row["error"] for row in rows if row["error"] is not None)
    assert "memory" in error
    assert [row["prediction"] for row in rows[:8]] == [*range(7), None]
    err = capsys.readouterr().err
    assert "not read: deadly.png: " in err
    assert "Traceback" not in err
    assert len(started) == 4  # the first, and one after each end


def test_a_worker_that_was_killed_costs_no_picture(deadly, capsys):
    """Pictures of later batches, which a pool that is gone was to prepare, keep their order."""
    names = pictures(f"digit_{i}_once.png" for i in range(10))
    flags = [*names, *READING, "--workers", "2", "--batch-size", "3", "--format", "json"]
    assert inference.main(flags) == 0
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
def test_a_signal_does_not_wait_for_a_picture(deadly):
    """A worker in the middle of its work is not waited for, as after any other error."""

    def stop():
        with Preparation(deadly.sleep, "auto", 1) as preparation:
            preparation.submit(["a.png"])
            preparation.first[0].result()
            raise Stopped("interrupted", 130)

    began = time.monotonic()
    with pytest.raises(Stopped):
        stop()
    assert time.monotonic() - began < 60


def test_ctrl_c_is_not_for_the_workers(deadly):
    """Pressed in a terminal, all processes of the group get it."""
    with Preparation(deadly.hears_ctrl_c, "auto", 1) as preparation:
        assert preparation.of(["a.png"]) == [False]


PROGRAM = """
import os, signal, sys
from multiprocessing import active_children
from lenet5.imaging.preprocess import prepare
from lenet5.reading.workers import Preparation
if __name__ == "__main__":
    preparation = Preparation(prepare, "auto", 2)
    assert preparation.of(sys.argv[1:])[0][1] is None
    print(*[worker.pid for worker in active_children()], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are found in /proc")
def test_workers_end_with_the_process_that_asks_them(workdir):
    Path("program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", str(DIGITS / "digit_1.png")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert "Traceback" not in done.stderr
    end = time.monotonic() + 60
    for pid in done.stdout.split():
        while Path("/proc", pid, "cmdline").exists() and Path("/proc", pid, "cmdline").read_bytes():
            assert time.monotonic() < end
            time.sleep(0.05)
