import csv
import json
import os
import re
import signal
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import train
from generate_test_digits import Drawing, default_face
from lenet5.networks.weights import load_weights, save_weights, serialize
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime.errors import UserError
from lenet5.training import distillation, epoch_end, levenberg_marquardt, progress, training_pool
from lenet5.training.recipes import DRY_EPOCHS, Settings
from lenet5.training.run_folder import COLUMNS
from model import LeNet5, build
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line, first_of, run_script
from train import main

DATA = ["--data-dir", str(ROOT / "data")]
SHORT = [*DATA, "--max-steps", "25", "--device", "cpu"]  # less than an epoch, even of fewer images

pytestmark = pytest.mark.usefixtures("fewer_images")


@pytest.fixture
def fewer_images(monkeypatch, mnist):
    """The first 12,000 training and 2,000 test images: an epoch of 28 steps in place of 215."""
    few = first_of(mnist, 12_000, 2_000)
    monkeypatch.setattr(training_pool, "load_dataset", lambda name, folder: few)


def runs():
    return sorted(Path("runs").iterdir()) if os.path.isdir("runs") else []


def weights(path="lenet5_model.pth"):
    return Path(path).read_bytes()


def metrics(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------ the parts


@pytest.mark.parametrize("epochs", [10, 150])
def test_an_epoch_line_fits_a_terminal_and_its_columns(epochs):
    row = dict.fromkeys(COLUMNS, 1.0) | {"epoch": 10, "train_loss": 12.3456, "lr": 8e-8}
    row["seconds"] = 1234.56  # about what a pass of --recipe 1998 takes
    longest = progress.epoch_line(row, epochs, 86_399)
    assert longest.endswith(" 1234.6s  23h 59m left")
    assert len(longest) <= 80
    names, last = progress.columns(epochs), progress.epoch_line(row, epochs, 0)
    assert names.split() == ["loss", "train", "val", "test", "lr", "time"]
    ends = [[word.end() for word in re.finditer(r"\S+", line)] for line in (names, last)]
    assert ends[0] == ends[1][2:]  # but for "epoch 10/10"
    assert "  - %" in progress.epoch_line(row | {"val_accuracy": None}, epochs, 0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1s"),
        (59, "59s"),
        (59.1, "1m 00s"),
        (200, "3m 20s"),
        (3599.5, "1h 00m"),
        (3900, "1h 05m"),
        (86_399, "23h 59m"),
        (2 * 86_400 + 3 * 3600 + 59, "2d 03h"),
    ],
)
def test_a_time_in_its_two_largest_units(seconds, words):
    assert progress.duration(seconds) == words


def signal_at(step, number=signal.SIGTERM):
    """A hook for `train.on_step`: a signal at a step of the run, counted from 1."""
    return lambda current: os.kill(os.getpid(), number) if current == step else None


def time_left(text):
    """What the lines of the epochs say of the time left, None where they say nothing."""
    lines = [line for line in text.splitlines() if line.startswith("epoch ")]
    return [line.split("s  ")[1] if line.endswith(" left") else None for line in lines]


class Clock:
    """In place of `time`: each look at it takes so many seconds more."""

    def __init__(self, *takes):
        self.now, self.takes = 0.0, list(takes)

    def perf_counter(self):
        self.now += self.takes[0] if len(self.takes) == 1 else self.takes.pop(0)
        return self.now

    strftime = staticmethod(time.strftime)


def set_clock(monkeypatch, clock: Clock) -> None:
    for module in (train, epoch_end, progress):
        monkeypatch.setattr(module, "time", clock)


@pytest.fixture
def few_steps(workdir, monkeypatch, mnist):
    """Of 1,000 images 500 are to train on, in five steps an epoch; nothing is drawn."""
    few = first_of(mnist, 1000, 100)
    monkeypatch.setattr(training_pool, "load_dataset", lambda name, folder: few)
    monkeypatch.setattr(training_pool, "SMALLEST_EPOCH", 1)
    monkeypatch.setattr(train, "draw_training", lambda run: None)
    return [*DATA, "--batch-size", "100", "--val-size", "500", "--device", "cpu"]


