"""Train the network that reads whole numbers.

    $ python -m lenet5.whole_numbers.train --epochs 140
    epoch 1  train_loss 0.89411  apart 0.9275  touching 0.775  overlapping 0.34  seconds 99.438
    ...
    epoch 20  train_loss 0.13833  apart 0.95  touching 0.9425  overlapping 0.8325  seconds 50.464
    epoch 21  train_loss 0.52023  apart 0.8175  touching 0.7175  overlapping 0.3775  seconds 34.222
    ...
    epoch 160  train_loss 0.22333  apart 0.94  touching 0.9225  overlapping 0.7225  seconds 25.463

On a core of an AMD EPYC, beside other work, with Python 3.11.7 and torch 2.15.0; seed 0, one
run. The first 20 epochs train on single windows, the others on whole numbers; the loss is of a
window, then of a digit. The other figures are the shares of 400 held-out five-digit numbers,
with digits 8 pixels apart, side by side, and overlapping by 4, of which all digits are read:
at first at known places, then by best-path decoding.

Every epoch makes new numbers from MNIST's training images and digits in fonts, and some of
letters and scribbles, in which there is nothing to read (`synthetic_numbers.py`). The network
starts from the weights for single digits. The run's folder gets a row in metrics.csv after
every epoch; the same command resumes an interrupted run. Test images are evaluated once, at
the end, as single digits, and choose nothing.
"""

import sys
import time
from pathlib import Path

from lenet5.runtime.atomic_files import check_writable, make_folder, write_file
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError
from lenet5.runtime.project_files import project_file
from lenet5.runtime.signals import quiet_imports

with quiet_imports():  # of PyTorch
    import torch
    import torch.nn.functional as F

    from lenet5.data.datasets import load_mnist, split
    from lenet5.data.fonts import FONTS, load_font_digits, load_letters
    from lenet5.data.non_digits import scribbles
    from lenet5.evaluation.metrics import evaluate
    from lenet5.imaging.inputs import to_input
    from lenet5.networks.definition import LeNet5, LeNet5Conv
    from lenet5.networks.fast_forward import forward
    from lenet5.networks.weights import load_weights, save_weights
    from lenet5.training import checkpoint
    from lenet5.training.ema import EMA
    from lenet5.training.optimizers import make_optimizer, set_rate
    from lenet5.training.run_folder import csv_text
    from lenet5.training.schedules import one_cycle
    from lenet5.whole_numbers import space_displacement as sdn
    from lenet5.whole_numbers.decoding import best_path
    from lenet5.whole_numbers.synthetic_numbers import NO_DIGIT, TRAINING, Strings, make_strings

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
COLUMNS = ("epoch", "train_loss", *VALIDATION, "seconds")


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
        """Numbers to train on."""
        return make_strings(self.images, self.labels, count, seed, style=TRAINING, strange=self.strange)

    def validation(self) -> dict[str, Strings]:
        """Numbers of held-out digits, by the name of their spacing."""
        return {
            name: make_strings(*self.held_out, VALIDATION_STRINGS, 0, lengths=(5, 5), spacing=spacing)
            for name, spacing in VALIDATION.items()
        }


class Training:
    """The network in training, its optimiser, averaged weights and history."""

    def __init__(self, settings: dict):
        self.settings = settings
        torch.manual_seed(settings["seed"])
        first, metadata = load_weights(settings["init_from"])
        if isinstance(first, LeNet5Conv) and metadata["classes"] == sdn.CLASSES:
            self.net = first
        elif isinstance(first, LeNet5):
            self.net = sdn.as_wide(first)
        else:
            raise UserError(f"{settings['init_from']} holds weights of {first.arch}, not of lenet5")
        self.optimizer = make_optimizer(self.net, "adamw", settings["lr"])
        self.average = EMA(self.net, 0.999)
        self.history: list[dict] = []

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {
            "settings": self.settings,
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }

    def restore(self, state: dict) -> None:
        """Restore a state. Raises an error of any kind if it is not of such a run."""
        row = dict.fromkeys(COLUMNS, (int, float))
        changing = {"settings": (dict,), "optimizer": (dict,), "history": [row]}
        checkpoint.check_like(state, self.state() | changing)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(
            checkpoint.optimizer_state(state["optimizer"], self.net, "adamw", self.settings["lr"])
        )
        self.average.net.load_state_dict(state["average"])
        self.average.steps = state["steps"]
        self.history, self.settings = state["history"], state["settings"]


def train_epoch(training: Training, pools: Pools, epoch: int) -> float:
    """Train on the numbers of one epoch, or their windows; returns the mean loss of a batch."""
    net, optimizer, settings = training.net.train(), training.optimizer, training.settings
    # Each of the two stages has a schedule of its own.
    losses_of, first, epochs = windows_losses, 0, settings["windows_epochs"]
    if epoch > epochs:
        losses_of, first, epochs = numbers_losses, epochs, settings["epochs"]
    chunks, seed = settings["strings"] // CHUNK, settings["seed"] * 100_003 + epoch
    generator, losses = torch.Generator().manual_seed(seed), []
    for chunk in range(chunks):
        strings = pools.chunk(seed * 1009 + chunk, CHUNK)
        progress = (epoch - 1 - first + chunk / chunks) / epochs
        set_rate(optimizer, settings["lr"] * one_cycle(progress))
        for loss in losses_of(net, strings, settings["batch_size"], generator):
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            training.average.add(net)
            losses.append(loss.detach())
    return torch.stack(losses).mean().item()


