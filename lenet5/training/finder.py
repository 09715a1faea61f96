"""Train the finder, the network that marks a digit's ink in a picture.

    $ python -m lenet5.training.finder

A worker process makes pictures with masks of their ink (`lenet5/data/finder_pictures.py`)
from MNIST's training images, digits and letters in fonts and drawn skeletons, while this one
learns them. Each picture is learned once. In the last fifth of the steps, a second cycle of the
learning rate, cross-entropy alone counts: overlap makes masks sharp where a blurred picture leaves
it open whether a hole or a bar is there, and a reader of digits wants to know that.

Every `EVERY` steps a row is added to metrics.csv in the run's folder and the averaged weights are
saved; the same command resumes a stopped run.
"""

import random
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.outputs import check_outputs
from lenet5.runtime.signals import quiet_imports
from lenet5.runtime.worker_processes import cores

with quiet_imports():
    import numpy as np
    import torch
    import torch.nn.functional as F

    from lenet5.data.datasets import load_mnist
    from lenet5.data.finder_pictures import make_pictures
    from lenet5.data.glyphs import Pool, load_pool
    from lenet5.data.number_pictures import make_numbers
    from lenet5.data.picture_sheet import save_sheet
    from lenet5.data.picture_workers import known_pool, picture_workers
    from lenet5.networks.finder import Finder
    from lenet5.networks.weights import serialize
    from lenet5.training.averaged_run import AveragedRun
    from lenet5.training.schedules import one_cycle

# Height and width of a batch's pictures, and how often: wide, narrow, small and large.
SIZES = {
    (96, 96): 5,
    (96, 64): 3,
    (64, 96): 2,
    (96, 48): 1,
    (64, 64): 1,
    (128, 128): 1,
    (128, 96): 1,
}
# The same for pictures of numbers, from which the second output alone learns.
NUMBER_SIZES = {(32, 128): 1, (48, 160): 1, (48, 256): 1, (64, 192): 1}
AHEAD = 12  # batches that are made before their turn
EVERY = 250  # steps from one row of metrics.csv to the next
HELD_OUT = 20  # batches, of seeds that are never learned
DECAY = 0.998
COLUMNS = ("step", "train_loss", "digit", "writing", "numbers", "seconds")
NOT_SETTINGS = ("run", "output", "figure")
WARM_UP = 0.05  # of a cycle's steps
FIRST_CYCLE = 0.8  # of the steps, with the overlap in the loss
SECOND_LR = 0.4  # of the first cycle's peak
SMOOTH = 20.0  # pixels, so that the overlap of nothing with nothing is whole
Batch = tuple[torch.Tensor, ...]  # N×3×H×W pictures and N×2×H×W masks, from 0 to 1


def pool_of(arguments) -> Pool:
    """The glyphs that the pictures are made of."""
    mnist = load_mnist(arguments.data_dir)
    return load_pool(mnist.train_images, mnist.train_labels, arguments.seed)


