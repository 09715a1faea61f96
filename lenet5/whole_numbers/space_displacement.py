"""The space displacement network (section VII of the paper) and its losses.

A convolutional network slides over a wide strip in one run and classifies each 32×32
window, two pixels apart. An eleventh class, "between", is for windows without a digit in
their middle. The loss is that of connectionist temporal classification (CTC; Graves et
al., 2006): it needs the number, not the digits' places.
`decoding.py` turns logits into numbers.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.data.sources import DIGITS
from lenet5.imaging.inputs import to_input
from lenet5.networks.definition import LeNet5Conv
from lenet5.networks.fast_forward import convolve_and_pool
from lenet5.whole_numbers.synthetic_numbers import NO_DIGIT, Strings

STRIDE = 2  # pixels from window to window
MULTIPLE = 4  # the network's input is as wide as a multiple of this
WINDOW = 32  # pixels
BETWEEN = "between"  # the eleventh class
CLASSES = [*DIGITS, BETWEEN]
BLANK = 10  # its index


def as_wide(net: nn.Module) -> LeNet5Conv:
    """A LeNet5Conv with a LeNet5's weights and an eleventh class, "between".

    C5's full connection to 16×5×5 becomes a 5×5 convolution. The new class begins with a
    constant logit.
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

    Padded by half a window: the first window's middle is the strip's first pixel.
    """
    half = WINDOW // 2
    rest = -pictures.shape[2] % MULTIPLE
    return to_input(pictures, mean, std, (half, half + rest, 0, 0))


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


def ctc_loss(answers: torch.Tensor, strings: Strings) -> torch.Tensor:
    """The CTC loss of N×T×11 logits for N numbers, per digit.

    Numbers that no path can spell, as their digits are too close, are left out.
    """
    labels = strings.labels
    is_digit = labels != NO_DIGIT
    lengths = is_digit.sum(dim=1)
    windows = (strings.widths // STRIDE + 1).clamp(max=answers.shape[1])
    scores = answers.log_softmax(dim=2).transpose(0, 1)
    loss = F.ctc_loss(
        scores, labels[is_digit], windows, lengths, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return loss / lengths.clamp(min=1).sum()


NO_TARGET = -100  # of a window without a loss: F.cross_entropy ignores it
OFF = 4  # pixels: a window farther from all digits' middles is "between"


def window_targets(strings: Strings, count: int) -> torch.Tensor:
    """The classes of `count` windows of each number, N×count; NO_TARGET for most.

    The window nearest to a digit's middle has that digit, those farther than `OFF` pixels
    from all digits "between". With the CTC loss alone, two windows may each leave a digit to
    the other.
    """
    is_digit = strings.labels != NO_DIGIT
    middles = strings.boxes[:, :, 0] + strings.boxes[:, :, 2] / 2
    middles = torch.where(is_digit, middles, -1e6)
    places = STRIDE * torch.arange(count)
    away = (places[None, :, None] - middles[:, None]).abs().min(dim=2).values
    targets = torch.where(away > OFF, BLANK, NO_TARGET)
    targets[places[None] > strings.widths[:, None]] = NO_TARGET
    nearest = (middles / STRIDE).round().long().clamp(0, count - 1)
    rows = torch.arange(len(targets))[:, None].expand_as(nearest)
    targets[rows[is_digit], nearest[is_digit]] = strings.labels[is_digit]
    return targets


def window_loss(answers: torch.Tensor, strings: Strings) -> torch.Tensor:
    """The cross-entropy of N×T×11 logits with `window_targets`, per digit."""
    targets = window_targets(strings, answers.shape[1])
    loss = F.cross_entropy(answers.flatten(0, 1), targets.flatten(), reduction="sum")
    return loss / (strings.labels != NO_DIGIT).sum().clamp(min=1)


JITTER = 2  # pixels that a window's middle may be off its digit's
BETWEEN_RATIO = 0.3  # windows between digits for each window of a digit


def windows_of(strings: Strings, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Single windows of the strips, M×32×32 uint8, and their classes, for pre-training.

    One for each digit, at most `JITTER` pixels off its middle; one for each non-digit
    ("between"); and some from farther than `OFF` pixels from all digits.
    """
    written = strings.boxes[:, :, 2] > 0
    rows, places = written.nonzero(as_tuple=True)
    middles = strings.middles()
    off = torch.randint(-JITTER, JITTER + 1, rows.shape, generator=generator)
    labels = strings.labels[rows, places]
    labels = torch.where(labels == NO_DIGIT, BLANK, labels)
    count = int(BETWEEN_RATIO * len(rows))
    others = torch.randint(len(strings.widths), (count,), generator=generator)
    somewhere = (torch.rand(count, generator=generator) * strings.widths[others]).long()
    away = torch.where(written, middles, -1000)[others] - somewhere[:, None]
    free = away.abs().min(dim=1).values > OFF
    others, somewhere = others[free], somewhere[free]
    half = WINDOW // 2
    every = F.pad(strings.pictures, (half, half)).unfold(2, WINDOW, 1)  # N×32×W×32
    places = torch.cat([middles[rows, places] + off, somewhere]).clamp(min=0)
    seen = every[torch.cat([rows, others]), :, places]
    return seen, F.pad(labels, (0, len(others)), value=BLANK)
