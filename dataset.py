"""Data sets as uint8 tensors, splits, batches, and augmentation of whole batches.

    >>> from dataset import load_dataset
    >>> mnist = load_dataset("mnist", "data")
    >>> mnist.train_images.shape, mnist.train_images.dtype
    (torch.Size([60000, 28, 28]), torch.uint8)

A data set is one of the published ones (`sources.py` fetches and verifies
them), one that torchvision knows, or anybody's folder of pictures.
"""

import contextlib
import functools
import io
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from lenet5.imaging.centring import bounding_box
from lenet5.imaging.mnist_format import SIDE
from lenet5.imaging.opening import PictureError
from lenet5.imaging.preprocess import mnist_like
from lenet5.runtime.atomic_files import read_file, unpacked_size
from lenet5.runtime.errors import UserError, reason, say
from sources import IDX_SETS, ImageSet, load_idx_set

LARGEST_FONTS = 20_000_000  # bytes
UNPACKED_FONTS = 200_000_000  # bytes
# By the name that --dataset gives them: torchvision's class, and what more it is to be told.
TORCHVISION_SETS = {"kmnist": ("KMNIST",), "qmnist": ("QMNIST",), "emnist-digits": ("EMNIST", "digits")}
DATASETS = (*IDX_SETS, *TORCHVISION_SETS)
TEST_SHARE = 5  # of a folder without a test set of its own, every fifth picture


def load_mnist(folder="data") -> ImageSet:
    """MNIST's 60,000 training and 10,000 test images: `load_idx_set`."""
    return load_idx_set("mnist", folder)


def load_dataset(name: str, folder="data") -> ImageSet:
    """A data set by its `--dataset` name: a published one, or a folder of pictures.

    `folder` is where published ones are kept. Raises UserError if it cannot be had.
    """
    if name in IDX_SETS:
        return load_idx_set(name, folder)
    if name in TORCHVISION_SETS:
        return load_from_torchvision(name, folder)
    check_dataset(name)
    return load_folder(name)


def check_dataset(name: str) -> None:
    """Raise UserError if `--dataset` names neither a known data set nor a folder."""
    if name not in DATASETS and not os.path.isdir(name):
        known = ", ".join(DATASETS)
        raise UserError(
            f"--dataset: {name} is no folder of pictures, nor a data set known here ({known})"
        )


def load_from_torchvision(name: str, folder) -> ImageSet:
    """A data set that torchvision fetches and reads: `kmnist`, `qmnist` or `emnist-digits`."""
    kind, *more = TORCHVISION_SETS[name]
    try:
        from torchvision import datasets

        make = getattr(datasets, kind)
        parts = [make(folder, *more, train=train, download=True) for train in (True, False)]
    except Exception as error:  # torchvision raises many kinds, of the network and for damaged files
        place = Path(folder) / kind / "raw"
        raise UserError(
            f"{name} is not to be had from torchvision's mirrors: {reason(error)}. "
            f"To go on by hand, put its original files into {place} and run the command again"
        ) from error
    images = [part.data for part in parts]
    if name == "emnist-digits":  # its pictures lie on their side
        images = [pictures.transpose(1, 2).contiguous() for pictures in images]
    # QMNIST's targets have the class first, then the writer and more.
    labels = [part.targets.reshape(len(part.targets), -1)[:, 0].long() for part in parts]
    classes = parts[0].classes if name == "kmnist" else IDX_SETS["mnist"][2]
    return ImageSet(images[0], labels[0], images[1], labels[1], list(classes))