def test_each_epoch_but_the_last_says_how_long_is_left(few_steps, monkeypatch, capsys):
    """An epoch looks three times at the clock; one that took an hour says little of the others."""
    set_clock(monkeypatch, Clock(1.0, 1.0, 1.0, 1.0, 1.0, 3600.0, 1.0))
    assert main([*few_steps, "--epochs", "5"]) == 0
    lefts = ["8s left", "6s left", "4s left", "2s left", None]  # 2 s an epoch
    assert time_left(capsys.readouterr().out) == lefts


def test_a_resumed_run_goes_by_the_epochs_that_it_measures_itself(few_steps, monkeypatch, capsys):
    """The machine, or what else it has to do, may be another one now."""
    monkeypatch.setattr(train, "on_step", signal_at(7))  # the second step of the second epoch
    set_clock(monkeypatch, Clock(500.0))
    assert main([*few_steps, "--epochs", "5"]) == 143
    assert time_left(capsys.readouterr().out) == ["1h 06m left"]  # 4 epochs of 1,000 s
    set_clock(monkeypatch, Clock(1.0))
    assert main(["--resume", runs()[0].name]) == 0
    # The second epoch took 500 s before it was stopped and 2 after, and each other one 2.
    assert time_left(capsys.readouterr().out) == ["25m 06s left", "4s left", "2s left", None]


# ------------------------------------------------------------ whole runs


def test_a_short_run_leaves_everything_and_learns(workdir, capsys, mnist):
    assert main([*SHORT, "--seed", "3"]) == 0
    out = capsys.readouterr().out
    (folder,) = runs()
    config = json.loads((folder / "config.json").read_text())
    assert (config["seed"], config["arch"], config["max_steps"]) == (3, "lenet5", 25)
    (row,) = metrics(folder)
    assert tuple(row) == COLUMNS
    assert row["epoch"] == "1"
    accuracy = float(row["test_accuracy"])
    assert accuracy > 0.6  # after 25 steps; guessing has 0.1
    assert float(row["val_accuracy"]) == pytest.approx(accuracy, abs=0.1)
    _, metadata = load_weights("lenet5_model.pth")
    assert metadata["test_accuracy"] == accuracy
    assert metadata["classes"] == list("0123456789")
    assert 0.1 < metadata["reject_below"] < 1
    assert 0.05 < metadata["temperature"] < 20
    # The accuracy of the saved weights, by a computation of its own.
    net = LeNet5()
    net.load_state_dict(torch.load("lenet5_model.pth", weights_only=True))
    images = (mnist.test_images[:2_000].float() / 255 - 0.1307) / 0.3081
    with torch.no_grad():
        logits = net(F.pad(images, (2,) * 4, value=-0.1307 / 0.3081)[:, None])
    hits = (logits.argmax(1) == mnist.test_labels[:2_000]).sum().item()
    assert accuracy == pytest.approx(hits / 2_000, abs=6e-4)
    assert Image.open("training_results.png").size[0] >= 1000
    for word in ("epoch 1/1", "test accuracy", "training accuracy", str(folder), "python inference.py"):
        assert word in out
    assert not list(Path().glob(".*"))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(workdir):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([*SHORT, "--max-steps", "8", "--seed", seed, "--output", name]) == 0
    assert weights("a") == weights("b") != weights("c")
    a, b, _ = (metrics(folder)[0] for folder in runs())
    a.pop("seconds"), b.pop("seconds")
    assert a == b
    assert len(runs()) == 3  # also within one second


def without_seconds(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in metrics(folder)]


TWO_EPOCHS = [*DATA, "--epochs", "2", "--val-size", "2000", "--device", "cpu"]  # of 40 steps each


