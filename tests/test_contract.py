"""Exit statuses, the last line on stderr and whole files, whatever ends a script.

0 done, 1 partly done, 2 could not start, 130 and 143 after SIGINT and SIGTERM. Here are the ends
that signals, full disks, other processes and losses that are not finite bring; wrong usage and
wrong files are tested with each script.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import generate_test_digits
import inference
import train
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.output_file import read_done
from lenet5.runtime.atomic_files import lock
from lenet5.training import epoch
from lenet5.training.checkpoint import first_weights
from lenet5.training.run_folder import read_metrics
from tests.conftest import (
    DIGITS,
    PRETRAINED,
    ROOT,
    SHIPPED,
    assert_one_error_line,
    objects,
    run_script,
)

READING = [str(DIGITS), *SHIPPED]
SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
# Without --dataset, four runs of two steps would each load all of MNIST.
SHORT = ["--dataset", "pictures", "--batch-size", "50", "--max-steps", "4", "--device", "cpu"]


@pytest.fixture
def pictures(workdir):
    """Three pictures of each digit, of MNIST's size: an epoch of 100 steps of 50, 83 times each."""
    for digit in range(10):
        (workdir / "pictures" / str(digit)).mkdir(parents=True)
        for copy in range(1, 4):
            face = generate_test_digits.default_face()
            drawing = generate_test_digits.Drawing(digit, face, "plain", copy)
            drawing.draw(28, seed=0).save(workdir / "pictures" / str(digit) / f"{drawing.name}.png")
    return workdir / "pictures"


def lines(text):
    return [line for line in text.splitlines() if "holding out" not in line]


# ------------------------------------------------------------ signals


@pytest.mark.parametrize(("number", "status", "word"), SIGNALS)
@pytest.mark.parametrize(
    ("script", "imported"),
    [
        ("train.py", "torch"),
        ("inference.py", "torch"),
        ("generate_test_digits.py", "numpy"),
        ("export.py", "torch"),
        ("draw.py", "torch"),
    ],
)
def test_a_signal_during_the_imports_is_one_line(workdir, script, imported, number, status, word):
    # A library of this name that takes a minute to import, and says when it begins. (Python hears
    # no signal that comes just before a sleep until it is over, so there are many short ones.)
    slow = 'import time\nprint("importing", flush=True)\nfor _ in range(600):\n    time.sleep(0.1)\n'
    (workdir / f"{imported}.py").write_text(slow)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / script)],
        env={**os.environ, "PYTHONPATH": str(workdir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, f"{word}\n")


@pytest.mark.parametrize(("number", "status", "word"), SIGNALS)
def test_a_signal_while_a_file_is_read_is_not_taken_for_damage(
    pictures, monkeypatch, capsys, number, status, word
):
    assert train.main(SHORT) == 0
    (run,) = os.listdir("runs")
    monkeypatch.setattr(torch, "load", lambda *a, **k: os.kill(os.getpid(), number))
    capsys.readouterr()
    assert train.main(["--resume", run]) == status
    assert lines(capsys.readouterr().err) == ["stopped at once; nothing was to be saved yet"]


def at_step(monkeypatch, step, act):
    """Call `act` in the `step`th step of a training."""
    monkeypatch.setattr(train, "on_step", lambda number: act() if number == step else None)


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_keeps_the_last_epoch(pictures, monkeypatch, capsys):
    def twice():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    flags = [*SHORT[:-4], "--epochs", "2", "--device", "cpu"]
    assert train.main([*flags, "--output", "whole.pth"]) == 0
    at_step(monkeypatch, 130, twice)  # in the second epoch
    assert train.main(flags) == 130
    _, run = sorted(os.listdir("runs"))
    hint = f"what the last epoch saved is kept; to go on: python train.py --resume runs/{run}"
    assert lines(capsys.readouterr().err)[-1] == f"stopped at once; {hint}"
    monkeypatch.undo()
    monkeypatch.chdir(pictures.parent)
    assert train.main(["--resume", run]) == 0
    assert Path("lenet5_model.pth").read_bytes() == Path("whole.pth").read_bytes()


def test_a_signal_after_the_training_says_that_it_is_finished(pictures, monkeypatch, capsys):
    monkeypatch.setattr(train, "print_summary", lambda *a: os.kill(os.getpid(), signal.SIGINT))
    assert train.main(SHORT) == 130
    (line,) = lines(capsys.readouterr().err)
    assert line == "stopped at once; the run is finished and its outputs are written"
    load_weights("lenet5_model.pth")


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("number", "status", "word"), SIGNALS)
def test_a_signal_while_pictures_are_read_says_how_to_go_on(
    workdir, monkeypatch, capsys, number, status, word, workers
):
    predict, calls = ImageClassifier.predict_batch, []

    def predict_and_stop(classifier, paths, *prepared):
        calls.append(paths)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return predict(classifier, paths, *prepared)

    flags = [*READING, "--batch-size", "2", "--output", "out", "--workers", workers]
    with monkeypatch.context() as patch:
        patch.setattr(ImageClassifier, "predict_batch", predict_and_stop)
        assert inference.main(flags) == status
    hint = "the same command goes on after the results in out"
    assert capsys.readouterr().err == f"{word}; {hint}\n"
    assert not multiprocessing.active_children()
    assert len(objects(Path("out").read_text())) == 4  # two whole batches
    assert inference.main(flags) == 0
    assert len(objects(Path("out").read_text())) == 10


