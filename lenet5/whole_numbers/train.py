"""Train the network that reads whole numbers.

    $ python -m lenet5.whole_numbers.train

Learns from strips of made-up numbers as the finder gives them (`found_strips.py`): whole numbers by
connectionist temporal classification, and single windows in which a digit's middle is or none. The
run's folder gets a row in metrics.csv after every epoch; the same command resumes an interrupted
run. `right` is the share of other strips, of MNIST's digits and of hands that are not learned,
which the averaged weights' best path reads; temperature and limit are fitted on these. Test images
are evaluated once, at the end, as single digits, and choose nothing.
"""

import argparse
import sys
from pathlib import Path

from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.errors import UserError, say
from lenet5.runtime.outputs import check_outputs
from lenet5.runtime.signals import quiet_imports

with quiet_imports():  # of PyTorch
    import numpy as np
    import torch

    from lenet5.data.augmentation import warp
    from lenet5.data.datasets import load_mnist
    from lenet5.data.glyphs import load_pool
    from lenet5.data.number_pictures import make_numbers
    from lenet5.data.picture_sheet import save_sheet
    from lenet5.evaluation.metrics import evaluate
    from lenet5.imaging.inputs import to_input
    from lenet5.networks.definition import LeNet5Conv
    from lenet5.networks.number_network import LeNet5Wide
    from lenet5.networks.weights import load_weights, save_weights
    from lenet5.training.averaged_run import AveragedRun
    from lenet5.training.schedules import one_cycle
    from lenet5.whole_numbers import space_displacement as sdn
    from lenet5.whole_numbers.decoding import best_path, search
    from lenet5.whole_numbers.found_strips import GLYPHS, MIX, Strips, found_strips
    from lenet5.whole_numbers.windows import BLANK, CLASSES, strip_input, window_count

DECAY = 0.999
WINDOWS_WEIGHT = 0.5  # of the loss of single windows, added to the whole number's
WARM_UP = 0.05  # of the steps
DESCRIBED = ("epochs", "strings", "seed", "val_size")  # in the weights' metadata
COLUMNS = ("epoch", "train_loss", "right", "seconds")
RIGHT = 0.98  # of what is answered with --reject
TEMPERATURES = [2 ** (i / 4) for i in range(-4, 9)]
# How far a strip is changed each time it is learned: slant, the logarithm of its height, pixels up
# and down, and the logarithm of the exponent of its levels.
SLANT, HEIGHT, MOVED, GAMMA = 0.15, 0.12, 1.5, 0.4


def first_network(path: str | None) -> LeNet5Conv:
    """A new network, or one of numbers to begin with. Raises UserError for another."""
    if path is None:
        return LeNet5Wide(len(CLASSES))
    first, metadata = load_weights(path)
    if isinstance(first, LeNet5Conv) and metadata["classes"] == CLASSES:
        return first
    raise UserError(f"{path} holds weights of {first.arch}, which reads no whole numbers")


def batches(strips: Strips, places: torch.Tensor, size: int, generator: torch.Generator):
    """The places of strips in batches of similar width, in random order."""
    parts = places[strips.widths()[places].argsort(stable=True)].split(size)
    return [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]