def batch(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of a size that its seed chooses: N×3×H×W pictures and N×2×H×W masks, uint8.

    Pictures of numbers have the second mask alone, N×1×H×W.
    """
    often = {**SIZES, **NUMBER_SIZES}
    size = list(often)[random.Random(seed).choices(range(len(often)), [*often.values()])[0]]
    make = make_numbers if size in NUMBER_SIZES else make_pictures
    pictures, masks, *_ = make(known_pool(), count, size, seed)
    return (pictures * 255).round().byte().numpy(), (masks * 255).round().byte().numpy()


def batches(
    executor: ProcessPoolExecutor, seeds: range, count: int
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the batches of all seeds in order, some of them made ahead."""
    waiting: deque = deque()
    for seed in [*seeds, *[None] * AHEAD]:
        if seed is not None:
            waiting.append(executor.submit(batch, seed, count))
        if waiting and (seed is None or len(waiting) > AHEAD):
            yield tuple(torch.from_numpy(part).float() / 255 for part in waiting.popleft().result())


def overlap(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The Dice coefficient of each mask, N×2: 1 where two soft masks are the same."""
    found = logits.sigmoid()
    return (2 * (found * masks).sum((2, 3)) + SMOOTH) / ((found + masks).sum((2, 3)) + SMOOTH)


def loss_of(logits: torch.Tensor, masks: torch.Tensor, progress: float) -> torch.Tensor:
    """Cross-entropy of the pixels, in the first cycle also overlap (Milletari et al., "V-Net", 2016)."""
    logits = logits[:, -masks.shape[1] :]
    loss = 2 * F.binary_cross_entropy_with_logits(logits, masks)
    return loss + 1 - overlap(logits, masks).mean() if progress < FIRST_CYCLE else loss


def rate_at(progress: float) -> float:
    """Share of the peak learning rate after `progress` (0 to 1) of all steps: two cycles."""
    if progress < FIRST_CYCLE:
        return one_cycle(progress / FIRST_CYCLE, WARM_UP)
    return SECOND_LR * one_cycle((progress - FIRST_CYCLE) / (1 - FIRST_CYCLE), WARM_UP)


@torch.inference_mode()
def evaluate(net: torch.nn.Module, held_out: list[Batch]) -> dict[str, float]:
    """The mean Dice coefficient of held-out pictures: of the digit and of all writing."""
    found: dict[int, list] = {1: [], 2: []}  # by the number of masks
    for pictures, masks in held_out:
        count = masks.shape[1]
        found[count].append(overlap(net.eval()(pictures)[:, -count:], masks).mean(dim=0))
    digit, writing = torch.stack(found[2]).mean(dim=0).tolist()
    return {"digit": digit, "writing": writing, "numbers": torch.stack(found[1]).mean().item()}


def save_figure(path: str, pool: Pool, seed: int) -> None:
    """Draw a hundred pictures, each above its mask: the digit white, other writing gray."""
    pictures, masks, _ = make_pictures(pool, 100, (96, 96), seed)
    save_sheet(path, pictures, masks[:, 0] + 0.5 * (masks[:, 1] - masks[:, 0]), columns=20)


def parse_arguments(argv):
    parser = ArgumentParser(prog="-m lenet5.training.finder", description="Train the finder of ink.")
    add = parser.add_argument
    add("--data-dir", metavar="DIR", default="data", help="where data sets are kept (%(default)s)")
    add("--steps", type=number(int, 1, 10_000_000), default=22_500, help="(%(default)s)")
    add("--batch-size", type=number(int, 4, 10_000), default=32, help="(%(default)s)")
    add("--lr", type=number(float, 1e-9, 10), default=5e-3, help="peak learning rate (%(default)s)")
    add("--seed", type=number(int, 0, 1000), default=0, help="(%(default)s)")
    add("--run", metavar="DIR", default="runs/finder", help="the run's folder (%(default)s)")
    add("--output", metavar="FILE", default="finder.pth", help="the weights (%(default)s)")
    add("--figure", metavar="FILE", help="instead, draw a hundred of its pictures with their masks")
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    if arguments.figure:
        check_outputs({"--figure": arguments.figure}, {})
        save_figure(arguments.figure, pool_of(arguments), arguments.seed)
        return 0
    check_outputs({}, {"--output": arguments.output})
    torch.set_num_threads(max(1, cores() - 1))  # the worker has the other core
    settings = {name: value for name, value in vars(arguments).items() if name not in NOT_SETTINGS}
    torch.manual_seed(arguments.seed)
    net = Finder().to(memory_format=torch.channels_last)
    run = AveragedRun(net, settings, Path(arguments.run), decay=DECAY, columns=COLUMNS)
    first = arguments.seed * 10**8  # a run's batches have the seeds from here on
    with picture_workers(pool_of(arguments), 1) as executor:
        held_out = list(batches(executor, range(10**12, 10**12 + HELD_OUT), arguments.batch_size))
        done = run.average.steps
        seeds = range(first + done, first + arguments.steps)
        for step, (pictures, masks) in enumerate(batches(executor, seeds, arguments.batch_size), done):
            inputs = pictures.contiguous(memory_format=torch.channels_last)
            progress = step / arguments.steps
            run.step(loss_of(net.train()(inputs), masks, progress), rate_at(progress))
            if (step + 1) % EVERY == 0 or step + 1 == arguments.steps:
                run.keep({"step": step + 1, **evaluate(run.average.net, held_out)})
                write_file(arguments.output, serialize(run.average.net.state_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
