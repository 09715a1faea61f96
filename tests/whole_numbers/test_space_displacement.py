"""The space displacement network: one run over a strip beside one run for each window."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lenet5.imaging.inputs import to_input
from lenet5.whole_numbers.space_displacement import (
    BLANK,
    CLASSES,
    JITTER,
    NO_TARGET,
    OFF,
    STRIDE,
    WINDOW,
    as_wide,
    ctc_loss,
    row_of_answers,
    strip_input,
    window_loss,
    window_targets,
    windows_of,
)
from lenet5.whole_numbers.synthetic_numbers import MOST_DIGITS, NO_DIGIT, Strings, make_strings
from model import LeNet5Conv


@pytest.fixture(scope="module")
def strings(mnist):
    return make_strings(mnist.train_images[:500], mnist.train_labels[:500], 4, 0, lengths=(2, 5))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return LeNet5Conv(len(CLASSES)).eval()


@torch.inference_mode()
def test_one_run_over_the_strip_is_the_same_as_window_by_window(net, strings):
    inputs = strip_input(strings.pictures, net.mean, net.std)
    answers = row_of_answers(net, inputs)
    windows = (inputs.shape[3] - WINDOW) // STRIDE + 1
    assert answers.shape == (4, windows, 11)
    for t in range(windows):
        alone = net(inputs[..., STRIDE * t : STRIDE * t + WINDOW])
        # Float32 sums in another order.
        torch.testing.assert_close(answers[:, t], alone, rtol=1e-4, atol=1e-4)


def test_the_middle_of_the_first_window_is_the_first_pixel(net):
    strip = torch.zeros(1, 32, 5, dtype=torch.uint8)
    strip[0, :, 0] = 255
    inputs = strip_input(strip, 0.0, 1.0)
    assert inputs.shape == (1, 1, 32, 8 + WINDOW)
    assert inputs[0, 0, 0].nonzero().flatten().tolist() == [WINDOW // 2]


@torch.inference_mode()
def test_lenet5_made_wide_reads_digits_as_before(mnist, pretrained):
    net, metadata = pretrained
    wide = as_wide(net).eval()
    inputs = to_input(mnist.train_images[:100], metadata["mean"], metadata["std"])
    torch.testing.assert_close(wide(inputs)[:, :10], net(inputs), rtol=1e-4, atol=1e-3)
    assert (wide(inputs)[:, BLANK] == 4.0).all()


def one_number(text: str, width: int) -> Strings:
    """A number of which only labels, width and boxes count: digits 6 pixels wide, 20 apart."""
    labels = torch.full((1, MOST_DIGITS), NO_DIGIT)
    boxes = torch.zeros(1, MOST_DIGITS, 4, dtype=torch.int64)
    for i, digit in enumerate(text):
        labels[0, i] = int(digit)
        boxes[0, i] = torch.tensor([5 + 26 * i, 4, 6, 20])
    picture = torch.zeros(1, 32, width, dtype=torch.uint8)
    return Strings(picture, torch.tensor([width]), labels, boxes)


@pytest.mark.parametrize("text", ["7", "33", "12"])
def test_ctc_loss_is_that_of_all_rows_that_spell_the_number(text):
    answers = torch.randn(1, 4, 11, generator=torch.Generator().manual_seed(1))
    shares = answers.softmax(dim=2)[0].double().numpy()
    probability = 0.0
    for row in itertools.product(range(11), repeat=4):
        spelled = [c for c, before in zip(row, (BLANK, *row), strict=False) if c not in (before, BLANK)]
        if spelled == [int(c) for c in text]:
            probability += np.prod(shares[range(4), row])
    loss = ctc_loss(answers, one_number(text, STRIDE * 3))
    assert loss.item() == pytest.approx(-np.log(probability) / len(text), rel=1e-4)


def test_a_number_that_no_row_can_spell_is_left_out():
    assert ctc_loss(torch.randn(1, 2, 11), one_number("33", 4)).item() == 0


def test_windows_near_a_digit_say_it_and_those_far_from_all_say_nothing():
    # Middles of the ink at 8 and 34: windows 4 and 17 are nearest. The last one is after the end.
    number, middles = one_number("47", 48), np.arange(0, 52, STRIDE)
    targets = window_targets(number, 26)[0]
    for target, wanted in ((4, [8]), (7, [34]), (NO_TARGET, [4, 6, 10, 12, 30, 32, 36, 38, 50])):
        assert middles[targets == target].tolist() == wanted
    assert set(targets.tolist()) == {4, 7, NO_TARGET, BLANK}
    answers, asked = torch.randn(1, 26, 11), targets != NO_TARGET
    by_hand = F.cross_entropy(answers[0, asked], targets[asked], reduction="sum") / 2  # two digits
    assert window_loss(answers, number).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_single_windows_are_those_that_a_run_sees(mnist):
    made = make_strings(mnist.train_images[:500], mnist.train_labels[:500], 40, 0, lengths=(1, 4))
    made.pictures[:, 0] = 200  # so that no two windows are alike by chance
    pictures, labels = windows_of(made, torch.Generator().manual_seed(0))
    assert pictures.shape[1:] == (WINDOW, WINDOW)
    every = strip_input(made.pictures, 0.0, 1 / 255).squeeze(1)
    boxes, count = made.boxes, int((made.labels != NO_DIGIT).sum())
    middles = boxes[:, :, 0] + boxes[:, :, 2] // 2
    numbers, places = (made.labels != NO_DIGIT).nonzero(as_tuple=True)
    for window, label, n, k in zip(pictures, labels, numbers, places, strict=False):
        assert label == made.labels[n, k]
        near = range(int(middles[n, k]) - JITTER, int(middles[n, k]) + JITTER + 1)
        assert any(torch.equal(every[n, :, m : m + WINDOW], window.float()) for m in near)
    assert (labels[count:] == BLANK).all()
    assert 0 < len(labels) - count < count


def test_windows_of_what_is_no_digit_say_so(mnist):
    strange = torch.full((5, 28, 28), 255, dtype=torch.uint8)
    made = make_strings(
        mnist.train_images[:50], mnist.train_labels[:50], 200, 0, lengths=(2, 2), strange=strange
    )
    alone = (made.labels == NO_DIGIT).all(dim=1)
    assert alone.any()
    only = Strings(*(part[alone] for part in made))
    pictures, labels = windows_of(only, torch.Generator().manual_seed(0))
    assert len(pictures) >= 2 * len(only.widths)
    assert (labels == BLANK).all()


def test_windows_between_digits_are_far_from_all_of_them():
    number = one_number("47", 48)
    number.pictures[0, 0] = torch.arange(48)  # tells where a window is from
    middles = torch.tensor([8, 34])
    for seed in range(50):
        pictures, labels = windows_of(number, torch.Generator().manual_seed(seed))
        row = pictures[:, 0, :].long()
        first = row.argmax(dim=1)
        at = row[torch.arange(len(row)), first] - first + WINDOW // 2  # the middle's pixel
        away = (at[:, None] - middles).abs().min(dim=1).values
        assert (away[labels != BLANK] <= JITTER).all()
        assert (away[labels == BLANK] > OFF).all()
