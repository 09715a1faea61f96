"""Train the network that reads whole numbers.

    $ python -m lenet5.whole_numbers.train --epochs 140
    epoch 1  train_loss 0.89411  apart 0.9275  touching 0.775  overlapping 0.34  seconds 99.438
    ...
    epoch 20  train_loss 0.13833  apart 0.95  touching 0.9425  overlapping 0.8325  seconds 50.464
    epoch 21  train_loss 0.52023  apart 0.8175  touching 0.7175  overlapping 0.3775  seconds 34.222
    ...
    epoch 160  train_loss 0.22333  apart 0.94  touching 0.9225  overlapping 0.7225  seconds 25.463

On a core of an AMD EPYC, beside other work, with Python 3.11.7 and torch 2.15.0; seed 0, one
run. The first 20 epochs train on single windows, the others on whole numbers. The loss is
of a window, then of a digit. What follows are the shares of 400 held-out five-digit numbers,
with digits 8 pixels apart, side by side, and overlapping by 4, of which all digits are read:
at first at known places, then by best-path decoding.

Every epoch makes new numbers from MNIST's training images and digits in fonts, and some of
letters and scribbles, in which there is nothing to read (`synthetic_numbers.py`). The network
starts from the weights for single digits. After every epoch a row is added to metrics.csv in
the run's folder; the same command resumes an interrupted run. Test images are evaluated
once, at the end, as single digits, and choose nothing.
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from lenet5.data.datasets import load_mnist, split
from lenet5.data.fonts import load_font_digits, load_letters
from lenet5.data.non_digits import scribbles
from lenet5.evaluation.metrics import evaluate
from lenet5.imaging.inputs import to_input
from lenet5.networks.definition import LeNet5, LeNet5Conv
from lenet5.networks.fast_forward import forward
from lenet5.networks.weights import load_weights, save_weights
from lenet5.runtime.atomic_files import check_writable, make_folder, write_file
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError
from lenet5.runtime.project_files import project_file
from lenet5.runtime.signals import end_quietly
from lenet5.training.checkpoint import read_checkpoint, write_checkpoint
from lenet5.training.ema import EMA
from lenet5.training.optimizers import make_optimizer, set_rate
from lenet5.training.run_folder import csv_text
from lenet5.training.schedules import one_cycle
from lenet5.whole_numbers.decoding import best_path
from lenet5.whole_numbers.space_displacement import (
    BLANK,
    CLASSES,
    STRIDE,
    as_wide,
    ctc_loss,
    row_of_answers,
    strip_input,
    window_loss,
    windows_of,
)
from lenet5.whole_numbers.synthetic_numbers import NO_DIGIT, TRAINING, Strings, make_strings

if __name__ == "__main__":
    end_quietly()  # on Ctrl-C, until main() looks after it: the imports take a second
FONTS = project_file("fonts/digits.npz")
FONTS_TIMES = 3  # how often the pool has each digit of a font
SCRIBBLES = 2000
CHUNK = 1000  # numbers made at a time
WINDOWS_WEIGHT = 0.5  # of the loss of single windows, added to the whole number's
WINDOWS_OF_A_NUMBER = 8  # a batch of numbers' windows has about so many for each number
PASSES = 2  # over a chunk's windows: making the numbers takes half the time
DESCRIBED = ("windows_epochs", "epochs", "strings", "seed", "val_size")  # in the weights' metadata
HELD_OUT_SEED = 0  # of the split: the images that chose the epoch of the initial weights
VALIDATION = {"apart": 8, "touching": 0, "overlapping": -4}  # pixels between the digits
VALIDATION_STRINGS = 400  # of five digits, of each kind


class Pools:
    """What numbers are made of: training digits, held-out digits, and non-digits."""

    def __init__(self, data_dir: str, val_size: int):
        mnist = load_mnist(data_dir)
        train, held = split(mnist.train_labels, val_size, HELD_OUT_SEED)
        images, labels = load_font_digits(FONTS)
        self.images = torch.cat([mnist.train_images[train], images.repeat(FONTS_TIMES, 1, 1)])
        self.labels = torch.cat([mnist.train_labels[train], labels.repeat(FONTS_TIMES)])
        self.held_out = mnist.train_images[held], mnist.train_labels[held]
        self.test_images, self.test_labels = mnist.test_images, mnist.test_labels
        self.strange = torch.cat([load_letters(FONTS), scribbles(SCRIBBLES, seed=1)])

    def chunk(self, seed: int, count: int) -> Strings:
        return make_strings(self.images, self.labels, count, seed, style=TRAINING, strange=self.strange)

    def validation(self) -> dict[str, Strings]:
        return {
            name: make_strings(*self.held_out, VALIDATION_STRINGS, 0, lengths=(5, 5), spacing=spacing)
            for name, spacing in VALIDATION.items()
        }


def batches(strings: Strings, size: int, generator: torch.Generator):
    """Yield the numbers in batches of similar length, in random order."""
    parts = strings.widths.argsort().split(size)
    for i in torch.randperm(len(parts), generator=generator).tolist():
        rows = parts[i]
        batch = Strings(*(part[rows] for part in strings))
        yield batch._replace(pictures=batch.pictures[:, :, : int(batch.widths.max())])


class State:
    """The network of a run, its optimiser, averaged weights and history."""

    def __init__(self, arguments):
        torch.manual_seed(arguments.seed)
        first, self.metadata = load_weights(arguments.init_from)
        if isinstance(first, LeNet5Conv) and self.metadata["classes"] == CLASSES:
            self.net = first
        elif isinstance(first, LeNet5):
            self.net = as_wide(first)
        else:
            raise UserError(f"{arguments.init_from} holds weights of {first.arch}, not of lenet5")
        self.optimizer = make_optimizer(self.net, "adamw", arguments.lr)
        self.average = EMA(self.net, 0.999)
        self.history: list[dict] = []

    def as_dict(self, settings: dict) -> dict:
        return {
            "settings": settings,
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }

    def load(self, path: Path, settings: dict) -> None:
        """Restore a checkpoint, if there is one. Raises UserError if it is damaged or of another run."""
        found = {}

        def restore(state: dict) -> None:
            found["settings"] = state["settings"]
            self.net.load_state_dict(state["net"])
            self.average.net.load_state_dict(state["average"])
            self.average.steps = int(state["steps"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history = list(state["history"])

        if read_checkpoint(path, restore) and found["settings"] != settings:
            raise UserError(f"{path} is of a run with other flags; give the same, or another --run")


def train_epoch(state: State, pools: Pools, arguments, epoch: int) -> float:
    """Train on the numbers of one epoch, or their windows; returns the mean loss of a batch."""
    state.net.train()
    of_windows = epoch <= arguments.windows_epochs
    learn = windows_losses if of_windows else numbers_losses
    # Each of the two stages has a schedule of its own.
    first = 0 if of_windows else arguments.windows_epochs
    epochs = arguments.windows_epochs if of_windows else arguments.epochs
    chunks = arguments.strings // CHUNK
    generator = torch.Generator().manual_seed(arguments.seed * 100_003 + epoch)
    losses = []
    for chunk in range(chunks):
        strings = pools.chunk((arguments.seed * 100_003 + epoch) * 1009 + chunk, CHUNK)
        done = (epoch - 1 - first + chunk / chunks) / epochs
        set_rate(state.optimizer, arguments.lr * one_cycle(done))
        for loss in learn(state.net, strings, arguments.batch_size, generator):
            state.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(state.net.parameters(), 5.0)
            state.optimizer.step()
            state.average.add(state.net)
            losses.append(loss.detach())
    return torch.stack(losses).mean().item()


def answers_to(net, strings: Strings) -> torch.Tensor:
    """The network's logits for each window of the numbers, N×T×11."""
    return row_of_answers(net, strip_input(strings.pictures, net.mean, net.std))


