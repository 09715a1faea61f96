"""What `train.py --tensorboard` writes, read back with TensorBoard's own reader."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

import generate_test_digits
import train
from lenet5.training import epoch_plan, tensorboard, training_pool
from lenet5.training.run_folder import read_metrics
from tests.conftest import ROOT, assert_one_error_line

TAGS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "loss/test": "test_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/val": "val_accuracy",
    "accuracy/test": "test_accuracy",
    "lr": "lr",
    "seconds": "seconds",
}
FLAGS = ["--dataset", "pictures", "--batch-size", "4", "--device", "cpu", "--tensorboard"]


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


def event_files(run: Path) -> list[Path]:
    return sorted(path for path in run.iterdir() if "tfevents" in path.name)


def scalars(run: Path) -> dict[str, list]:
    """What TensorBoard knows of a run: (epoch, figure) in the order of the file, under each tag."""
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0})  # 0: all of them
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def scalars_of(history: list[dict]) -> dict[str, list]:
    """What it should know by metrics.csv, to the bit: an event file's numbers are float32."""
    known = {}
    for tag, column in TAGS.items():
        figures = [(row["epoch"], row[column]) for row in history if row[column] is not None]
        if figures:
            known[tag] = [(epoch, float(np.float32(value))) for epoch, value in figures]
    return known


def steps_in(files: list[Path]) -> list[int]:
    """The steps of all figures in these files, for a reader that knows nothing of restarts."""
    found = [event for file in files for event in LegacyEventFileLoader(str(file)).Load()]
    return [event.step for event in found if event.HasField("summary")]


def resumed(*flags) -> int:
    return train.main(["--resume", the_run().name, *flags])


def test_every_figure_of_every_epoch_is_there_once(capsys):
    assert train.main([*FLAGS, "--epochs", "3"]) == 0
    run = the_run()
    (file,) = event_files(run)
    assert re.fullmatch(r"events\.out\.tfevents\.\d{10}\..+", file.name)  # as TensorBoard names its own
    found = scalars(run)
    assert found.keys() == TAGS.keys()
    assert [epoch for epoch, _ in found["loss/train"]] == [1, 2, 3]
    first = next(LegacyEventFileLoader(str(file)).Load())
    assert first.file_version == "brain.Event:2"  # by which readers know what a START means
    assert found == scalars_of(read_metrics(run))
    assert {path.name for path in run.iterdir()} == {
        "config.json", "metrics.csv", "checkpoint.pth", file.name,
    }  # fmt: skip
    assert capsys.readouterr().err.splitlines() == ["holding out 3 of 20 images to validate, not 5,000"]


def test_what_was_not_measured_has_no_tag():
    assert train.main([*FLAGS, "--epochs", "1", "--val-size", "0"]) == 0
    found = scalars(the_run())
    assert found.keys() == TAGS.keys() - {"loss/val", "accuracy/val"}
    assert found == scalars_of(read_metrics(the_run()))


def test_a_dry_run_has_its_event_file_too():
    assert train.main([*FLAGS, "--dry-run"]) == 0
    assert [epoch for epoch, _ in scalars(the_run())["lr"]] == [1, 2]  # DRY_EPOCHS
    assert not os.path.exists("lenet5_model.pth")


def test_times_are_those_of_the_training_without_its_pauses():
    times = tensorboard.ends([{"seconds": 1.0}, {"seconds": 2.5}, {"seconds": 4.0}])
    assert np.diff(times).tolist() == [2.5, 4.0]


# ------------------------------------------------------------ going on


