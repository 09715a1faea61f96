"""A network that reads a whole number at once: the space displacement network, and what it learns.

Section VII of the paper: the network is run over every place of a wide picture. As
its layers are convolutions, what neighbouring places share is worked out once, and
one run over the whole strip gives a row of answers: one for each 32×32 window, two pixels
apart. Besides the ten digits the network knows a class "between", for windows in whose
middle there is no digit. It learns where to answer by itself: the loss is that of
connectionist temporal classification (Graves et al., 2006), the sum over all rows of
answers that spell the number.

    strip_input     strips to the network's input
    row_of_answers  one run over whole strips
    ctc_loss        what the network is trained to make small
    window_loss     what single windows should answer, so that no digit is left to another window
    windows_of      single windows with what they should answer, by which the network learns first

`decoding.py` spells the answers.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.imaging.inputs import to_input
from lenet5.networks.definition import LeNet5Conv
from lenet5.networks.fast_convolution import convolve_and_pool
from lenet5.whole_numbers.synthetic_numbers import NO_DIGIT, Strings

STRIDE = 2  # pixels from window to window
MULTIPLE = 4  # the network's input is as wide as a multiple of this
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
    rest = -pictures.shape[2] % MULTIPLE
    return to_input(pictures, mean, std, (half, half + rest, 0, 0))


def row_of_answers(net: LeNet5Conv, inputs: torch.Tensor) -> torch.Tensor:
    """Logits of N×1×32×W inputs, N×T×classes: T windows, of which the t-th begins at pixel 2t.

    W is a multiple of 4. The network's own two subsamplings put its windows four pixels
    apart. Here the second one, S4, halves the height alone and keeps every column, and C5's
    kernel reads every other one (a dilation of 2): the same sums as in a second run over
    the strip that begins two pixels later, in 0.6 of the time of two runs.
    """
    x = F.relu(convolve_and_pool(net.c1, inputs))  # S2 N×6×14×W/2-2
    x = F.relu(F.max_pool2d(net.c3(x), 2, stride=(2, 1)))  # S4 N×16×5×W/2-7
    x = F.relu(F.conv2d(x, net.c5.weight, net.c5.bias, dilation=(1, 2)))  # C5 N×120×1×T
    x = F.relu(net.f6(x.squeeze(2).transpose(1, 2)))  # F6 N×T×84
    return net.output(x)


def ctc_loss(answers: torch.Tensor, strings: Strings) -> torch.Tensor:
    """The loss of N×T×11 logits for N numbers, for each digit of them.

    Numbers whose digits are so close that no row of answers spells them are left out.
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


IGNORE_INDEX = -100  # of a window: it may answer what it likes
OFF = 4  # pixels: a window's middle farther from all digits' is between them


def window_targets(strings: Strings, count: int) -> torch.Tensor:
    """What `count` windows of each number should answer, N×count; most may answer what they like.

    The one nearest to the middle of a digit's ink has that digit, those farther than
    `OFF` pixels from all of them nothing. Without that, the loss alone lets a digit be
    answered by one of two windows, each of which is as likely to leave it to the other.
    """
    is_digit = strings.labels != NO_DIGIT
    middles = strings.boxes[:, :, 0] + strings.boxes[:, :, 2] / 2
    middles = torch.where(is_digit, middles, -1e6)
    places = STRIDE * torch.arange(count)
    away = (places[None, :, None] - middles[:, None]).abs().min(dim=2).values
    targets = torch.where(away > OFF, BLANK, IGNORE_INDEX)
    targets[places[None] > strings.widths[:, None]] = IGNORE_INDEX
    nearest = (middles / STRIDE).round().long().clamp(0, count - 1)
    rows = torch.arange(len(targets))[:, None].expand_as(nearest)
    targets[rows[is_digit], nearest[is_digit]] = strings.labels[is_digit]
    return targets


def window_loss(answers: torch.Tensor, strings: Strings) -> torch.Tensor:
    """The cross-entropy of N×T×11 logits with `window_targets`, for each digit."""
    targets = window_targets(strings, answers.shape[1])
    loss = F.cross_entropy(answers.flatten(0, 1), targets.flatten(), reduction="sum")
    return loss / (strings.labels != NO_DIGIT).sum().clamp(min=1)


JITTER = 2  # pixels that a window's middle may be off its digit's
BESIDES = 0.3  # of windows between digits, for each of a digit


def windows_of(strings: Strings, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Single windows, M×32×32 uint8, and the class of each: what a run over the strips would see.

    One for each digit, its middle at most `JITTER` pixels off; one for each sign that is
    no digit, whose class is "between"; and some from anywhere farther than `OFF` pixels
    from all digits. To learn from whole strips is to go over much paper, and to find out
    where each digit is said: a network that knows them by their windows begins far ahead.
    """
    written = strings.boxes[:, :, 2] > 0
    rows, places = written.nonzero(as_tuple=True)
    middles = strings.middles()
    off = torch.randint(-JITTER, JITTER + 1, rows.shape, generator=generator)
    labels = strings.labels[rows, places]
    labels = torch.where(labels == NO_DIGIT, BLANK, labels)
    count = int(BESIDES * len(rows))
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