def augmented(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """N×32×W uint8 strips, each with a little slant, another height, place and strength."""
    count, height, width = pictures.shape
    slant, taller, moved, gamma = torch.rand(4, count, generator=generator) * 2 - 1
    warps = torch.zeros(count, 2, 3)
    warps[:, 0, 0] = 1
    warps[:, 0, 1] = slant * SLANT * height / width
    warps[:, 1, 1] = (taller * HEIGHT).exp()
    warps[:, 1, 2] = moved * MOVED * 2 / height
    levels = warp(pictures[:, None].float() / 255, warps)[:, 0]
    return (levels ** (gamma * GAMMA).exp()[:, None, None] * 255).round().byte()


def logits_of(net, pictures: torch.Tensor) -> torch.Tensor:
    """The network's logits for each window of N×32×W uint8 strips, N×T×11."""
    inputs = torch.from_numpy(strip_input(pictures.numpy(), net.mean, net.std))
    return sdn.row_of_answers(net, inputs)


def train_epoch(run: AveragedRun, strips: Strips, epoch: int) -> None:
    """Learn from each of the strips once."""
    settings = run.settings
    generator = torch.Generator().manual_seed(settings["seed"] * 100_003 + epoch)
    places = torch.arange(len(strips.ends))
    parts = batches(strips, places, settings["batch_size"], generator)
    for i, part in enumerate(parts):
        pictures, widths, digits, middles = strips.batch(part)
        logits = logits_of(run.net.train(), augmented(pictures, generator))
        loss = sdn.ctc_loss(logits, widths, digits)
        loss += WINDOWS_WEIGHT * sdn.window_loss(logits, widths, digits, middles)
        run.step(loss, one_cycle((epoch - 1 + i / len(parts)) / settings["epochs"], WARM_UP))


@torch.no_grad()
def held_out_logits(net, strips: Strips) -> list[tuple]:
    """Logits, widths and digits of the strips, in batches."""
    found = []
    for part in batches(strips, torch.arange(len(strips.ends)), 64, torch.Generator()):
        pictures, widths, digits, _ = strips.batch(part)
        found.append((logits_of(net.eval(), pictures), widths, digits))
    return found


def share_right(net, strips: Strips) -> float:
    """The share of strips of which best-path decoding gives all digits."""
    right = 0
    for logits, widths, digits in held_out_logits(net, strips):
        beyond = torch.arange(logits.shape[1]) >= window_count(widths)[:, None]
        logits = logits.masked_fill(beyond[..., None], 0.0)  # the strip has ended
        logits[..., BLANK] += beyond
        right += sum(a == b for a, b in zip(best_path(logits), map(text_of, digits), strict=True))
    return right / len(strips.ends)


def text_of(digits: torch.Tensor) -> str:
    return "".join(str(digit) for digit in digits.tolist() if digit >= 0)


def calibration(found: list[tuple]) -> dict[str, float]:
    """The temperature whose confidences tell best which answers are right, and a limit for --reject.

    Of the answers to held-out strips that are at least so sure, `RIGHT` are right; 1 if there are none.
    """
    answers = {t: np.array(answered(found, t)).reshape(-1, 2) for t in TEMPERATURES}

    def loss(temperature: float) -> float:
        """The cross-entropy of being right."""
        sure, right = answers[temperature].T
        return -np.log(np.where(right > 0, sure, 1 - sure).clip(1e-9)).sum()

    temperature = min(TEMPERATURES, key=loss)
    sure, right = answers[temperature].T
    order = np.argsort(-sure)
    enough = np.flatnonzero(right[order].cumsum() / np.arange(1, len(order) + 1) >= RIGHT)
    limit = float(sure[order[enough[-1]]]) if len(enough) else 1.0
    return {"temperature": temperature, "reject_below": limit}


def answered(found: list[tuple], temperature: float) -> list[tuple[float, bool]]:
    """The confidence of the answer to each strip in which there is one, and whether it is right."""
    answers = []
    for logits, widths, digits in found:
        shares = (logits.double() / temperature).softmax(dim=2).numpy()
        for row, width, truth in zip(shares, widths.tolist(), digits, strict=True):
            answer, probability = search(row[: window_count(width)])[0]
            if answer:
                answers.append((probability, "".join(map(str, answer)) == text_of(truth)))
    return answers


def save_figure(path: str, data_dir: str, seed: int) -> None:
    """Draw fifty made-up numbers, each above the mask of its writing."""
    mnist = load_mnist(data_dir)
    pool = load_pool(mnist.train_images, mnist.train_labels, seed)
    pictures, masks, *_ = make_numbers(pool, 50, (64, 256), seed, MIX)
    save_sheet(path, pictures, masks[:, 0], columns=5)


def parse_arguments(argv):
    parser = ArgumentParser(
        prog="-m lenet5.whole_numbers.train", description="Train to read whole numbers."
    )

    def add(flag: str, default, text: str, **options) -> None:
        """A flag and its help, after which the default stands."""
        parser.add_argument(flag, default=default, help=f"{text} (%(default)s)", **options)

    parser.add_argument("--init-from", metavar="WEIGHTS", help="start from these weights of numbers")
    add("--data-dir", "data", "where data sets and the strips are kept", metavar="DIR")
    add("--epochs", 20, "passes over the strips", type=number(int, 1, 100_000))
    add("--strings", 100_000, "numbers to make", type=number(int, 100, 1_000_000))
    add("--batch-size", 32, "numbers at a time", type=number(int, 1, 1000))
    add("--lr", 2e-3, "peak learning rate", type=number(float, 1e-9, 1e6))
    add("--val-size", 2000, "others to validate with", type=number(int, 10, 50_000))
    add("--seed", 0, "of numbers and their order", type=number(int, 0, 2**31 - 2))
    add("--run", "runs/numbers", "the run's folder", metavar="DIR")
    add("--output", "lenet5_numbers.pth", "the trained weights", metavar="FILE")
    parser.add_argument("--figure", metavar="FILE", help="instead, draw fifty numbers with their masks")
    # Windows were learned before strips, in an older version.
    parser.add_argument("--windows-epochs", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if vars(arguments).pop("windows_epochs") is not None:
        say("--windows-epochs has no effect any more: strips alone are learned")
    return arguments


@command_line
def main(argv=None) -> int:
    settings = vars(parse_arguments(argv))
    folder, output = Path(settings.pop("run")), settings.pop("output")
    if (figure := settings.pop("figure")) is not None:
        check_outputs({"--figure": figure}, {})
        save_figure(figure, settings["data_dir"], settings["seed"])
        return 0
    check_outputs({}, {"--output": output}, filter(None, [settings["init_from"]]))
    torch.manual_seed(settings["seed"])
    net = first_network(settings["init_from"])
    run = AveragedRun(net, settings, folder, decay=DECAY, columns=COLUMNS, max_grad_norm=5.0)
    seed, kept_in = settings["seed"], settings["data_dir"]
    mnist = load_mnist(kept_in)
    images, labels = mnist.train_images, mnist.train_labels
    strips = found_strips(load_pool(images, labels, seed, GLYPHS), settings["strings"], seed, kept_in)
    others = load_pool(images[GLYPHS:], labels[GLYPHS:], seed + 1)
    held_out = found_strips(others, settings["val_size"], seed + 1, kept_in)
    if not len(strips.ends) * len(held_out.ends):
        raise UserError("the finder found no number at all: give more --strings and --val-size")
    for epoch in range(len(run.history) + 1, settings["epochs"] + 1):
        train_epoch(run, strips, epoch)
        run.keep({"epoch": epoch, "right": share_right(run.average.net.eval(), held_out)})
    average = run.average.net.eval()
    description = {name: settings[name] for name in DESCRIBED}
    description["val_accuracy"] = run.history[-1]["right"]
    description |= calibration(held_out_logits(average, held_out))
    inputs = to_input(mnist.test_images, net.mean, net.std)
    description["test_accuracy"] = evaluate(average, inputs, mnist.test_labels).accuracy
    save_weights(output, average, classes=CLASSES, **description)
    return 0


if __name__ == "__main__":
    sys.exit(main())
