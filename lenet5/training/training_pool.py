"""The images of a run: training pool, validation and test images."""

from pathlib import Path

import torch

from lenet5.data.augmentation import low_resolution
from lenet5.data.datasets import DATASETS, load_dataset, split
from lenet5.data.fonts import load_font_digits
from lenet5.data.sources import ImageSet
from lenet5.imaging.inputs import Inputs
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import md5
from lenet5.runtime.errors import UserError, say
from lenet5.training.epoch_plan import random_order
from lenet5.training.losses import NO_CLASS
from lenet5.training.recipes import DRY_IMAGES, DRY_STEPS, RECIPES
from lenet5.training.settings import fonts_file

SMALLEST_EPOCH = 5000  # images; of fewer pictures each is shown more than once
VAL_SHARE = 6  # of a small data set, every sixth image at most is held out
BESIDE = 20  # for every 20 images an epoch shows a scribble, a shape, a pair of digits
FEW_PIXELS = 2  # and as often as that one of them a digit in few pixels
DRAWN = 3  # times as many of each are drawn
FONT_COPIES = 2  # how often an epoch shows each digit of --fonts


class Data:
    """The images of a run as network inputs on its device, each part with its labels.

    `train`, `val` and `test` are of the data set; `shown` is what an epoch goes
    through: the training images and what else there is to learn.
    """

    def __init__(self, settings: dict, device: torch.device):
        # Of several processes one reads or downloads them, and all have the same.
        images = distributed.from_first(lambda: load_dataset(settings["dataset"], settings["data_dir"]))
        images = with_classes_of(settings["init_from"], images)
        self.md5 = None if settings["dataset"] in DATASETS else fingerprint(images)
        network = NETWORKS[settings["arch"]]
        size = validation_size(settings, len(images.train_labels))
        is_small = size < settings["val_size"]
        train, val = split(images.train_labels, size, settings["seed"], of_each=1 if is_small else 0)
        test = torch.arange(len(images.test_labels))
        if settings["dry_run"]:
            train = train[: DRY_STEPS * settings["batch_size"]]
            val, test = val[:DRY_IMAGES], test[:DRY_IMAGES]

        def part(all_images, all_labels, index):
            inputs = Inputs(all_images[index].to(device), network.mean, network.std)
            return inputs, all_labels[index].to(device)

        self.classes = images.classes
        self.train = part(images.train_images, images.train_labels, train)
        # So few pictures that an epoch has no more than a few steps are shown several times.
        few = not settings["dry_run"] and len(train) < SMALLEST_EPOCH
        copies = SMALLEST_EPOCH // len(train) if few else 1
        self.shown, self.parts = self.train, [(len(train), copies)]
        self.most = DRY_IMAGES if settings["dry_run"] else None  # of each further part
        fonts = fonts_file(settings)
        if fonts is not None:
            digits, labels = load_font_digits(fonts)
            if self.classes != [str(digit) for digit in range(10)]:
                raise UserError(
                    "--fonts has digits, and the classes to learn are not 0 to 9: "
                    "leave it out, or choose another --recipe"
                )
            self.show(part(digits, labels, slice(None)), FONT_COPIES)
        if settings["few_pixels"]:
            count = number_drawn(len(train))
            generator = torch.Generator().manual_seed(settings["seed"])
            chosen = train[torch.randperm(len(train), generator=generator)[:count]]
            small = low_resolution(images.train_images[chosen], settings["seed"])
            self.show(part(small, images.train_labels[chosen], slice(None)), FEW_PIXELS * copies / DRAWN)
        if settings["non_digits"]:
            for strange, times in non_digits(fonts, images.train_images[train], settings["seed"]):
                self.show(
                    part(strange, torch.full((len(strange),), NO_CLASS), slice(None)), copies * times
                )
        self.val = part(images.train_images, images.train_labels, val)
        self.test = part(images.test_images, images.test_labels, test)

    def show(self, part: tuple[Inputs, torch.Tensor], times: float) -> None:
        """Let every epoch go through these images too: twice, or through a random tenth of them."""
        (inputs, labels), (more, their_labels) = self.shown, part
        pictures, their_labels = more.pictures[: self.most], their_labels[: self.most]
        inputs = inputs.of(torch.cat([inputs.pictures, pictures]))
        self.shown = inputs, torch.cat([labels, their_labels])
        self.parts.append((len(pictures), times))

    def repeat(self) -> None:
        """Have each image as often as an epoch shows it, where each time it is one of its own."""
        again = random_order(self.parts, torch.Generator()).sort().values
        inputs, labels = self.shown
        self.shown = inputs.of(inputs.pictures[again]), labels[again]
        self.parts = [(len(again), 1)]


def fingerprint(images: ImageSet) -> str:
    """The MD5 of a data set that has none of its own: anybody's pictures."""
    parts = (images.train_images, images.train_labels, images.test_images, images.test_labels)
    return md5(b"".join(part.numpy().tobytes() for part in parts) + "\0".join(images.classes).encode())


def number_drawn(images: int) -> int:
    """How many are drawn of a kind that is shown beside so many images."""
    return max(1, DRAWN * images // BESIDE)


def non_digits(fonts: Path | None, images: torch.Tensor, seed: int) -> list:
    """What a run with `--non-digits` learns to refuse, and how often an epoch shows each of it.

    Scribbles, shapes and pairs of digits, of which more are drawn than an epoch
    shows; letters in fonts.
    """
    from lenet5.data import fonts as fonts_module
    from lenet5.data import non_digits as non_digits_module

    count, share = number_drawn(len(images)), 1 / DRAWN
    parts = [
        (non_digits_module.scribbles(count, seed), share),
        (non_digits_module.shapes(count, seed), share),
        (non_digits_module.digit_pairs(images, count, seed), share),
    ]
    if fonts is not None:
        parts.append((fonts_module.load_letters(fonts), 1))
    return parts


def with_classes_of(init_from: str | None, images: ImageSet) -> ImageSet:
    """The images with the classes of the weights to begin with, where theirs are some of them.

    So a few digits that the network reads badly can be learned without the others.
    """
    if init_from is None:
        return images
    known = load_weights(init_from)[1]["classes"]
    if not set(images.classes) <= set(known):
        return images
    place = torch.tensor([known.index(name) for name in images.classes])
    return images._replace(
        train_labels=place[images.train_labels], test_labels=place[images.test_labels], classes=known
    )


def validation_size(settings: dict, count: int) -> int:
    """How many of `count` training images are held out: `--val-size`, or fewer of a small data set."""
    size, default = settings["val_size"], RECIPES["default"]["val_size"]
    if size == default and size > count // VAL_SHARE:
        say(f"holding out {count // VAL_SHARE:,} of {count:,} images to validate, not {size:,}")
        return count // VAL_SHARE
    return size