def assert_goes_on_to_the_bit(flags, stop_at):
    """A run that gets SIGTERM at its `stop_at`th step and is resumed, against one that was not."""
    assert main([*flags, "--output", "whole.pth"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "on_step", signal_at(stop_at))
        assert main([*flags, "--output", "part.pth"]) == 143
    whole, part = runs()
    assert main(["--resume", part.name]) == 0
    assert weights("whole.pth") == weights("part.pth")
    assert without_seconds(whole) == without_seconds(part)
    assert len(runs()) == 2


@pytest.mark.parametrize(
    "stop_at", [40, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 39, 41, 79))]
)
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(workdir, stop_at):
    """Wherever the signal came: weights, figures, and the next random numbers."""
    assert_goes_on_to_the_bit(TWO_EPOCHS, stop_at)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "stop_at"),
    [
        (["--precision", "bfloat16"], 43),
        (["--teacher", str(PRETRAINED), "--average", "0.99", "--augment", "elastic"], 50),
        (["--fonts", "fonts/digits.npz", "--augment", "pens"], 43),
        # Step sizes and second derivatives travel too, within a pass of eight batches.
        (["--recipe", "1998-distorted", "--val-size", "0"], 11),
    ],
)
def test_runs_of_all_kinds_go_on_to_the_bit(workdir, monkeypatch, capsys, mnist, flags, stop_at):
    monkeypatch.setattr(distillation.SoftTargets, "VIEWS", 2)  # one for each of the two epochs
    if "--recipe" in flags:
        few = first_of(mnist, 800, 2_000)
        monkeypatch.setattr(training_pool, "load_dataset", lambda name, folder: few)
        monkeypatch.setattr(levenberg_marquardt.DiagonalLevenbergMarquardt, "PATTERNS", 20)
    assert_goes_on_to_the_bit([*TWO_EPOCHS, *flags], stop_at)
    out, err = capsys.readouterr()
    assert "to the bit" not in err
    assert ("an epoch shows 18,460 images" in out) == ("--fonts" in flags)
    assert (out.count("on cpu, in bfloat16\n") == 3) == ("bfloat16" in flags)
    assert {p.dtype for p in load_weights("whole.pth")[0].parameters()} == {torch.float32}


@pytest.mark.parametrize(("ability", "used"), [("avx512_bf16", "bfloat16"), ("avx512_f", "float32")])
def test_auto_takes_bfloat16_where_the_processor_multiplies_it(
    workdir, capsys, monkeypatch, ability, used
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {ability: True}, raising=False)
    assert main([*SHORT, "--recipe", "quick", "--max-steps", "2"]) == 0
    (run,) = runs()
    config = json.loads((run / "config.json").read_text())
    assert (config["precision"], config["precision_used"]) == ("auto", used)
    # On a processor of another kind, or with a PyTorch that does not tell, it is another run.
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    capsys.readouterr()
    assert main(["--resume", run.name]) == 0
    differs = "precision used: float32, and the run began with 'bfloat16'" in capsys.readouterr().err
    assert differs == (used == "bfloat16")


