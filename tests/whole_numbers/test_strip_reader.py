"""The two ways to read a strip: probabilities, answers and boxes, by hand and in batches."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.made_up_numbers import PLAIN, make_strings
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers import number_reader
from lenet5.whole_numbers.space_displacement import TrainedNumbers
from lenet5.whole_numbers.strip_reader import GraphReader, NetworkReader
from lenet5.whole_numbers.windows import BLANK, STRIDE


@pytest.fixture(scope="module")
def strips(mnist) -> list[np.ndarray]:
    images, labels = mnist.train_images[:500], mnist.train_labels[:500]
    return make_strings(images, labels, 12, 0, lengths=(1, 6), spacing=6, style=PLAIN).strips()


@pytest.fixture
def strip() -> np.ndarray:
    """With a bar, of which `eight_or_three` knows."""
    strip = np.zeros((32, 40), np.uint8)
    strip[6:26, 16:20] = 255
    return strip


def eight_or_three(**metadata) -> SimpleNamespace:
    """A network with these logits in the tenth window and "between" elsewhere."""

    def logits(strips):
        found = np.full((len(strips), strips.shape[2] // STRIDE + 1, 11), -50.0, np.float32)
        found[:, :, BLANK] = 50.0
        found[:, 9, [8, 3, BLANK]] = 4.0, 2.0, -50.0
        return found

    return SimpleNamespace(logits=logits, metadata=metadata)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_an_answer_by_hand(strip, temperature):
    (reading,) = NetworkReader(eight_or_three(temperature=temperature), choices=2).read([strip])
    first, second = np.exp(4 / temperature), np.exp(2 / temperature)
    sure = first / (first + second)
    assert (reading.text, reading.windows) == ("8", [9])
    assert reading.boxes == [(16, 6, 4, 20)]
    assert (reading.confidence, *reading.confidences) == pytest.approx((sure, sure), abs=1e-6)
    assert [text for text, _ in reading.choices] == ["8", "3"]
    assert [share for _, share in reading.choices] == pytest.approx([sure, 1 - sure], abs=1e-6)
    assert reading.shares.shape == (40 // STRIDE + 1, 11)
    assert reading.shares[9, [8, 3]] == pytest.approx([sure, 1 - sure], abs=1e-6)


def test_choices_are_named_where_they_are_asked_for(strip):
    (reading,) = NetworkReader(eight_or_three()).read([strip])
    assert reading.choices == ()


def test_logits_that_are_not_finite_are_an_error(strip):
    network = eight_or_three()
    nowhere = SimpleNamespace(logits=lambda strips: np.nan * network.logits(strips), metadata={})
    with pytest.raises(UserError, match="not finite"):
        NetworkReader(nowhere).read([strip])


def test_choices_are_probabilities_the_likeliest_first(strips):
    network = TrainedNumbers(number_reader.WEIGHTS, device="cpu")
    for reading in NetworkReader(network, choices=5).read(strips):
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
        logits = np.full((len(pictures), 10), -100.0)
        narrow = (pictures[:, 14] > 0).sum(axis=1) < 6
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