def load_folder(folder) -> ImageSet:
    """Anybody's pictures, a sub-folder a class and named after it, brought to 28×28 as for reading.

    With sub-folders `train` and `test` these hold the classes; otherwise every
    fifth picture of each class is for testing. Pictures that cannot be read are
    named and left out. Raises UserError if fewer than two classes or a class
    without pictures are there.
    """
    for names in (("train", "test"), ("training", "testing")):
        parts = [Path(folder, part) for part in names]
        if not all(part.is_dir() for part in parts):
            continue
        (*train, classes), (*test, others) = (read_classes(part) for part in parts)
        if classes != others:
            raise UserError(f"{folder}: train has the classes {classes}, test has {others}")
        return ImageSet(*train, *test, classes)
    images, labels, classes = read_classes(folder)
    if labels.bincount().min() < 2:
        raise UserError(f"{folder}: every class needs two pictures at least, one of them to test with")
    train, test = split(labels, max(len(classes), len(labels) // TEST_SHARE), seed=0, of_each=1)
    return ImageSet(images[train], labels[train], images[test], labels[test], classes)


def read_classes(folder) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """N×28×28 uint8 pictures in a folder's sub-folders, their N class indices, and the classes."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    classes = sorted(names, key=lambda name: (len(name), name) if name.isdigit() else (1 << 30, name))
    if len(classes) < 2:
        raise UserError(f"{folder} needs a sub-folder for each class, two at least, such as 0 to 9")
    extensions = frozenset(Image.registered_extensions())
    paths = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(Path(folder, name).iterdir())
        if path.suffix.lower() in extensions
    ]
    images, labels = [], []
    for path, label in tqdm(paths, desc="pictures", leave=False, disable=None):
        picture = picture_or_none(path)
        if picture is not None:
            images.append(picture)
            labels.append(label)
    empty = sorted(set(range(len(classes))) - set(labels))
    if empty:
        raise UserError(
            f"{Path(folder, classes[empty[0]])} is no class: it has no picture that can be read"
        )
    return torch.from_numpy(np.stack(images)), torch.tensor(labels), classes


def picture_or_none(path: Path) -> np.ndarray | None:
    """A picture at 28×28; where it cannot be read, a line says why."""
    try:
        return mnist_like(path)
    except PictureError as error:
        say(f"left out: {path}: {error}")
        return None


@contextlib.contextmanager
def open_fonts(path):
    """The arrays of a file that `fonts/render.py` made. Raises UserError for one that is not."""
    data = read_file(path, LARGEST_FONTS)
    try:
        unpacked = unpacked_size(data)
        if unpacked > UNPACKED_FONTS:
            raise ValueError(f"it unpacks to {unpacked:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            yield archive
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise UserError(f"{path} holds no digits in fonts: {reason(error)}") from error


def check_pictures(images: np.ndarray) -> None:
    """Raise ValueError unless these are N×28×28 uint8."""
    if images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise ValueError(f"its images are {images.shape} of {images.dtype}")


def load_font_digits(path, held_out: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """N×28×28 uint8 digits in fonts, and their N labels.

    `fonts/render.py` made the file and marked the families that are `held_out`
    for evaluation; without that, those to train on. Raises UserError for a file
    that is not of that kind.
    """
    with open_fonts(path) as archive:
        images, labels, unseen = (archive[name] for name in ("images", "labels", "held_out"))
        check_pictures(images)
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(f"its labels are {labels.shape} of {labels.dtype}")
        if labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"its labels go from {labels.min()} to {labels.max()}")
        chosen = unseen[np.arange(len(labels)) // 10] == held_out
        return torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen].astype(np.int64))


def in_few_pixels(images: torch.Tensor, seed: int) -> torch.Tensor:
    """N×28×28 uint8 digits as they come out of pictures of 8 to 12 pixels a side.

    Readers of so few pixels often stretch a digit to a box that is alike for all,
    and a 1 becomes a broad bar (NIST's form-based handprint system, 1994, has a
    box of 20×32 pixels). The height is all of the picture's, the width from 0.5 to
    0.8 of it, or more where the digit is wider.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for image in images.numpy():
        left, top, right, bottom = bounding_box(image.astype(np.float32)) or (0, 0, SIDE, SIDE)
        digit = image[top:bottom, left:right]
        side, stretched = int(rng.integers(8, 13)), rng.uniform(0.5, 0.8)
        width = min(side, round(side * max(stretched, digit.shape[1] / digit.shape[0])))
        small = Image.fromarray(digit).resize((width, side), Image.Resampling.BILINEAR)
        picture = np.zeros((side, side), np.uint8)
        left = (side - width) // 2
        picture[:, left : left + width] = np.asarray(small)
        pictures.append(mnist_like(picture, invert="no"))
    return torch.from_numpy(np.stack(pictures))


def split(
    labels: torch.Tensor, size: int, seed: int, of_each: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the images to train on and of `size` images held out, both sorted.

    Stratified: each class has its share of the held-out images, to the nearest
    one. The same labels, size and seed give the same split. With `of_each`, so many
    images of each class at least are on either side, where a class has enough;
    then `size` is only about what it says. Raises UserError if `size` would
    leave nothing to train on.
    """
    count = len(labels)
    if not 0 <= size < count:
        raise UserError(f"cannot hold out {size:,} of {count:,} images")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    shares = torch.bincount(labels) * (size / count)
    quota = shares.floor().long()
    # The classes that lost most by rounding down get the images that are still missing.
    missing = size - int(quota.sum())
    quota[(shares - quota).argsort(descending=True, stable=True)[:missing]] += 1
    if of_each:
        counts = torch.bincount(labels)
        quota = torch.minimum(quota.clamp(min=of_each), (counts - of_each).clamp(min=0))
    held_out = torch.zeros(count, dtype=torch.bool)
    for label, number in enumerate(quota.tolist()):
        held_out[order[labels[order] == label][:number]] = True
    return (~held_out).nonzero().squeeze(1), held_out.nonzero().squeeze(1)


class Augmentation(NamedTuple):
    """How far a training image may be moved at random, each way."""

    rotation: float  # degrees
    shift: float  # pixels
    scale: float  # natural logarithm: 0.1 is 10 % larger or smaller
    shear: float  # how far a row moves sideways for each row further down
    squeeze: float = 0.0  # natural logarithm: wider by as much as lower, or the reverse
    share: float = 1.0  # of the images; the others stay as they are
    elastic: float = 0.0  # pixels, standard deviation
    stroke: float = 0.0  # wider or thinner, as a share of one pixel on each side
    blur: float = 0.0  # as a share of the mean over 5×5 pixels
    coarse: float = 0.0  # share of the images that are seen in pixels of COARSE as many


# Chosen on validation images: benchmarks/choose_recipe.py, table in the README.
AUGMENTATIONS = {
    "none": None,
    "affine": Augmentation(rotation=8.0, shift=1.5, scale=0.08, shear=0.1),
    "affine-strong": Augmentation(rotation=15.0, shift=2.0, scale=0.15, shear=0.2),
    # The kinds of distortion of the paper's section III.A, whose amounts it does not give;
    # its 540,000 distorted patterns are 9 of 10.
    "1998": Augmentation(rotation=0.0, shift=1.5, scale=0.1, shear=0.2, squeeze=0.1, share=0.9),
    "elastic": Augmentation(rotation=8.0, shift=1.5, scale=0.08, shear=0.1, elastic=0.8),
    "elastic-mild": Augmentation(rotation=6.0, shift=1.0, scale=0.06, shear=0.08, elastic=0.6),
    "elastic-centred": Augmentation(rotation=8.0, shift=0.7, scale=0.08, shear=0.1, elastic=0.8),
    "elastic-strong": Augmentation(rotation=10.0, shift=1.5, scale=0.1, shear=0.15, elastic=1.2),
}
PENS = {"stroke": 0.7, "blur": 0.7, "coarse": 0.1}
AUGMENTATIONS["pens"] = AUGMENTATIONS["elastic"]._replace(**PENS)
AUGMENTATIONS["pens-mild"] = AUGMENTATIONS["elastic-mild"]._replace(**PENS)
COARSE = 0.4  # of a side's pixels: a digit of 20 is seen in 8, as in the smallest pictures
KNOTS = 5  # a side: an elastic distortion moves 5×5 points, and what lies between them follows


def random_maps(count: int, amount: Augmentation, side: int, generator: torch.Generator) -> torch.Tensor:
    """`count` random maps for `warp` on side×side images.

    Affine maps are count×2×3, as for `F.affine_grid`: uniform in each of
    rotation, logarithm of the scale, shear, the two shifts and logarithm of the
    squeeze (which widens a shift too). Elastic ones are count×2×(3 + KNOTS²):
    behind the affine map stands how far each knot moves in x and in y, normally
    distributed, after Simard, Steinkraus, Platt, "Best Practices for
    Convolutional Neural Networks", 2003, who smooth a displacement of every
    pixel instead. Drawn on the CPU, so that a seed means the same on every
    device.
    """

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(amount.rotation))
    size = uniform(amount.scale).exp()
    shear = uniform(amount.shear)
    # affine_grid measures in half sides: the image spans -1 to 1.
    x, y = uniform(2 * amount.shift / side), uniform(2 * amount.shift / side)
    # Rotation, then shear, over the scale: the map from where a pixel goes to where it comes from.
    cos, sin = angle.cos() / size, angle.sin() / size
    top = torch.stack([cos, shear * cos - sin, x], dim=1)
    bottom = torch.stack([sin, shear * sin + cos, y], dim=1)
    if amount.squeeze:
        squeeze = uniform(amount.squeeze).exp()[:, None]
        top, bottom = top * squeeze, bottom / squeeze
    maps = torch.stack([top, bottom], dim=1)
    if amount.elastic:
        moves = torch.randn(count, 2, KNOTS * KNOTS, generator=generator)
        maps = torch.cat([maps, moves * (2 * amount.elastic / side)], dim=2)
    if amount.share < 1:
        left_alone = torch.rand(count, generator=generator) >= amount.share
        maps[left_alone] = torch.eye(2, maps.shape[2])
    return maps


def warp(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """N×1×H×W images moved by the maps of `random_maps`, N×2×K, in one bilinear sampling.

    What comes from outside an image is the background at its edge.
    """
    count, _, height, width = images.shape
    # For K = 3 the same as F.affine_grid, which takes five times as long for small images.
    points = pixel_centres(height, width, images.device)
    if maps.shape[2] > 3:
        points = torch.cat([points, pull_of_knots(height, width, images.device)], dim=1)
    grid = (points @ maps.reshape(count * 2, -1).T).reshape(height, width, count, 2)
    grid = grid.permute(2, 0, 1, 3)
    if images.device.type == "mps":  # has no border padding before torch 2.13
        return F.grid_sample(images, kept_inside(grid), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def random_pens(count: int, amount: Augmentation, generator: torch.Generator) -> torch.Tensor | None:
    """`count` random pens for `redraw`, count×3: stroke, blur, coarse; None where all are 0.

    The stroke is uniform, the blur too for every third image and 0 for the
    others, coarse is 1 or 0.
    """
    if not amount.stroke and not amount.blur and not amount.coarse:
        return None
    stroke, blur, coarse = torch.rand(3, count, generator=generator)
    stroke = (stroke * 2 - 1) * amount.stroke
    blur = (blur * 3 - 2).clamp(min=0) * amount.blur
    return torch.stack([stroke, blur, (coarse < amount.coarse).float()], dim=1)


def redraw(images: torch.Tensor, pens: torch.Tensor) -> torch.Tensor:
    """N×1×H×W images of bright ink with wider, thinner, softer or coarser strokes: `random_pens`.

    A share s > 0 of the largest of each pixel's 3×3 neighbours makes strokes
    wider, of the smallest (s < 0) thinner.
    """
    stroke, blur, coarse = pens.unbind(1)
    amount = stroke.reshape(-1, 1, 1, 1)
    # The smallest is the largest of the negative picture: one search for both.
    sign = torch.where(amount > 0, 1.0, -1.0)
    signed = images * sign
    images = signed.lerp(largest_of_neighbours(signed), amount.abs()) * sign
    for resample, share in ((mean_of_five, blur), (through_coarse_pixels, coarse)):
        # Only those that have it: a third of the images, and a tenth.
        places = share.nonzero().squeeze(1)
        chosen = images[places]
        down, across = (resample(side, images.device) for side in images.shape[2:])
        softer = chosen.lerp(down @ chosen @ across.T, share[places].reshape(-1, 1, 1, 1))
        images = images.index_copy(0, places, softer)
    return images


def largest_of_neighbours(images: torch.Tensor) -> torch.Tensor:
    """The largest of each pixel's 3×3 neighbours in N×1×H×W images."""
    # Slices of a padded image, since F.max_pool2d takes 16 times as long here: benchmarks/step.py.
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 2:]), padded[:, :, 1:-1])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 2:]), rows[..., 1:-1])