def test_a_teacher_has_to_fit(workdir, capsys):
    assert main([*SHORT, "--teacher", "missing.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "no missing.pth", "--recipe teacher")
    save_weights("gap.pth", build("lenet-gap"))
    assert main([*SHORT, "--teacher", "gap.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "gap.pth", "mean 0.5, not 0.1307")
    save_weights("letters.pth", LeNet5(26), classes=[chr(i) for i in range(97, 123)])
    assert main([*SHORT, "--teacher", "letters.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "letters.pth knows other classes")
    save_weights("lenet5_model.pth", LeNet5())
    assert main([*SHORT, "--teacher", "./lenet5_model.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "lenet5_model.pth", "would be overwritten")
    assert runs() == []


def test_a_run_goes_on_with_its_own_teacher_only(workdir, capsys):
    save_weights("teacher.pth", LeNet5(), seed=0, val_size=2000)
    flags = [*SHORT, "--max-steps", "2", "--val-size", "2000", "--teacher", "teacher.pth"]
    assert main(flags) == 0
    assert "validation images may" not in capsys.readouterr().err
    (run,) = runs()
    assert main(["--resume", run.name]) == 0
    save_weights("teacher.pth", LeNet5())
    assert main(["--resume", run.name]) == 2
    assert_one_error_line(capsys.readouterr().err, "teacher.pth is not that with which")
    # Another seed has another split, so this teacher has learned what is to validate.
    assert main([*flags, "--seed", "7"]) == 0
    assert "validation images may have been among those" in capsys.readouterr().err


def test_other_conditions_are_told_when_a_run_goes_on(workdir, capsys):
    assert main([*SHORT, "--max-steps", "2"]) == 0
    (run,) = runs()
    config = json.loads((run / "config.json").read_text()) | {"threads": 77}
    del config["precision"], config["precision_used"]  # as in runs from before --precision
    (run / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["--resume", run.name]) == 0
    held_out, line = capsys.readouterr().err.splitlines()
    assert "2,000 of 12,000" in held_out
    assert "the run began with 77" in line


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(few_steps, monkeypatch, capsys, number, status):
    monkeypatch.setattr(train, "on_step", signal_at(7, number))  # in the second epoch
    assert main([*few_steps, "--epochs", "5"]) == status
    assert f"python train.py --resume {runs()[0]}" in capsys.readouterr().err.splitlines()[-1]
    load_weights("lenet5_model.pth")
    assert main(["--resume", str(runs()[0]), "--epochs", "3"]) == 2  # another number of epochs


def test_a_signal_before_the_first_step_ends_cleanly(workdir, monkeypatch, capsys):
    original = training_pool.load_dataset

    def load_and_stop(name, folder):
        os.kill(os.getpid(), signal.SIGINT)
        return original(name, folder)

    monkeypatch.setattr(training_pool, "load_dataset", load_and_stop)
    assert main(SHORT) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert runs() == []


def test_a_finished_run_writes_its_outputs_again_with_or_without_its_checkpoint(workdir):
    assert main(SHORT) == 0
    (folder,) = runs()
    before = weights(), without_seconds(folder)
    for more in ([], ["checkpoint.pth"]):  # without it the run starts over
        for path in ("lenet5_model.pth", "training_results.png", folder / "metrics.csv"):
            os.unlink(path)
        for name in more:
            os.unlink(folder / name)
        assert main(["--resume", folder.name, *SHORT]) == 0
        assert (weights(), without_seconds(folder)) == before
        assert os.path.exists("training_results.png")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["mine", "--lr", "0.5"], "--lr 0.5 differs from the run's own: 0.008"),
        (["mine", "--output", "x.pth"], "--output x.pth differs"),
        (["runs/empty"], "runs/empty is no run"),
    ],
)
def test_resume_refuses_other_flags_and_what_is_no_run(workdir, capsys, flags, words):
    os.makedirs("runs/empty"), os.makedirs("runs/mine")
    Path("runs/mine/config.json").write_text(json.dumps(asdict(Settings())))
    assert main(["--resume", *flags]) == 2
    assert_one_error_line(capsys.readouterr().err, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "JSON"),
        ("[]", "JSON"),
        ('{"arch": ' + "[" * 100_000, "JSON"),
        ("{}", "lacks 'arch'"),
        (("seed", None), "lacks 'seed'"),
        (("epochs", False), "lacks 'epochs'"),
        *((("epochs", value), "was changed") for value in (-3, True)),
        *((("lr", value), "was changed") for value in ([1], float("nan"), 10**400)),
        (("arch", "list"), "was changed"),
        (("dry_run", 5), "was changed"),
        (("teacher", {"a": 1}), "no {'a': 1}"),
        (("output", "a\0b"), "cannot write"),
        (("output", "a\ud800b"), "cannot write"),
    ],
)
def test_a_config_edited_by_hand(workdir, capsys, content, words):
    if isinstance(content, tuple):
        content = json.dumps(asdict(Settings()) | {content[0]: content[1]})
    os.makedirs("runs/edited")
    Path("runs/edited/config.json").write_text(content)
    assert main(["--resume", "edited"]) == 2
    assert_one_error_line(capsys.readouterr().err, words)


def test_a_damaged_checkpoint_is_one_line(workdir, capsys):
    assert main([*SHORT, "--max-steps", "2"]) == 0
    path = runs()[0] / "checkpoint.pth"
    whole, state = path.read_bytes(), torch.load(path, weights_only=True)
    save_weights("w.pth", LeNet5())
    more_steps = serialize(state | {"step": 10**6})
    for damage in (b"", b"hello", whole[: len(whole) // 2], weights("w.pth"), more_steps):
        path.write_bytes(damage)
        capsys.readouterr()
        assert main(["--resume", runs()[0].name]) == 2
        assert "delete it to start the run over" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_of_a_recipe_with_fonts_and_non_digits(workdir, capsys):
    assert main([*DATA, "--recipe", "anybody", "--dry-run"]) == 0
    out = capsys.readouterr().out
    # 1,280 of MNIST; a thousand of the fonts twice, and of the letters; 64 each of three
    # kinds that are no digit, and twice as many in few pixels: 4,600. And a third of what the
    # finder sees in a thousand made-up pictures, but for some to validate.
    shown = int(re.search(r"an epoch shows ([\d,]+) images", out)[1].replace(",", ""))
    assert 4600 + 200 < shown < 4600 + 320
    assert not os.path.exists("lenet5_model.pth")


@pytest.mark.parametrize("added", [{"fonts": "fonts/digits.npz"}, {"pictures": 100}])
def test_digits_are_not_added_to_other_classes(added):
    settings, images = Settings(**added), torch.zeros(9, 28, 28, dtype=torch.uint8)
    with pytest.raises(UserError, match="leave it out"):
        list(training_pool.added_images(settings, images, torch.zeros(9), ["left", "right"], 1))


def test_with_a_teacher_an_image_that_an_epoch_shows_twice_is_two_images():
    pool = training_pool.Data(Settings(fonts="fonts/digits.npz"), torch.device("cpu")).pool
    (plain, once), (fonts, twice) = pool.repeats
    assert (once, twice) == (1, 2)
    inputs = pool.inputs
    pool.expand()
    assert pool.repeats == [(plain + 2 * fonts, 1)]
    assert torch.equal(pool.inputs[:plain], inputs[:plain])
    assert torch.equal(pool.inputs[plain::2], inputs[plain:])
    assert torch.equal(pool.inputs[plain + 1 :: 2], inputs[plain:])


def test_dry_run_is_short_and_overwrites_nothing(workdir, capsys):
    Path("lenet5_model.pth").write_bytes(b"precious")
    Path("training_results.png").write_bytes(b"precious")
    start = time.monotonic()
    assert main([*DATA, "--dry-run"]) == 0
    assert time.monotonic() - start < 30
    assert weights() == weights("training_results.png") == b"precious"
    (folder,) = runs()
    assert len(metrics(folder)) == DRY_EPOCHS
    out = capsys.readouterr().out
    assert "images: 1,280 to train on, 1,000 to validate, 1,000 to test" in out
    assert "none: this was a dry run" in out
    os.unlink("lenet5_model.pth")
    assert main([*DATA, "--dry-run", "--epochs", "1", "--val-size", "0"]) == 0
    assert not os.path.exists("lenet5_model.pth")
    (row,) = metrics(runs()[1])
    assert (row["val_loss"], row["val_accuracy"]) == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--optimizer", "sgd", "--scheduler", "cosine", "--augment", "none", "--lr", "0.05"],
        ["--optimizer", "adamw", "--scheduler", "step", "--augment", "affine-strong"],
        ["--scheduler", "constant", "--batch-size", "1000", "--lr", "0.002", "--arch", "lenet5-conv"],
        ["--arch", "lenet5-padded", "--init", "xavier"],
        ["--arch", "lenet5-tanh", "--lr", "0.002"],
        ["--arch", "lenet5-1998"],
        ["--augment", "elastic", "--label-smoothing", "0.1", "--average", "0.9"],
        ["--precision", "bfloat16", "--optimizer", "muon", "--lr", "0.02"],
        ["--teacher", str(PRETRAINED), "--temperature", "3", "--seed", str(2**63 - 1)],
    ],
)
def test_every_choice_of_a_flag_trains(workdir, flags):
    assert main([*SHORT, "--max-steps", "80", *flags]) == 0
    assert float(metrics(runs()[0])[-1]["test_accuracy"]) > 0.6  # guessing has 0.1


def test_a_diverging_run_stops_and_keeps_what_it_has(workdir, capsys):
    flags = [*SHORT, "--optimizer", "sgd", "--scheduler", "constant", "--lr", "1e6"]
    assert main(flags) == 1
    err = capsys.readouterr().err
    assert "no longer a finite number in epoch 1" in err
    assert "smaller --lr" in err
    assert "--resume" not in err  # it would only come to the same
    assert not os.path.exists("lenet5_model.pth")


def test_a_full_disk_at_the_end_loses_nothing(workdir, capsys):
    """/dev/full is a disk without room."""
    assert main([*SHORT, "--plot", "/dev/full"]) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert "the disk is full" in err
    assert f"python train.py --resume {runs()[0]}" in err
    assert (runs()[0] / "checkpoint.pth").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--epochs", "ten"], "not a whole number"),
        (["--lr", "nan"], "--lr"),
        (["--val-size", "12000"], "cannot hold out 12,000 of 12,000"),
        (["--arch", "lenet6"], "--arch"),
        (["--dataset", "cats"], "--dataset"),
        (["--init-from", "w.pth"], "w.pth is not a weights file"),
        (["--fonts", "missing.npz", "--val-size", "9"], "fonts/render.py"),
        (["--output", "missing/w.pth"], "there is no folder"),
        (["--plot", "."], "it is a folder"),
        (["--compare", "missing"], "missing is no run"),
        (["--compare"], "no run with metrics"),
        (["surplus"], "surplus"),
        pytest.param(
            ["--device", "cuda"],
            "no cuda device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(workdir, capsys, flags, words):
    Path("w.pth").write_bytes(b"not weights")
    try:
        status = main([*DATA, *flags])
    except SystemExit as error:  # of argparse
        status = error.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert_one_error_line(line, words)
    assert runs() == []


@pytest.mark.slow
def test_in_a_pipe_there_is_no_progress_bar(workdir):
    done = run_script("train.py", *SHORT, "--max-steps", 3, cwd=workdir)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\r" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_comparing_runs(workdir, capsys):
    for seed in ("1", "2"):
        assert main([*SHORT, "--max-steps", "5", "--seed", seed]) == 0
    capsys.readouterr()
    assert main(["--compare"]) == 0
    table = capsys.readouterr().out.splitlines()
    for folder, line in zip(runs(), table[1:], strict=False):
        best = metrics(folder)[0]
        assert line.startswith(folder.name)
        assert f"{100 * float(best['val_accuracy']):.2f} %" in line
        assert f"{100 * float(best['test_accuracy']):.2f} %" in line
        assert len(line) <= 80
    assert Image.open("runs_comparison.png").size[0] >= 1000
    assert main(["--compare", runs()[0].name, "--plot", "one.png"]) == 0
    assert os.path.exists("one.png")
    (runs()[0] / "metrics.csv").write_text("epoch,loss\n1,x\n")
    assert main(["--compare"]) == 2
    assert "is not a metrics file" in capsys.readouterr().err


# ---------------------------------------------------------------- own pictures


@pytest.fixture
def mine(workdir, monkeypatch):
    """A folder of four 3 and four 8; each copy is moved and turned a little."""
    monkeypatch.undo()  # of fewer_images
    monkeypatch.chdir(workdir)
    for digit in ("3", "8"):
        (workdir / "mine" / digit).mkdir(parents=True)
        for copy in range(4):
            drawing = Drawing(int(digit), default_face(), "plain", copy)
            drawing.draw(64, seed=0).save(workdir / "mine" / digit / f"{drawing.name}.png")
    return ["--dataset", "mine", "--max-steps", "2", "--device", "cpu"]


def test_a_run_goes_on_with_its_own_pictures_only(mine, capsys):
    assert main([*mine, "--few-pixels"]) == 0  # of six pictures, a twentieth would be none
    assert "an epoch shows" in capsys.readouterr().out
    (run,) = runs()
    assert main(["--resume", run.name]) == 0
    os.remove("mine/3/" + os.listdir("mine/3")[0])
    assert main(["--resume", run.name]) == 2
    assert_one_error_line(capsys.readouterr().err, "--dataset mine is not that with which")


@pytest.mark.slow
def test_some_classes_of_the_weights_keep_the_others(mine, capsys):
    flags = [*mine, "--init-from", str(PRETRAINED)]
    assert main(flags) == 0
    assert load_weights("lenet5_model.pth")[1]["classes"] == list("0123456789")
    os.rename("mine/3", "mine/three")
    assert main(flags) == 0
    assert "its output layer begins anew" in capsys.readouterr().err
    net, metadata = load_weights("lenet5_model.pth")
    assert metadata["classes"] == ["8", "three"]
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 2)
    (first, *_) = Path("mine/8").iterdir()
    assert ImageClassifier("lenet5_model.pth").predict(first) in (8, "three")
