"""The space displacement network: one run over a strip beside one run for each window."""

import itertools

import numpy as np
import pytest
import torch

from benchmarks.made_up_numbers import make_strings
from lenet5.whole_numbers.space_displacement import (
    NO_TARGET,
    ctc_loss,
    row_of_answers,
    window_loss,
    window_targets,
)
from lenet5.whole_numbers.windows import BLANK, CLASSES, STRIDE, WINDOW, strip_input
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
    inputs = torch.from_numpy(strip_input(strings.pictures.numpy(), net.mean, net.std))
    answers = row_of_answers(net, inputs)
    windows = (inputs.shape[3] - WINDOW) // STRIDE + 1
    assert answers.shape == (4, windows, 11)
    for t in range(windows):
        alone = net(inputs[..., STRIDE * t : STRIDE * t + WINDOW])
        # Float32 sums in another order.
        torch.testing.assert_close(answers[:, t], alone, rtol=1e-4, atol=1e-4)


def test_the_middle_of_the_first_window_is_the_first_pixel(net):
    strip = np.zeros((1, 32, 5), np.uint8)
    strip[0, :, 0] = 255
    inputs = strip_input(strip, 0.0, 1.0)
    assert inputs.shape == (1, 1, 32, 8 + WINDOW)
    assert np.flatnonzero(inputs[0, 0, 0]).tolist() == [WINDOW // 2]


def probability_by_hand(shares: np.ndarray, digits: list[int]) -> float:
    """The sum over all paths through T×11 probabilities that spell these digits."""
    found = 0.0
    for path in itertools.product({*digits, BLANK}, repeat=len(shares)):
        pairs = zip(path, (BLANK, *path), strict=False)
        spelled = [digit for digit, before in pairs if digit not in (before, BLANK)]
        if spelled == digits:
            found += float(np.prod(shares[range(len(shares)), path]))
    return found


def test_ctc_loss_is_that_of_all_paths_that_spell_the_numbers():
    """Per digit of all strips together; of a narrower strip the first windows count alone."""
    texts, widths = ["7", "33", "12", "", "9"], torch.tensor([6, 7, 6, 6, 2])
    logits = torch.randn(5, 4, 11, generator=torch.Generator().manual_seed(1))
    digits = torch.full((5, 3), -1)
    for row, text in zip(digits, texts, strict=True):
        row[: len(text)] = torch.tensor([int(c) for c in text])
    wanted = 0.0
    for own, text, windows in zip(logits, texts, [4, 4, 4, 4, 2], strict=True):
        shares = own[:windows].softmax(dim=1).double().numpy()
        wanted -= np.log(probability_by_hand(shares, [int(c) for c in text]))
    assert ctc_loss(logits, widths, digits).item() == pytest.approx(wanted / 6, rel=1e-4)


def test_a_number_that_no_path_can_spell_is_left_out():
    logits = torch.randn(1, 2, 11, requires_grad=True)
    loss = ctc_loss(logits, torch.tensor([2]), torch.tensor([[3, 3]]))
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()


def test_what_a_window_is_to_see():
    """A 7 in pixel 9 of a strip of 30, windows two pixels apart; no digit in one of 8."""
    digits, middles = torch.tensor([[7, -1], [-1, -1]]), torch.tensor([[9, -1], [-1, -1]])
    targets = window_targets(18, torch.tensor([30, 8]), digits, middles)
    off, none = NO_TARGET, BLANK
    # Windows 0 to 15 have their middles in pixels 0 to 30; those of 6, 8, 10 and 12 see most of the 7.
    assert targets[0].tolist() == [none] * 3 + [off, 7, off, off] + [none] * 9 + [off] * 2
    assert targets[1].tolist() == [none] * 5 + [off] * 13


def test_loss_of_windows_by_hand():
    digits, middles = torch.tensor([[7]]), torch.tensor([[4]])
    logits = torch.randn(1, 6, 11, generator=torch.Generator().manual_seed(2))
    shares = logits.softmax(dim=2)[0]
    wanted = -shares[2, 7].log() - shares[5, BLANK].log()  # of pixels 0 to 8 one is told, and pixel 10
    loss = window_loss(logits, torch.tensor([10]), digits, middles)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