def numbers_losses(net, strings: Strings, size: int, generator: torch.Generator):
    """Yield the loss of each batch of whole numbers."""
    for batch in batches(strings, size, generator):
        answers = answers_to(net, batch)
        yield ctc_loss(answers, batch) + WINDOWS_WEIGHT * window_loss(answers, batch)


def windows_losses(net, strings: Strings, size: int, generator: torch.Generator):
    """Yield the loss of each batch of the numbers' windows, `PASSES` times with new windows."""
    for _ in range(PASSES):
        pictures, labels = windows_of(strings, generator)
        inputs = to_input(pictures, net.mean, net.std, padding=(0, 0, 0, 0))
        order = torch.randperm(len(labels), generator=generator)
        for rows in order.split(WINDOWS_OF_A_NUMBER * size):
            yield F.cross_entropy(forward(net, inputs[rows]), labels[rows])


@torch.inference_mode()
def share_right(net, strings: Strings) -> float:
    """The share of numbers of which best-path decoding gives all digits."""
    found = best_path(answers_to(net, strings))
    return sum(a == b for a, b in zip(found, strings.texts(), strict=True)) / len(found)


@torch.inference_mode()
def share_right_at_middles(net, strings: Strings) -> float:
    """The share of numbers, all of the same length, of which all digits are read at known places."""
    answers = answers_to(net, strings)
    is_digit = strings.labels != NO_DIGIT
    numbers = is_digit.nonzero()[:, 0]
    windows = strings.middles()[is_digit] // STRIDE
    digits = answers[numbers, windows, :BLANK].argmax(dim=1)
    right = (digits == strings.labels[is_digit]).view(len(answers), -1)
    return right.all(dim=1).float().mean().item()


