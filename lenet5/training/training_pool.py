"""The images of a run: training pool, validation and test images."""

from collections.abc import Iterator
from typing import Any

import torch

from lenet5.data.augmentation import low_resolution
from lenet5.data.datasets import DATASETS, load_dataset, split_of
from lenet5.data.fonts import load_font_digits, load_letters
from lenet5.data.found_digits import found_digits
from lenet5.data.glyphs import load_pool
from lenet5.data.sources import DIGITS, ImageSet
from lenet5.imaging.inputs import Inputs
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import md5
from lenet5.runtime.errors import UserError, say
from lenet5.training.epoch_plan import TrainingPool
from lenet5.training.losses import IGNORE_INDEX
from lenet5.training.recipes import DEFAULTS, DRY_IMAGES, DRY_STEPS, Settings
from lenet5.training.settings import file_of

SMALLEST_EPOCH = 5000  # images; of fewer pictures each is shown more than once
VAL_SHARE = 6  # of a small data set, every sixth image at most is held out
PER_DRAWN = 20  # for so many images an epoch shows a scribble, a shape, a pair of digits
FEW_PIXELS = 2  # and as many digits in few pixels
POOL_FACTOR = 3  # the pool has so many times the drawn images that an epoch shows
FOUND_SHARE = 1 / 3  # of the digits of --pictures, which an epoch shows
FOUND_VAL = 20  # one of so many of them is held out
FONT_REPEATS = 2  # how often an epoch shows each digit of --fonts


class Data:
    """The images of a run as network inputs on its device.

    `train`, `val` and `test` are (inputs, labels) of the data set; `pool` is what an epoch
    shows: the training images, and the images that flags add.
    """

    def __init__(self, settings: Settings, device: torch.device):
        # Of several processes one reads or downloads them, and all have the same.
        images = distributed.broadcast(lambda: load_dataset(settings.dataset, settings.data_dir))
        images = with_classes_of(settings.init_from, images)
        self.classes = images.classes
        self.md5 = None if settings.dataset in DATASETS else fingerprint(images)
        self.network: Any = NETWORKS[settings.arch]  # a class with a mean and a std
        self.device = device
        size = validation_size(settings, images)
        of_each = 1 if size < settings.val_size else 0  # of a small data set
        train, val = split_of(images, size, settings.seed, of_each)
        test = torch.arange(len(images.test_labels))
        if settings.dry_run:
            train = train[: DRY_STEPS * settings.batch_size]
            val, test = val[:DRY_IMAGES], test[:DRY_IMAGES]
        self.train = self.part(images.train_images[train], images.train_labels[train])
        self.val = self.part(images.train_images[val], images.train_labels[val])
        self.own_val = len(val)  # so many of them are the data set's own, and come first
        self.test = self.part(images.test_images[test], images.test_labels[test])
        # A small set is repeated, so that an epoch has more than a few steps.
        repeats = 1 if settings.dry_run else max(1, SMALLEST_EPOCH // len(train))
        self.pool = TrainingPool(*self.train, [(len(train), repeats)])
        most = DRY_IMAGES if settings.dry_run else None
        pictures, labels = images.train_images[train], images.train_labels[train]
        for more, their_labels, times in added_images(settings, pictures, labels, self.classes, repeats):
            self.pool.add(*self.part(more[:most], their_labels[:most]), times)
        if settings.pictures:
            found, theirs = distributed.broadcast(lambda: pictures_of(settings, pictures, labels))
            held_out = (torch.arange(len(theirs)) % FOUND_VAL == 0) & (size > 0)
            self.pool.final_strokes = len(self.pool.labels)
            self.pool.add(*self.part(found[~held_out], theirs[~held_out]), FOUND_SHARE)
            digits = held_out & (theirs != IGNORE_INDEX)
            inputs, truth = self.part(found[digits], theirs[digits])
            self.val = self.val[0].with_more(inputs), torch.cat([self.val[1], truth])

    def part(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """Inputs and labels on the device."""
        inputs = Inputs(images.to(self.device), self.network.mean, self.network.std)
        return inputs, labels.to(self.device)


def pictures_of(
    settings: Settings, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The N×28×28 digits that the finder sees in made-up pictures of training images, and N labels."""
    count = DRY_IMAGES if settings.dry_run else settings.pictures or 0
    pool = load_pool(images, labels, settings.seed)
    found, theirs = found_digits(pool, count, settings.seed, settings.data_dir)
    if not settings.non_digits:
        found, theirs = found[theirs >= 0], theirs[theirs >= 0]
    return found, torch.where(theirs < 0, IGNORE_INDEX, theirs)


def added_images(
    settings: Settings, images: torch.Tensor, labels: torch.Tensor, classes: list[str], repeats: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Yield what --fonts, --few-pixels and --non-digits add to N×28×28 training images.

    Each is (images, labels, repeats), where the training images are repeated `repeats` times.
    """
    fonts, seed = file_of(settings, "fonts"), settings.seed
    # Of what is drawn the pool has more than an epoch shows.
    drawn, share = max(1, POOL_FACTOR * len(images) // PER_DRAWN), 1 / POOL_FACTOR
    for name in ("fonts", "pictures"):
        if getattr(settings, name) and classes != DIGITS:
            raise UserError(
                f"--{name} has digits, and the classes to learn are not 0 to 9: "
                "leave it out, or choose another --recipe"
            )
    if fonts is not None:
        yield *load_font_digits(fonts), FONT_REPEATS
    if settings.few_pixels:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(images), generator=generator)[:drawn]
        yield low_resolution(images[chosen], seed), labels[chosen], FEW_PIXELS * repeats / POOL_FACTOR
    if settings.non_digits:
        from lenet5.data.non_digits import digit_pairs, scribbles, shapes

        parts = [
            (scribbles(drawn, seed), share),
            (shapes(drawn, seed), share),
            (digit_pairs(images, drawn, seed), share),
        ]
        if fonts is not None:
            parts.append((load_letters(fonts), 1))
        for pictures, times in parts:
            yield pictures, torch.full((len(pictures),), IGNORE_INDEX), repeats * times


def fingerprint(images: ImageSet) -> str:
    """The MD5 of a folder of pictures."""
    parts = (images.train_images, images.train_labels, images.test_images, images.test_labels)
    names = "\0".join(images.classes) + (f"\0{images.validation}" if images.validation else "")
    return md5(b"".join(part.numpy().tobytes() for part in parts) + names.encode())


def with_classes_of(init_from: str | None, images: ImageSet) -> ImageSet:
    """The images with the classes of the initial weights, if theirs are a subset.

    So a network can learn a few digits that it reads badly without the others.
    """
    known = images.classes if init_from is None else load_weights(init_from)[1]["classes"]
    if not set(images.classes) <= set(known):
        return images
    place = torch.tensor([known.index(name) for name in images.classes])
    return images._replace(
        train_labels=place[images.train_labels], test_labels=place[images.test_labels], classes=known
    )


def validation_size(settings: Settings, images: ImageSet) -> int:
    """How many training images are held out: the set's own, or `--val-size`, or fewer of a small set."""
    size, default, count = settings.val_size, DEFAULTS["val_size"], len(images.train_labels)
    if images.validation and size:
        return images.validation
    if size == default and size > count // VAL_SHARE:
        say(f"holding out {count // VAL_SHARE:,} of {count:,} images to validate, not {size:,}")
        return count // VAL_SHARE
    return size
