"""What `train.py --tensorboard` writes, read back with TensorBoard's own reader."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import generate_test_digits
import train
from lenet5.training import training_pool
from lenet5.training.run_folder import read_metrics
from tests.conftest import ROOT, assert_one_error_line

FLAGS = ["--dataset", "pictures", "--batch-size", "4", "--device", "cpu", "--tensorboard"]
PANELS = {"loss/train", "loss/val", "loss/test", "accuracy/train", "accuracy/val", "accuracy/test"}


@pytest.fixture(autouse=True)
def pictures(workdir, monkeypatch):
    """Three pictures of each digit, ten of which are to train on: an epoch of three steps."""
    face = generate_test_digits.default_face()
    for digit in range(10):
        folder = workdir / "pictures" / str(digit)
        folder.mkdir(parents=True)
        for copy in range(3):
            drawing = generate_test_digits.Drawing(digit, face, "plain", copy)
            drawing.draw(28, seed=0).save(folder / f"{copy}.png")
    monkeypatch.setattr(training_pool, "SMALLEST_EPOCH", 1)
    monkeypatch.setattr(train, "draw_training", lambda run: None)  # most of the time of such epochs


def the_run() -> Path:
    (run,) = Path("runs").iterdir()
    return run


def assert_events_are_metrics() -> dict[str, list]:
    """TensorBoard's (epoch, figure) pairs equal metrics.csv as float32; returns them by tag."""
    reader = EventAccumulator(str(the_run()), size_guidance={"scalars": 0})  # 0: all of them
    reader.Reload()
    found = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    history, wanted = read_metrics(the_run()), {}
    for column in history[0].keys() - {"epoch"}:
        pairs = [(row["epoch"], row[column]) for row in history if row[column] is not None]
        if pairs:
            tag = column if "_" not in column else "{1}/{0}".format(*column.split("_"))
            wanted[tag] = [(epoch, float(np.float32(value))) for epoch, value in pairs]
    assert found == wanted
    return found


@pytest.mark.parametrize(("flags", "missing"), [([], set()), (["--val-size", "0"], {"val"})])
def test_every_figure_of_every_epoch_is_there_once(flags, missing):
    assert train.main([*FLAGS, "--epochs", "3", *flags]) == 0
    found = assert_events_are_metrics()
    panels = {tag for tag in PANELS if tag.split("/")[1] not in missing}
    assert found.keys() == panels | {"lr", "seconds"}
    assert [epoch for epoch, _ in found["lr"]] == [1, 2, 3]
    (the_run() / "checkpoint.pth").unlink()  # so the run starts over
    assert train.main(["--resume", the_run().name]) == 0
    assert_events_are_metrics()


@pytest.mark.parametrize("stop_at", [2, 9])  # of the 3 steps of each of 4 epochs
def test_a_run_that_was_stopped_and_resumed(monkeypatch, stop_at):
    def stop(step):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(train, "on_step", stop)
        assert train.main([*FLAGS, "--epochs", "4"]) == 143
    for file in the_run().glob("*tfevents*"):
        file.write_bytes(file.read_bytes()[:-20])  # half a record at the end, as after a kill
    assert train.main(["--resume", the_run().name, "--tensorboard"]) == 0  # the run's own flag
    assert len(assert_events_are_metrics()["lr"]) == 4


def test_a_full_disk_is_one_line_and_loses_nothing(monkeypatch, capsys):
    def no_room(writer):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("torch.utils.tensorboard.SummaryWriter.flush", no_room)
        assert train.main([*FLAGS, "--epochs", "3"]) == 1
    assert_one_error_line(capsys.readouterr().err, "the disk is full", f"--resume {the_run()}")
    assert train.main(["--resume", the_run().name]) == 0
    assert_events_are_metrics()


def test_without_the_package_it_says_what_to_install(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert train.main(FLAGS) == 2
    err = capsys.readouterr().err
    assert_one_error_line(err, "--tensorboard", "requirements-tensorboard.txt")
    assert "tensorboard" in (ROOT / "requirements-tensorboard.txt").read_text()
    assert not os.path.exists("runs")
    assert train.main([*FLAGS[:-1], "--max-steps", "1"]) == 0  # without the flag nobody imports it
    assert train.main(["--resume", the_run().name, "--tensorboard"]) == 2
    assert_one_error_line(capsys.readouterr().err, "--tensorboard", "the run's own")