def parse_arguments(argv):
    parser = ArgumentParser(
        prog="-m lenet5.whole_numbers.train", description="Train to read whole numbers."
    )
    add = parser.add_argument
    add("--init-from", metavar="WEIGHTS", default=str(project_file("pretrained/lenet5.pth")))
    add("--data-dir", metavar="DIR", default="data", help="where data sets are kept (data)")
    add("--windows-epochs", type=number(int, 0, 100_000), default=20, help="of single windows (20)")
    add("--epochs", type=number(int, 1, 100_000), default=20, help="of whole numbers, after these (20)")
    add("--strings", type=number(int, CHUNK, 10_000_000), default=10_000, help="an epoch (10000)")
    add("--batch-size", type=number(int, 1, CHUNK), default=32, help="numbers at a time (32)")
    add("--lr", type=number(float, 1e-9, 1e6), default=2e-3, help="peak learning rate (0.002)")
    add("--val-size", type=number(int, 100, 50_000), default=5000, help="held-out digits (5000)")
    add("--seed", type=number(int, 0, 2**31), default=0, help="(0)")
    add("--run", metavar="DIR", default="runs/numbers", help="the run's folder (runs/numbers)")
    add("--output", metavar="FILE", default="lenet5_numbers.pth", help="the trained weights")
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    check_writable(arguments.output)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("run", "output")}
    state, folder = State(arguments), Path(arguments.run)
    make_folder(folder)
    state.load(folder / "checkpoint.pth", settings)
    pools = Pools(arguments.data_dir, arguments.val_size)
    validation = pools.validation()
    for epoch in range(len(state.history) + 1, arguments.windows_epochs + arguments.epochs + 1):
        start = time.perf_counter()
        measure = share_right_at_middles if epoch <= arguments.windows_epochs else share_right
        row = {"epoch": epoch, "train_loss": train_epoch(state, pools, arguments, epoch)}
        row |= {name: measure(state.average.net.eval(), part) for name, part in validation.items()}
        row["seconds"] = time.perf_counter() - start
        state.history.append(row)
        print("  ".join(f"{name} {value:.5g}" for name, value in row.items()), flush=True)
        write_checkpoint(folder / "checkpoint.pth", state.as_dict(settings))
        write_file(folder / "metrics.csv", csv_text(state.history, row.keys()).encode())
    net = state.average.net.eval()
    inputs = to_input(pools.test_images, net.mean, net.std)
    description = {name: settings[name] for name in DESCRIBED}
    description |= {f"val_{name}": state.history[-1][name] for name in VALIDATION}
    description["test_accuracy"] = evaluate(net, inputs, pools.test_labels).accuracy
    save_weights(arguments.output, net, classes=CLASSES, **description)
    return 0


if __name__ == "__main__":
    sys.exit(main())