def windows_losses(net, strings: Strings, size: int, generator: torch.Generator):
    """Yield the loss of each batch of the numbers' windows, `PASSES` times with new windows."""
    for _ in range(PASSES):
        pictures, labels = sdn.windows_of(strings, generator)
        inputs = to_input(pictures, net.mean, net.std, padding=(0, 0, 0, 0))
        order = torch.randperm(len(labels), generator=generator)
        for rows in order.split(WINDOWS_OF_A_NUMBER * size):
            yield F.cross_entropy(forward(net, inputs[rows]), labels[rows])


def numbers_losses(net, strings: Strings, size: int, generator: torch.Generator):
    """Yield the loss of each batch of whole numbers."""
    for batch in batches(strings, size, generator):
        logits = logits_of(net, batch)
        yield sdn.ctc_loss(logits, batch) + WINDOWS_WEIGHT * sdn.window_loss(logits, batch)


def batches(strings: Strings, size: int, generator: torch.Generator):
    """Yield the numbers in batches of similar length, in random order."""
    parts = strings.widths.argsort().split(size)
    for i in torch.randperm(len(parts), generator=generator).tolist():
        batch = Strings(*(part[parts[i]] for part in strings))
        yield batch._replace(pictures=batch.pictures[:, :, : int(batch.widths.max())])


def logits_of(net, strings: Strings) -> torch.Tensor:
    """The network's logits for each window of the numbers, N×T×11."""
    return sdn.row_of_answers(net, sdn.strip_input(strings.pictures, net.mean, net.std))


@torch.inference_mode()
def share_right(net, strings: Strings) -> float:
    """The share of numbers of which best-path decoding gives all digits."""
    found = best_path(logits_of(net, strings))
    return sum(a == b for a, b in zip(found, strings.texts(), strict=True)) / len(found)


@torch.inference_mode()
def share_right_at_middles(net, strings: Strings) -> float:
    """The share of numbers, all of the same length, of which all digits are read at known places."""
    logits = logits_of(net, strings)
    is_digit = strings.labels != NO_DIGIT
    numbers, windows = is_digit.nonzero()[:, 0], strings.middles()[is_digit] // sdn.STRIDE
    digits = logits[numbers, windows, : sdn.BLANK].argmax(dim=1)
    right = (digits == strings.labels[is_digit]).view(len(logits), -1)
    return right.all(dim=1).float().mean().item()


def parse_arguments(argv):
    parser = ArgumentParser(
        prog="-m lenet5.whole_numbers.train", description="Train to read whole numbers."
    )

    def add(flag: str, default, text: str, **options) -> None:
        """A flag and its help, after which the default stands."""
        parser.add_argument(flag, default=default, help=f"{text} (%(default)s)", **options)

    add("--init-from", str(project_file("pretrained/lenet5.pth")), "first weights", metavar="WEIGHTS")
    add("--data-dir", "data", "where data sets are kept", metavar="DIR")
    add("--windows-epochs", 20, "of single windows", type=number(int, 0, 100_000))
    add("--epochs", 20, "of whole numbers, after these", type=number(int, 1, 100_000))
    add("--strings", 10_000, "numbers an epoch", type=number(int, CHUNK, 10_000_000))
    add("--batch-size", 32, "numbers at a time", type=number(int, 1, CHUNK))
    add("--lr", 2e-3, "peak learning rate", type=number(float, 1e-9, 1e6))
    add("--val-size", 5000, "held-out digits", type=number(int, 100, 50_000))
    add("--seed", 0, "of numbers and windows", type=number(int, 0, 2**31))
    add("--run", "runs/numbers", "the run's folder", metavar="DIR")
    add("--output", "lenet5_numbers.pth", "the trained weights", metavar="FILE")
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    settings = vars(parse_arguments(argv))
    folder, output = Path(settings.pop("run")), settings.pop("output")
    path = folder / "checkpoint.pth"
    check_writable(output)
    training = Training(settings)
    make_folder(folder)
    checkpoint.read_checkpoint(path, training.restore)
    if training.settings != settings:
        raise UserError(f"{path} is of a run with other flags; give the same, or another --run")
    pools = Pools(settings["data_dir"], settings["val_size"])
    validation, history = pools.validation(), training.history
    for epoch in range(len(history) + 1, settings["windows_epochs"] + settings["epochs"] + 1):
        start = time.perf_counter()
        measure = share_right_at_middles if epoch <= settings["windows_epochs"] else share_right
        row = {"epoch": epoch, "train_loss": train_epoch(training, pools, epoch)}
        net = training.average.net.eval()
        row |= {name: measure(net, strings) for name, strings in validation.items()}
        row["seconds"] = time.perf_counter() - start
        history.append(row)
        print("  ".join(f"{name} {value:.5g}" for name, value in row.items()), flush=True)
        checkpoint.write_checkpoint(path, training.state())
        write_file(folder / "metrics.csv", csv_text(history, COLUMNS).encode())
    net = training.average.net.eval()
    description = {name: settings[name] for name in DESCRIBED}
    description |= {f"val_{name}": history[-1][name] for name in VALIDATION}
    inputs = to_input(pools.test_images, training.net.mean, training.net.std)
    description["test_accuracy"] = evaluate(net, inputs, pools.test_labels).accuracy
    save_weights(output, net, classes=sdn.CLASSES, **description)
    return 0


if __name__ == "__main__":
    sys.exit(main())
