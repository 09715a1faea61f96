"""What holds for any digit, batch, weights and labels, tried on what hypothesis comes up with."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lenet5.data.datasets import split
from lenet5.imaging.centring import bounding_box
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime.errors import UserError
from model import build
from tests.conftest import PRETRAINED
from tests.imaging.drawings import centred

QUIETLY = [HealthCheck.function_scoped_fixture]
indices, places = st.integers(0, 199), st.integers(0, 60)


@pytest.fixture(scope="module")
def digits(mnist):
    return mnist.test_images[:200].numpy()


@pytest.fixture(scope="module")
def classifier():
    return ImageClassifier(PRETRAINED, device="cpu")


def on_paper(digit: np.ndarray, scale: int, left: int, top: int, dark: bool) -> np.ndarray:
    """A 28×28 digit at `scale` times its size somewhere on a sheet, in dark or bright ink."""
    sheet = np.zeros((28 * scale + 60, 28 * scale + 60), np.uint8)
    drawn = np.asarray(Image.fromarray(digit).resize((28 * scale,) * 2, Image.Resampling.BICUBIC))
    sheet[top : top + 28 * scale, left : left + 28 * scale] = drawn
    return 255 - sheet if dark else sheet


MOVES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def likeness(picture: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two pictures, moved by the pixel by which rounding may have moved them."""
    moved = (np.roll(other, move, (0, 1)) for move in MOVES)
    return max(np.corrcoef(picture.ravel(), candidate.ravel())[0, 1] for candidate in moved)


@given(n=indices, scale=st.integers(2, 8), left=places, top=places, dark=st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=QUIETLY)
def test_place_size_and_polarity_do_not_matter(digits, n, scale, left, top, dark):
    reference = centred(on_paper(digits[n], scale, 30, 30, False))
    moved = centred(on_paper(digits[n], scale, left, top, dark))
    # Not 1: the box may have a pixel more or less where a stroke's end is faint, and an edge may
    # fall between two pixels of what the finder sees. The least of 1,400 was 0.875.
    assert likeness(reference, moved) > 0.85
    boxes = [bounding_box(picture.astype(np.float32)) for picture in (digits[n], reference)]
    assert np.abs(np.subtract(*boxes)).max() <= 2
    # The edges of an enlarged digit are softer; of a one-pixel stroke there is little else.
    assert likeness(digits[n], reference) > 0.8


@given(chosen=st.lists(indices, min_size=1, max_size=8))
@settings(max_examples=12, deadline=None, suppress_health_check=QUIETLY)
def test_a_batch_and_its_pictures_one_by_one_agree(classifier, digits, chosen):
    # Those at even places need no finder, the others do, in two shapes.
    sheets = [digits[n] if n % 2 == 0 else on_paper(digits[n], 3, n % 60, 20, True) for n in chosen]
    sheets = [sheet[:100] if n % 4 == 3 else sheet for n, sheet in zip(chosen, sheets, strict=True)]
    together = classifier.predict_batch(sheets)
    alone = [classifier.predict_batch([sheet])[0] for sheet in sheets]
    assert [a.prediction for a in together] == [a.prediction for a in alone]
    for a, b in zip(together, alone, strict=True):
        # float32 sums in another order
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-5)


words = st.text("abcdefgh é中\n", min_size=5, max_size=9)  # no key of ours
values = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False), words, st.booleans())


@given(
    name=st.sampled_from(list(NETWORKS)),
    seed=st.integers(0, 2**32),
    accuracy=st.floats(0, 1),
    notes=st.dictionaries(words, st.one_of(values, st.lists(values, max_size=3)), max_size=3),
)
@settings(max_examples=25, deadline=None, suppress_health_check=QUIETLY)
def test_weights_and_what_they_say_come_back_to_the_bit(tmp_path, name, seed, accuracy, notes):
    torch.manual_seed(seed)
    net = build(name)
    save_weights(tmp_path / "w.pth", net, **{**notes, "test_accuracy": accuracy})
    loaded, metadata = load_weights(tmp_path / "w.pth")
    assert type(loaded) is type(net)
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[key])
    assert metadata["arch"] == name
    assert {key: metadata[key] for key in notes} == notes
    assert metadata["test_accuracy"] == accuracy


@given(
    labels=st.lists(st.integers(0, 9), min_size=2, max_size=300),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=200, deadline=None)
def test_a_split_is_disjoint_whole_stratified_and_of_the_size_asked_for(labels, share, seed):
    labels = torch.tensor(labels)
    size = int(share * len(labels))
    if size == len(labels):
        with pytest.raises(UserError, match="cannot hold out"):
            split(labels, size, seed)
        return
    train, held = split(labels, size, seed)
    assert len(held) == size
    assert sorted(train.tolist() + held.tolist()) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist())
    for label in labels.unique():
        wanted = (labels == label).sum().item() * size / len(labels)
        assert abs((labels[held] == label).sum().item() - wanted) < 1  # to the nearest image
    again = split(labels, size, seed)
    assert torch.equal(held, again[1])
