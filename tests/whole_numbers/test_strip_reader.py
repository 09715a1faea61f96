"""The two ways to read a strip: probabilities, answers and boxes, by hand and in batches."""

import numpy as np
import pytest
import torch

from benchmarks.made_up_numbers import PLAIN, make_strings
from lenet5.networks.weights import load_weights
from lenet5.whole_numbers import number_reader, strip_reader
from lenet5.whole_numbers.space_displacement import BLANK, STRIDE
from lenet5.whole_numbers.strip_reader import GraphReader, NetworkReader

ABOUT = {"mean": 0.0, "std": 1.0}  # of a network's weights


@pytest.fixture(scope="module")
def strips(mnist) -> list[np.ndarray]:
    images, labels = mnist.train_images[:500], mnist.train_labels[:500]
    return make_strings(images, labels, 12, 0, lengths=(1, 6), spacing=6, style=PLAIN).strips()


@pytest.fixture
def eight_or_three(monkeypatch) -> np.ndarray:
    """A strip with a bar, and a network with these logits where it is and "between" elsewhere."""
    strip = np.zeros((32, 40), np.uint8)
    strip[6:26, 16:20] = 255

    def row_of_answers(net, inputs):
        logits = torch.full((len(inputs), (inputs.shape[3] - 32) // STRIDE + 1, 11), -50.0)
        logits[:, :, BLANK] = 50.0
        logits[:, 9, [8, 3, BLANK]] = torch.tensor([4.0, 2.0, -50.0])
        return logits

    monkeypatch.setattr(strip_reader, "row_of_answers", row_of_answers)
    return strip


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_an_answer_by_hand(eight_or_three, temperature):
    reader = NetworkReader(None, {**ABOUT, "temperature": temperature}, choices=2)
    (reading,) = reader.read([eight_or_three])
    first, second = np.exp(4 / temperature), np.exp(2 / temperature)
    sure = first / (first + second)
    assert (reading.text, reading.windows) == ("8", [9])
    assert reading.boxes == [(16, 6, 4, 20)]
    assert (reading.confidence, *reading.confidences) == pytest.approx((sure, sure), abs=1e-6)
    assert [text for text, _ in reading.choices] == ["8", "3"]
    assert [share for _, share in reading.choices] == pytest.approx([sure, 1 - sure], abs=1e-6)
    assert reading.shares.shape == (40 // STRIDE + 1, 11)
    assert reading.shares[9, [8, 3]] == pytest.approx([sure, 1 - sure], abs=1e-6)


def test_choices_are_named_where_they_are_asked_for(eight_or_three):
    (reading,) = NetworkReader(None, ABOUT).read([eight_or_three])
    assert reading.choices == ()


def test_choices_are_probabilities_the_likeliest_first(strips):
    net, metadata = load_weights(number_reader.WEIGHTS)
    for reading in NetworkReader(net.eval(), metadata, choices=5).read(strips):
        texts, shares = zip(*reading.choices, strict=True)
        assert len(set(texts)) == len(texts) <= 5
        assert (texts[0], shares[0]) == (reading.text, reading.confidence)
        assert list(shares) == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-9


@pytest.mark.parametrize("kind", ["network", "graph"])
def test_readings_do_not_depend_on_the_batch(strips, kind):
    reader = number_reader.NumberReader(device="cpu", reader=kind).reader
    together = reader.read(strips)
    alone = [reader.read([strip])[0] for strip in strips]
    assert [a.shares.shape for a in together] == [b.shares.shape for b in alone]
    assert [reading.text for reading in together] == [reading.text for reading in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.confidence == pytest.approx(b.confidence, abs=1e-3)
        assert a.boxes == b.boxes
        assert len(a.digits) == len(a.boxes) == len(a.confidences) == len(a.windows)


def test_the_graph_reads_by_hand():
    """Two bars: the left one a 1 that is 3 times as likely as a 7, the right one surely a 4."""
    strip = np.zeros((32, 60), np.uint8)
    strip[6:26, 8:11] = strip[6:26, 40:46] = 255

    def classify(pictures):
        logits = torch.full((len(pictures), 10), -100.0)
        narrow = (pictures[:, 14] > 0).sum(dim=1) < 6
        logits[narrow, 1], logits[narrow, 7] = np.log(3.0), 0.0
        logits[~narrow, 4] = 0.0
        return logits

    first, nothing = GraphReader(classify).read([strip, np.zeros((32, 20), np.uint8)])
    assert (first.text, first.boxes) == ("14", [(8, 6, 3, 20), (40, 6, 6, 20)])
    assert first.windows == [9 // STRIDE, 43 // STRIDE]
    assert first.confidences == pytest.approx([0.75, 1.0], abs=1e-6)
    assert first.confidence == pytest.approx(0.75, abs=1e-6)
    assert first.shares.shape == (0, 11)
    assert (nothing.digits, nothing.boxes) == ([], [])
