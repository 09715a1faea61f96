"""What is no digit: its pictures, the loss that asks for no confidence, and the refusal."""

import itertools
import json
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from inference import main
from lenet5.data.fonts import load_letters
from lenet5.data.non_digits import (
    SHEET,
    SLIMMEST,
    digit_pairs,
    marks,
    rounded,
    scribbles,
    shapes,
    silhouette,
)
from lenet5.evaluation.confidence import kl_from_uniform
from lenet5.imaging.centring import centre_digit
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading.classifier import ImageClassifier
from lenet5.training.epoch import RunningMetrics, counts
from lenet5.training.losses import IGNORE_INDEX, outlier_exposure
from model import LeNet5
from tests.conftest import ROOT, assert_one_error_line, run_script
from train import main as train

FONTS = ROOT / "fonts" / "digits.npz"


def box(image):
    rows, columns = np.flatnonzero(image.max(1) > 50), np.flatnonzero(image.max(0) > 50)
    return columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


@pytest.mark.parametrize("make", [scribbles, shapes])
def test_what_is_made_up_looks_like_mnist_and_depends_on_its_seed(make):
    ours = make(50, seed=3)
    assert ours.shape == (50, 28, 28)
    assert ours.dtype == torch.uint8
    assert all(18 <= max(box(image)) <= 22 for image in ours.numpy())
    assert torch.equal(ours, make(50, seed=3))
    assert not torch.equal(ours, make(50, seed=4))
    assert len(ours.unique(dim=0)) == 50


def test_shapes_are_filled_and_none_is_as_slim_as_a_one():
    ours = shapes(200, seed=0).numpy()
    assert (ours > 50).sum(axis=(1, 2)).mean() > 130  # a digit of MNIST has about 120 such pixels
    sides = np.array([sorted(box(image)) for image in ours])
    assert (sides[:, 0] / sides[:, 1] > SLIMMEST - 0.05).all()  # a pixel of twenty


def test_a_silhouette_is_its_own_mirror_image():
    rng = np.random.default_rng(0)
    drawn = [silhouette(rng) for _ in range(100)]
    for points, _ in itertools.chain(*drawn):
        left, right = points[points[:, 0] < 0.5], points[points[:, 0] > 0.5]
        assert np.allclose(np.sort(0.5 - left[:, 0]), np.sort(right[:, 0] - 0.5))
    assert 10 < sum(len(polygons) == 2 for polygons in drawn) < 50  # with legs: 3 of 10


def test_marks_are_never_one_upright_bar():
    for seed in range(300):
        sheet = np.zeros((SHEET, SHEET), np.uint8)
        marks(sheet, np.random.default_rng(seed))
        width, height = box(centre_digit(sheet.astype(np.float32)))
        assert width >= 0.2 * height  # two dots above each other have least


def test_rounding_keeps_the_ends_and_stays_inside():
    points = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    curve = rounded(points)
    np.testing.assert_array_equal(curve[[0, -1]], points[[0, -1]])
    assert curve.min() >= 0
    assert curve.max() <= 10
    steps = np.diff(curve, axis=0)
    turns = np.abs(np.diff(np.arctan2(steps[:, 1], steps[:, 0])))
    assert turns.max() < np.pi / 4  # the corner was a quarter turn


def test_pairs_hold_two_digits(mnist):
    images = mnist.train_images[:500]
    pairs = digit_pairs(images, 60, seed=0).numpy()
    assert pairs.shape == (60, 28, 28)
    widths = [box(pair)[0] for pair in pairs]
    heights = [box(pair)[1] for pair in pairs]
    assert np.mean([w >= 19 for w in widths]) > 0.85  # but for two slim ones
    assert np.mean(heights) < 16  # each is half as large as MNIST's


def test_outlier_exposure_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 10, generator=generator)
    labels = torch.tensor([3, IGNORE_INDEX, 4, 4, IGNORE_INDEX, 0, 9, 1, IGNORE_INDEX])
    total = 0.0
    for row, label in zip(logits, labels.tolist(), strict=True):
        if label == IGNORE_INDEX:
            total += 0.5 * sum(-0.1 * row.log_softmax(0)[k].item() for k in range(10))
        else:
            total -= row.log_softmax(0)[label].item()
    assert outlier_exposure()(logits, labels).item() == pytest.approx(total / 9, rel=1e-5)
    digits = labels != IGNORE_INDEX
    plain = outlier_exposure(0.1)(logits[digits], labels[digits])
    torch.testing.assert_close(
        plain, F.cross_entropy(logits[digits], labels[digits], label_smoothing=0.1)
    )


def test_the_tally_counts_what_has_a_class():
    tally = RunningMetrics(torch.device("cpu"))
    tally.add(torch.tensor(0.5), *counts(torch.eye(3), torch.tensor([0, 2, IGNORE_INDEX])))
    assert tally.result() == (0.5, 0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short training with --non-digits, two epochs."""
    folder = tmp_path_factory.mktemp("non-digits")
    os.symlink(ROOT / "data", folder / "data")
    flags = ["--fonts", FONTS, "--non-digits", "--epochs", "2", "--device", "cpu"]
    done = run_script("train.py", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "an epoch shows" in done.stdout
    return folder / "lenet5_model.pth"


@pytest.mark.slow
def test_what_has_learned_it_is_unsure_of_what_is_no_digit(trained, mnist):
    classifier = ImageClassifier(trained)
    assert classifier.metadata["non_digits"]
    digits = kl_from_uniform(classifier.logits(mnist.test_images[:1000]))
    strange = torch.cat([scribbles(200, seed=9), digit_pairs(mnist.test_images, 200, seed=9)])
    strange = torch.cat([strange, load_letters(FONTS, held_out=True)[:400]])
    strange = kl_from_uniform(classifier.logits(strange))
    # Of all pairs of a digit and something else, where the digit has more: the area under the ROC.
    assert (digits[:, None] > strange[None]).mean() > 0.97


@pytest.mark.slow
def test_it_says_what_it_takes_for_something_else(trained, tmp_path, capsys):
    letters = load_letters(FONTS, held_out=True)
    strangest = kl_from_uniform(ImageClassifier(trained).logits(letters)).argmin()
    Image.fromarray(letters[strangest].numpy()).save(tmp_path / "letter.png")
    net, metadata = load_weights(trained)
    save_weights(tmp_path / "w.pth", net, **(metadata | {"least_evidence": 100.0}))
    flags = [tmp_path / "letter.png", "--weights", tmp_path / "w.pth", "--format", "json", "--reject"]
    flags = [str(flag) for flag in flags]
    assert main(flags) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["prediction"] is None
    assert value["reason"].startswith("not a digit: ")
    # Weights that have not learned it only say that they are unsure.
    del metadata["non_digits"]
    save_weights(tmp_path / "w.pth", net, **(metadata | {"least_evidence": 100.0, "reject_below": 0.0}))
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out)["reason"].startswith("unsure: evidence ")
    metadata |= {"least_evidence": 0.0, "reject_below": 0.999999}
    save_weights(tmp_path / "w.pth", net, **metadata)
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out)["reason"].endswith("sure, which is below 1.000")


def test_non_digits_need_the_cross_entropy(workdir, capsys):
    save_weights("t.pth", LeNet5())
    assert train(["--non-digits", "--teacher", "t.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "--non-digits needs the cross-entropy")
    assert train(["--non-digits", "--arch", "lenet5-1998"]) == 2
    assert_one_error_line(capsys.readouterr().err, "--non-digits needs the cross-entropy")