# ------------------------------------------------------------ a full disk


@pytest.mark.slow
def test_a_disk_that_gets_full_while_pictures_are_read(workdir):
    command = [sys.executable, str(ROOT / "inference.py"), *READING, "--batch-size", "2"]
    command += ["--output", "out"]
    size = 5 * 200  # a result takes about 200 bytes
    # The system cuts off each file there: what a disk that gets full looks like to one process.
    # What counts the covered lines needs the disk too.
    done = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert_one_error_line(done.stderr, "cannot write out: File too large")
    assert 0 < len(list(read_done("out", "json"))) < 10
    assert inference.main([*READING, "--output", "out"]) == 0
    rows = objects(Path("out").read_text())
    assert [row["prediction"] for row in rows] == list(range(10))


@pytest.mark.parametrize(
    ("script", "flags", "status"),
    [
        ("inference.py", [*READING, "--output", "/dev/full"], 2),
        ("inference.py", [*READING, "--format", "json"], 2),
        ("generate_test_digits.py", [], 1),  # words that find no room after the work is done
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])  # a buffer is written once more at exit
def test_a_disk_that_is_full_from_the_start(workdir, monkeypatch, script, flags, status, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = [sys.executable, str(ROOT / script), *flags]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == status
    assert_one_error_line(done.stderr, "the disk is full; free some space")
    assert status == 2 or len(os.listdir("test_digits")) == 10


def test_a_full_disk_after_the_results_is_partly_done(workdir, capsys):
    assert inference.main([*READING, "--plot", "/dev/full"]) == 1
    captured = capsys.readouterr()
    assert "10 of 10 right" in captured.out
    assert_one_error_line(captured.err, "cannot write /dev/full: the disk is full")
    assert generate_test_digits.main(["--sheet", "/dev/full"]) == 1
    assert len(os.listdir("test_digits")) == 10


def test_a_disk_that_gets_full_while_digits_are_drawn(workdir, monkeypatch, capsys):
    write, done = generate_test_digits.write_file, []

    def write_four(path, data):
        done.append(path)
        write("/dev/full" if len(done) > 4 else path, data)

    monkeypatch.setattr(generate_test_digits, "write_file", write_four)
    assert generate_test_digits.main([]) == 1
    assert_one_error_line(capsys.readouterr().err, "the disk is full")
    assert sorted(os.listdir("test_digits")) == [f"digit_{i}.png" for i in range(4)]
    done += [None] * 4
    assert generate_test_digits.main(["--output", "other"]) == 2
    assert os.listdir("other") == []


def test_a_run_on_a_full_disk_cannot_start(pictures, monkeypatch, capsys):
    def no_room(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lenet5.runtime.atomic_files.write_new", no_room)
    assert train.main(SHORT) == 2
    assert_one_error_line(capsys.readouterr().err, "cannot make the folder runs/", "the disk is full")
    assert os.listdir("runs") == []


def test_output_on_a_full_disk_keeps_the_run(pictures, monkeypatch, capsys):
    """`python train.py > FILE`: a line that cannot be printed is like a file that cannot be written."""

    def no_room(row, epochs, left):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "epoch_line", no_room)
    assert train.main(SHORT) == 1
    (run,) = os.listdir("runs")
    assert_one_error_line(capsys.readouterr().err, "the disk is full", f"--resume runs/{run}")
    load_weights("lenet5_model.pth")


# ------------------------------------------------------------ two at the same time


@pytest.mark.slow
def test_two_processes_do_not_write_one_file_of_results(workdir):
    flags = [*READING, "--output", "out"]
    with open("out", "ab") as file:
        lock(file, "out")
        done = run_script("inference.py", *flags, cwd=workdir)
        assert done.returncode == 2
        assert_one_error_line(done.stderr, "another process is writing out")
        assert os.path.getsize("out") == 0
    assert run_script("inference.py", *flags, cwd=workdir).returncode == 0


@pytest.mark.slow
def test_two_runs_in_the_same_second_even_if_the_clock_stands(pictures, monkeypatch):
    monkeypatch.setattr(train.time, "strftime", lambda form: "19700101-000000")
    for _ in range(3):
        assert train.main(SHORT) == 0
    name = "19700101-000000-lenet5-seed0"
    assert sorted(os.listdir("runs")) == [name, f"{name}-2", f"{name}-3"]


@pytest.mark.slow
def test_the_same_command_draws_the_same_figures(pictures, monkeypatch):
    """Of two runs in two folders at the same time of the clock, since the run's name is in it."""
    monkeypatch.setattr(train.time, "strftime", lambda form: "19700101-000000")
    figures = []
    for name in ("one", "two"):
        os.makedirs(name)
        os.symlink(pictures, f"{name}/pictures")
        monkeypatch.chdir(pictures.parent / name)
        assert train.main(SHORT) == 0
        assert inference.main(["pictures", "--plot", "read.png"]) == 0
        figures.append([Path(png).read_bytes() for png in ("training_results.png", "read.png")])
        monkeypatch.chdir(pictures.parent)
    assert figures[0] == figures[1]


# ------------------------------------------------------------ a loss that is not finite


@pytest.mark.slow
def test_the_step_at_which_a_loss_is_no_longer_finite_is_named(pictures, monkeypatch, capsys):
    def spoil():
        net.c5.bias.data.fill_(float("nan"))  # the 104th step's own loss is the first to see it

    def remember(*arguments, **options):
        nonlocal net
        net = first_weights(*arguments, **options)
        return net

    net = None
    monkeypatch.setattr("lenet5.training.checkpoint.first_weights", remember)
    at_step(monkeypatch, 104, spoil)
    flags = [*SHORT[:-4], "--epochs", "3", "--device", "cpu"]
    assert train.main(flags) == 1
    (row,) = read_metrics(Path("runs", *os.listdir("runs")))
    assert_one_error_line(
        capsys.readouterr().err, "in epoch 2, step 4;", "the weights of epoch 1 are kept", "smaller --lr"
    )
    _, metadata = load_weights("lenet5_model.pth")
    assert metadata["test_accuracy"] == row["test_accuracy"]


def test_weights_that_the_last_step_spoiled_are_not_kept(pictures, monkeypatch, capsys):
    """The losses of all steps are finite, and that of the weights that they lead to is not."""

    def infinite_gradient(net, *arguments):
        found = backpropagate(net, *arguments)
        net.f6.bias.grad.fill_(float("inf"))
        return found

    backpropagate = epoch.backpropagate
    monkeypatch.setattr(epoch, "backpropagate", infinite_gradient)
    assert train.main([*SHORT, "--max-steps", "1"]) == 1
    assert_one_error_line(capsys.readouterr().err, "the validation after epoch 1;", "nothing is kept")
    assert not os.path.exists("lenet5_model.pth")


def test_first_weights_that_are_not_finite_are_refused(pictures, capsys):
    net, _ = load_weights(PRETRAINED)
    net.f6.bias.data[3] = float("nan")
    save_weights("nan.pth", net)
    assert train.main([*SHORT, "--init-from", "nan.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "nan.pth: f6.bias holds a value that is not a finite")
    with pytest.raises(SystemExit, match="2"):  # of argparse
        train.main([*SHORT, "--lr", "1e30"])
    assert_one_error_line(capsys.readouterr().err, "--lr: 1e30 is out of range")
