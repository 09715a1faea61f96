"""The grids of pictures: what is shown, in which order, with which words."""

import warnings

import pytest
import torch

import plots
from evaluate import Evaluation
from model import LeNet5, LeNetGAP
from preprocess import to_input


@pytest.fixture
def shown(monkeypatch):
    """What picture_grid is asked to draw."""
    calls = []
    monkeypatch.setattr(plots, "picture_grid", lambda *arguments: calls.append(arguments))
    return calls


@pytest.fixture
def images():
    return torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8)


def result():
    # Read as 1, 0, 2, 2; the second and the fourth are wrong, the fourth more confidently.
    logits = torch.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 9.0]])
    return Evaluation(0.5, 0.5, logits, torch.tensor([1, 2, 2, 0]))


@pytest.mark.parametrize("network", [LeNet5, LeNetGAP])
def test_a_batch_is_denormalised_and_labelled(shown, images, network):
    inputs = to_input(images, network.mean, network.std)
    plots.batch_grid(inputs, torch.tensor([1, 2, 2, 0]), "x.png", network.mean, network.std)
    pictures, titles, _, path = shown[0]
    torch.testing.assert_close(pictures[:, 2:-2, 2:-2], images.float(), rtol=0, atol=1e-3)
    assert titles == ["1", "2", "2", "0"]
    assert path == "x.png"


def test_a_batch_with_predictions_says_what_is_wrong(shown, images):
    inputs = to_input(images, 0.5, 0.5)
    labels, predictions = torch.tensor([1, 2, 2, 0]), torch.tensor([1, 0, 2, 2])
    plots.batch_grid(inputs, labels, "x.png", 0.5, 0.5, predictions)
    _, titles, colours, _ = shown[0]
    assert titles == ["1", "0, is 2", "2", "2, is 0"]
    assert [colour == plots.RED for colour in colours] == [False, True, False, True]


def test_predictions_show_confident_mistakes_first(shown, images):
    inputs = to_input(images, 0.5, 0.5)
    plots.prediction_grid(inputs, result(), "x.png", 0.5, 0.5)
    pictures, titles, _, _, heading = shown[0]
    # Confidences: e^9/(e^9+2), e/(e+2), e^4/(e^4+2), e/(e+2).
    assert titles == ["2 (100%), is 0", "0 (58%), is 2", "1 (96%)", "2 (58%)"]
    torch.testing.assert_close(pictures[:, 2:-2, 2:-2], images[[3, 1, 0, 2]].float(), rtol=0, atol=1e-3)
    assert heading == "2 of 4 wrong"


def test_predictions_can_show_mistakes_only_and_a_few(shown, images):
    inputs = to_input(images, 0.5, 0.5)
    plots.prediction_grid(inputs, result(), "x.png", 0.5, 0.5, only_wrong=True)
    assert len(shown[0][1]) == 2
    plots.prediction_grid(inputs, result(), "x.png", 0.5, 0.5, limit=1)
    assert shown[1][1] == ["2 (100%), is 0"]


def test_no_mistakes_is_a_picture_too(images, tmp_path):
    logits = torch.eye(4)[:, :3] + torch.tensor([0.0, 0.0, 0.1])
    right = Evaluation(0.5, 1.0, logits, logits.argmax(1))
    path = tmp_path / "x.png"
    plots.prediction_grid(to_input(images, 0.5, 0.5), right, path, 0.5, 0.5, only_wrong=True)
    assert path.stat().st_size > 0


def test_names_that_the_font_lacks_are_no_warning(images, tmp_path):
    titles = ["😀", "a\nb", "\udcff", "$x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.picture_grid(images.numpy(), titles, [plots.GREY] * 4, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
