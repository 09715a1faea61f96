"""A network that reads a whole number at once: the space displacement network, and its decoder.

Section VII of the paper: the network is run over every place of a wide picture. As
its layers are convolutions, what neighbouring places share is worked out once, and
one run over the whole strip gives a row of answers: one for each 32×32 window, four
pixels apart. Besides the ten digits it knows a class "between", for windows in whose
middle there is no digit. It learns where to answer by itself: the loss is that of
connectionist temporal classification (Graves et al., 2006), the sum over all rows of
answers that spell the number.

    strip_input     strips to the network's input
    row_of_answers  one run over whole strips
    ctc_loss        what the network is trained to make small
    best_path       the likeliest row of answers, spelled: digits, where, how sure
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from model import LeNet5Conv
from preprocess import to_input

STRIDE = 4  # pixels from window to window: two subsamplings by two
WINDOW = 32  # pixels
BETWEEN = "between"  # the eleventh class
CLASSES = [*"0123456789", BETWEEN]
BLANK = 10  # its index


def as_wide(net: nn.Module) -> LeNet5Conv:
    """A LeNet5's function as that of a LeNet5Conv, with the class "between" beside its ten.

    C5 as a full connection reads 16×5×5 numbers, as its convolution's kernel does. At
    first the new class has the same logit everywhere, which a digit's exceeds.
    """
    wide = LeNet5Conv(len(CLASSES))
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["c5.weight"] = state["c5.weight"].reshape(120, 16, 5, 5)
    state["output.weight"] = F.pad(state["output.weight"], (0, 0, 0, 1))
    state["output.bias"] = F.pad(state["output.bias"], (0, 1), value=4.0)
    wide.load_state_dict(state)
    return wide


def strip_input(pictures: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """N×32×W uint8 strips as N×1×32×(W' + 32) floats, W' the next multiple of 4.

    Half a window of paper at either end, so that the first window's middle is the
    strip's first pixel.
    """
    half = WINDOW // 2
    rest = -pictures.shape[2] % STRIDE
    return to_input(pictures, mean, std, (half, half + rest, 0, 0))


def row_of_answers(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Logits of N×1×32×W inputs, N×T×classes: T windows, of which the t-th begins at pixel 4t."""
    answers = net(inputs)
    if answers.dim() == 2:  # a single window
        return answers[:, None]
    return answers.squeeze(2).transpose(1, 2)


def ctc_loss(answers: torch.Tensor, widths: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of N×T×11 logits for N strips of these widths in pixels, for each digit of them.

    `labels` are N×L, negative where there is no digit. Numbers whose digits are so
    close that no row of answers spells them are left out.
    """
    is_digit = labels >= 0
    lengths = is_digit.sum(dim=1)
    windows = (widths // STRIDE + 1).clamp(max=answers.shape[1])
    scores = answers.log_softmax(dim=2).transpose(0, 1)
    loss = F.ctc_loss(
        scores, labels[is_digit], windows, lengths, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return loss / lengths.clamp(min=1).sum()


class Path(NamedTuple):
    """A number as a row of answers spells it."""

    digits: list[int]
    windows: list[int]  # for each digit the window that is surest of it
    confidences: list[float]  # for each digit, 0 to 1
    confidence: float  # of the whole number: that of the least sure digit and no other in between

    @property
    def text(self) -> str:
        return "".join(map(str, self.digits))


def best_path(answers: torch.Tensor) -> list[Path]:
    """The likeliest class of each window in N×T×11 logits, with repeats and "between" left out."""
    shares = answers.softmax(dim=2).cpu().numpy()
    return [spelled(rows) for rows in shares]


def spelled(shares: np.ndarray) -> Path:
    """The likeliest class of each window in T×11 probabilities, spelled."""
    best = shares.argmax(axis=1)
    begins = np.flatnonzero(np.diff(best, prepend=-1) != 0)
    ends = np.append(begins[1:], len(best))
    digits, windows, confidences, rest = [], [], [], 1.0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        digit = int(best[begin])
        own = shares[begin:end, digit]
        if digit == BLANK:
            rest = min(rest, float(own.min()))
            continue
        digits.append(digit)
        windows.append(begin + int(own.argmax()))
        confidences.append(float(own.max()))
    return Path(digits, windows, confidences, min([rest, *confidences]))