@pytest.mark.parametrize("stop_at", [2, 9])  # of the 3 steps of each of 4 epochs
def test_a_run_that_was_stopped_and_resumed(monkeypatch, stop_at):
    warp, calls = epoch_plan.warp, []

    def warp_and_stop(images, maps):
        calls.append(1)
        if len(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return warp(images, maps)

    monkeypatch.setattr(epoch_plan, "warp", warp_and_stop)
    assert train.main([*FLAGS, "--epochs", "4"]) == 143
    assert resumed("--tensorboard") == 0  # a flag of the run's own is accepted again
    assert len(read_metrics(the_run())) == 4
    assert scalars(the_run()) == scalars_of(read_metrics(the_run()))
    assert steps_in(event_files(the_run())) == [1, 2, 3, 4]


def test_a_finished_run_adds_what_its_event_file_lost():
    assert train.main([*FLAGS, "--epochs", "3"]) == 0
    (file,) = event_files(the_run())
    whole = file.read_bytes()
    assert resumed() == 0  # nothing is lost, and nothing is written
    assert event_files(the_run()) == [file]
    assert file.read_bytes() == whole
    size = len(tensorboard.framed(b"")) + len(list(tensorboard.events_in(whole))[-1].SerializeToString())
    # How much of the file is left, and the epochs in it: no byte, one, all but one, all but a record.
    for left, epochs in ((0, 0), (1, 0), (len(whole) - 1, 2), (len(whole) - size, 2)):
        file.write_bytes(whole[:left])
        assert resumed() == 0
        _, other = event_files(the_run())
        assert steps_in([other]) == [1, 2, 3][epochs:]
        assert scalars(the_run()) == scalars_of(read_metrics(the_run()))
        other.unlink()
    damaged = whole.replace(b"loss/test", b"loss/tesz")  # the checksums tell
    file.write_bytes(damaged)
    assert resumed() == 0
    assert scalars(the_run()) == scalars_of(read_metrics(the_run()))


# A run that is killed where the test says, in a child program.
KILLED = """
import os, signal, sys
from pathlib import Path
import events, train

def kill(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def half_and_kill(file, data):
    file.write(data[: len(data) // 2])
    kill()

train.SMALLEST_EPOCH = 1
train.draw_training = lambda run: None
{where}
sys.exit(train.main(sys.argv[1:]))
"""


def run_killed(where: str, flags: list[str]) -> None:
    """Train until a patch, such as `events.append = kill`, ends the process."""
    command = [sys.executable, "-c", KILLED.format(where=where), *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_a_run_that_was_killed_again_and_again_has_each_epoch_once():
    """At every moment at which the event files are not what the checkpoint is."""
    # The checkpoint has epoch 1, and there is no event file.
    run_killed("events.write_file = kill", [*FLAGS, "--epochs", "6"])
    seen = [scalars(the_run())]
    go_on = ["--resume", the_run().name]
    # Epochs 1 and 2 come into a new file, and half of epoch 3 to its end.
    run_killed("events.append = half_and_kill", go_on)
    seen.append(scalars(the_run()))
    # Epochs 3 and 4 come into a new file, and 5 only into the checkpoint.
    run_killed("events.append = kill", go_on)
    seen.append(scalars(the_run()))
    assert train.main(go_on) == 0

    history = read_metrics(the_run())
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert seen == [{}, scalars_of(history[:2]), scalars_of(history[:4])]
    assert scalars(the_run()) == scalars_of(history)
    assert steps_in(event_files(the_run())) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_a_run_that_is_started_over_forgets_what_it_was():
    """Also if it is killed before the old file is taken away."""
    assert train.main([*FLAGS, "--epochs", "3"]) == 0
    (the_run() / "checkpoint.pth").unlink()
    go_on = ["--resume", the_run().name]
    run_killed("Path.unlink = kill", go_on)
    assert len(event_files(the_run())) == 2
    assert scalars(the_run()) == scalars_of(read_metrics(the_run()))  # epoch 1
    assert train.main(go_on) == 0
    assert scalars(the_run()) == scalars_of(read_metrics(the_run()))
    assert steps_in(event_files(the_run())) == [1, 2, 3]


def test_the_new_file_is_the_last_one_even_if_the_clock_was_set_back():
    assert train.main([*FLAGS, "--epochs", "1"]) == 0
    (file,) = event_files(the_run())
    later = file.rename(file.with_name("events.out.tfevents.9999999998.host.1.0"))
    later.write_bytes(b"")
    (the_run() / "events.txt").write_text("mine")
    (the_run() / "events.out.tfevents.1234567890.folder").mkdir()
    assert resumed() == 0
    assert event_files(the_run())[-1].name.startswith("events.out.tfevents.9999999999.")


# ------------------------------------------------------------ what can go wrong


def test_a_disk_that_gets_full_is_one_line_and_loses_nothing(monkeypatch, capsys):
    def no_room(file, data):
        file.write(data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tensorboard, "append", no_room)
        assert train.main([*FLAGS, "--epochs", "3"]) == 1
    (file,) = event_files(the_run())
    words = f"cannot write {file}: the disk is full"
    assert_one_error_line(capsys.readouterr().err, words, f"--resume {the_run()}")
    assert resumed() == 0
    assert scalars(the_run()) == scalars_of(read_metrics(the_run()))


def test_without_the_package_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    assert train.main(FLAGS) == 2
    err = capsys.readouterr().err
    assert_one_error_line(err, "--tensorboard needs the package tensorboard")
    assert len(err.splitlines()) == 1
    file = re.search(r"install it: pip install -r (\S+)$", err.strip())[1]
    assert "tensorboard" in (ROOT / file).read_text()
    assert not os.path.exists("runs")
    assert train.main([*FLAGS[:-1], "--max-steps", "1"]) == 0  # without the flag nobody imports it
    assert event_files(the_run()) == []


def test_a_run_that_began_without_an_event_file_goes_on_without(capsys):
    assert train.main([*FLAGS[:-1], "--max-steps", "1"]) == 0
    assert resumed("--tensorboard") == 2
    assert_one_error_line(capsys.readouterr().err, "--tensorboard True differs from the run's own: None")
