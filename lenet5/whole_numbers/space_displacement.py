"""The space displacement network (section VII of the paper) and its losses.

A convolutional network slides over a wide strip in one run and classifies each 32×32
window, two pixels apart. An eleventh class, "between", is for windows without a digit in
their middle. One loss is that of connectionist temporal classification (CTC; Graves et
al., 2006): it needs the number, not the digits' places. With it alone, two windows may each leave a
digit to the other, or both read it; so there is one of single windows as well.
`decoding.py` turns logits into numbers.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F

from lenet5.networks.definition import LeNet5Conv
from lenet5.networks.devices import pick_device
from lenet5.networks.fast_forward import convolve_and_pool
from lenet5.networks.finder import FinderNetwork
from lenet5.networks.weights import load_weights
from lenet5.runtime.distributed import own_device
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.windows import BLANK, CLASSES, STRIDE, strip_input, window_count

NO_TARGET = -100  # of a window without a loss: F.cross_entropy ignores it
OFF = 4  # pixels: a window farther from all digits' middles is "between"
HINT = "python -m lenet5.whole_numbers.train makes weights that do"


class TrainedNumbers:
    """The network of numbers of a weights file, with what it says of itself in `metadata`.

    Raises UserError for weights that cannot be used.
    """

    def __init__(self, path, arch: str | None = None, device: str = "auto"):
        self.path, self.device = os.fspath(path), own_device(pick_device(device))
        net, self.metadata = load_weights(path, arch)
        if not isinstance(net, LeNet5Conv) or len(self.metadata["classes"]) != len(CLASSES):
            raise UserError(f"{path} does not read whole numbers; {HINT}")
        self.net = net.to(self.device).eval()

    @torch.inference_mode()
    def logits(self, strips: np.ndarray) -> np.ndarray:
        """N×T×11 float32 logits of the windows of N×32×W uint8 strips."""
        inputs = strip_input(strips, self.metadata["mean"], self.metadata["std"])
        return row_of_answers(self.net, torch.from_numpy(inputs).to(self.device)).cpu().numpy()

    def load_finder(self) -> FinderNetwork:
        return FinderNetwork(device=self.device)


def row_of_answers(net: LeNet5Conv, inputs: torch.Tensor) -> torch.Tensor:
    """Logits of N×1×32×W inputs, N×T×classes: T windows, of which the t-th begins at pixel 2t.

    W is a multiple of 4. Two subsamplings would put windows four pixels apart. Here S4
    halves the height alone and C5 has a dilation of 2: the same sums as two runs two pixels
    apart, in 0.6 of the time.
    """
    x = F.relu(convolve_and_pool(net.c1, inputs))  # S2 N×6×14×W/2-2
    x = F.relu(F.max_pool2d(net.c3(x), 2, stride=(2, 1)))  # S4 N×16×5×W/2-7
    x = F.relu(F.conv2d(x, net.c5.weight, net.c5.bias, dilation=(1, 2)))  # C5 N×120×1×T
    x = F.relu(net.f6(x.squeeze(2).transpose(1, 2)))  # F6 N×T×84
    return net.output(x)


def ctc_loss(logits: torch.Tensor, widths: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
    """The CTC loss of N×T×11 logits of strips, per digit.

    N `widths` in pixels and N×D `digits`, -1 after a number's end. Numbers that no path can spell,
    as their digits are too close, are left out.
    """
    is_digit = digits >= 0
    lengths = is_digit.sum(dim=1)
    windows = window_count(widths)
    scores = logits.log_softmax(dim=2).transpose(0, 1)
    loss = F.ctc_loss(
        scores, digits[is_digit], windows, lengths, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return loss / lengths.sum().clamp(min=1)


def window_loss(
    logits: torch.Tensor, widths: torch.Tensor, digits: torch.Tensor, middles: torch.Tensor
) -> torch.Tensor:
    """The cross-entropy of N×T×11 logits of strips with `window_targets`, per digit."""
    targets = window_targets(logits.shape[1], widths, digits, middles)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    return loss / (digits >= 0).sum().clamp(min=1)


def window_targets(
    count: int, widths: torch.Tensor, digits: torch.Tensor, middles: torch.Tensor
) -> torch.Tensor:
    """The classes of `count` windows of each strip, N×count; NO_TARGET for some.

    The window nearest to a digit's middle has that digit, those farther than OFF pixels from the
    middles of all N×D `digits` are "between".
    """
    is_digit = digits >= 0
    places = STRIDE * torch.arange(count)
    away = (places[None, :, None] - middles.masked_fill(~is_digit, -(10**6))[:, None]).abs().amin(dim=2)
    targets = torch.where(away > OFF, BLANK, NO_TARGET)
    targets[torch.arange(count) >= window_count(widths)[:, None]] = NO_TARGET
    nearest = (middles / STRIDE).round().long().clamp(0, count - 1)
    rows = torch.arange(len(targets))[:, None].expand_as(nearest)
    targets[rows[is_digit], nearest[is_digit]] = digits[is_digit]
    return targets