@functools.lru_cache(maxsize=8)
def mean_of_five(side: int, device: torch.device) -> torch.Tensor:
    """side×side: a row has the mean of up to five pixels around its own, fewer at the edges."""
    place = torch.arange(side)
    near = ((place - place[:, None]).abs() <= 2).float()
    return (near / near.sum(dim=1, keepdim=True)).to(device)


@functools.lru_cache(maxsize=8)
def through_coarse_pixels(side: int, device: torch.device) -> torch.Tensor:
    """side×side: what is left of each pixel that is averaged into coarse ones and enlarged again."""
    coarse = F.adaptive_avg_pool1d(torch.eye(side), round(COARSE * side))
    return F.interpolate(coarse[None], side, mode="linear").squeeze(0).T.contiguous().to(device)


def kept_inside(grid: torch.Tensor) -> torch.Tensor:
    """A sampling grid, N×H×W×2, of which points outside are moved to the outermost pixels' centres."""
    height, width = grid.shape[1:3]
    limit = torch.tensor([1 - 1 / width, 1 - 1 / height], device=grid.device)
    return torch.maximum(torch.minimum(grid, limit), -limit)


@functools.lru_cache(maxsize=8)
def pixel_centres(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(x, y, 1) of every pixel's centre, (height·width)×3, in an image that spans -1 to 1."""
    x = (torch.arange(width, device=device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=device) * 2 + 1) / height - 1
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    return torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)


@functools.lru_cache(maxsize=8)
def pull_of_knots(height: int, width: int, device: torch.device) -> torch.Tensor:
    """How much each pixel moves with each knot, (height·width)×KNOTS².

    1 where a pixel lies on the knot, 0 on all other knots, cubic in between: what
    enlarging a picture of KNOTS×KNOTS pixels makes of each of its pixels.
    """
    knots = torch.eye(KNOTS * KNOTS).reshape(-1, 1, KNOTS, KNOTS)
    pull = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
    return pull.reshape(KNOTS * KNOTS, -1).T.contiguous().to(device)
