"""lenet5.whole_numbers.train: a short run, its history, and how it goes on."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lenet5.imaging.inputs import to_input
from lenet5.networks.weights import load_weights
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers import train
from lenet5.whole_numbers.space_displacement import CLASSES
from lenet5.whole_numbers.synthetic_numbers import NO_DIGIT, make_strings
from lenet5.whole_numbers.train import Pools, batches
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line

FLAGS = ["--data-dir", str(ROOT / "data"), "--strings", "1000", "--windows-epochs", "1", "--epochs", "1"]


@pytest.fixture
def short(workdir, monkeypatch):
    """Epochs of 60 numbers, and ten of each kind to validate with."""
    whole = Pools.chunk
    monkeypatch.setattr(Pools, "chunk", lambda pools, seed, count: whole(pools, seed, 60))
    monkeypatch.setattr(train, "VALIDATION_STRINGS", 10)
    monkeypatch.setattr(train, "SCRIBBLES", 20)


def test_batches_are_numbers_about_as_long_as_each_other(mnist):
    strings = make_strings(mnist.train_images[:100], mnist.train_labels[:100], 50, 0)
    found = list(batches(strings, 8, torch.Generator().manual_seed(0)))
    assert sorted(text for batch in found for text in batch.texts()) == sorted(strings.texts())
    spans = sorted((int(batch.widths.min()), int(batch.widths.max())) for batch in found)
    assert all(high <= low for (_, high), (low, _) in pairwise(spans))
    for batch in found:
        assert batch.pictures.shape[2] == batch.widths.max()


def test_held_out_digits_are_not_learned(mnist, monkeypatch):
    monkeypatch.setattr(train, "SCRIBBLES", 20)
    pools = Pools(str(ROOT / "data"), 5000)
    learned = {image.numpy().tobytes() for image in pools.images[:55_000]}
    held = {image.numpy().tobytes() for image in pools.held_out[0]}
    assert len(pools.held_out[0]) == 5000
    assert not learned & held
    tested = {image.numpy().tobytes() for image in mnist.test_images}
    assert not tested & learned
    made = pools.chunk(0, 50)
    assert (made.labels[made.labels != NO_DIGIT] <= 9).all()


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_to_the_same_weights(short, monkeypatch, capsys):
    assert train.main([*FLAGS, "--run", "whole", "--output", "whole.pth"]) == 0
    epoch, calls = train.train_epoch, []

    def stop_in_the_second(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise UserError("stopped")
        return epoch(*arguments)

    monkeypatch.setattr(train, "train_epoch", stop_in_the_second)
    flags = [*FLAGS, "--run", "parts", "--output", "parts.pth"]
    assert train.main(flags) == 2
    assert not Path("parts.pth").exists()
    monkeypatch.setattr(train, "train_epoch", epoch)
    assert train.main(flags) == 0
    whole, parts = (load_weights(name)[0].state_dict() for name in ("whole.pth", "parts.pth"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with open("parts/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("apart", "touching"))
    _, metadata = load_weights("whole.pth")
    assert metadata["arch"] == "lenet5-conv"
    assert metadata["classes"] == CLASSES
    assert metadata["test_accuracy"] > 0.9  # of single digits, as it began
    # Other flags do not belong to this run; a damaged checkpoint is named.
    capsys.readouterr()
    assert train.main([*flags, "--lr", "0.1"]) == 2
    assert_one_error_line(capsys.readouterr().err, "checkpoint.pth", "other flags")
    Path("parts/checkpoint.pth").write_bytes(b"no checkpoint")
    assert train.main(flags) == 2
    assert_one_error_line(capsys.readouterr().err, "checkpoint.pth", "damaged")


def test_it_begins_as_the_network_of_single_digits(short, mnist):
    training = train.Training(vars(train.parse_arguments(["--init-from", str(PRETRAINED)])))
    net, metadata = load_weights(PRETRAINED)
    inputs = to_input(mnist.train_images[:50], metadata["mean"], metadata["std"])
    with torch.inference_mode():
        same = training.net.eval()(inputs)[:, :10].argmax(1) == net.eval()(inputs).argmax(1)
    assert same.all()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--init-from", "none.pth"], ["none.pth"]),
        (["--init-from", ROOT / "pretrained" / "lenet-gap.pth"], ["lenet-gap", "not of lenet5"]),
        (["--output", "no/folder.pth"], ["no/folder.pth"]),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(workdir, capsys, flags, words):
    assert train.main([*map(str, flags), "--data-dir", str(ROOT / "data")]) == 2
    assert_one_error_line(capsys.readouterr().err, *words)
