"""Data sets as uint8 tensors, and stratified splits.

    >>> from lenet5.data.datasets import load_dataset
    >>> mnist = load_dataset("mnist", "data")
    >>> mnist.train_images.shape, mnist.train_images.dtype
    (torch.Size([60000, 28, 28]), torch.uint8)

A data set is MNIST or Fashion-MNIST (`sources.py`), one of torchvision's, a folder of pictures, or a
file (`dataset_files.py`).
"""

import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lenet5.data.dataset_files import in_order, is_data_file, load_file
from lenet5.data.picture_files import find_pictures, is_folder, is_hidden
from lenet5.data.sources import DIGITS, IDX_SETS, ImageSet, load_idx_set
from lenet5.imaging.preprocess import attempt, mnist_like
from lenet5.networks.finder import FinderNetwork
from lenet5.runtime.errors import UserError, reason, say

# By --dataset name: torchvision's class and its further arguments.
TORCHVISION_SETS = {"kmnist": ("KMNIST",), "qmnist": ("QMNIST",), "emnist-digits": ("EMNIST", "digits")}
DATASETS = (*IDX_SETS, *TORCHVISION_SETS)
# Names of the folders that hold a data set's parts, in any case.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
TEST_SHARE = 5  # of a folder without a test set of its own, every fifth picture


def load_mnist(folder="data") -> ImageSet:
    """MNIST's 60,000 training and 10,000 test images: `load_idx_set`."""
    return load_idx_set("mnist", folder)


def load_dataset(name: str, folder="data") -> ImageSet:
    """A data set by its `--dataset` name: a published one, a folder of pictures, or a file.

    `folder` keeps the published ones. Raises UserError if it cannot be loaded.
    """
    if name in IDX_SETS:
        return load_idx_set(name, folder)
    if name in TORCHVISION_SETS:
        return load_from_torchvision(name, folder)
    check_dataset(name)
    if is_data_file(name):
        return image_set(name, *load_file(name))
    return load_folder(name)


def check_dataset(name: str) -> None:
    """Raise UserError if `--dataset` names no known data set, no folder and no file."""
    if name not in DATASETS and not os.path.exists(name):
        known = ", ".join(DATASETS)
        raise UserError(f"--dataset: {name} is no folder of pictures, no file and no data set ({known})")


def load_from_torchvision(name: str, folder) -> ImageSet:
    """A data set that torchvision fetches and reads: `kmnist`, `qmnist` or `emnist-digits`."""
    kind, *more = TORCHVISION_SETS[name]
    try:
        from torchvision import datasets

        make = getattr(datasets, kind)
        train, test = (make(folder, *more, train=part, download=True) for part in (True, False))
    except Exception as error:  # torchvision raises many kinds, of the network and for damaged files
        place = Path(folder) / kind / "raw"
        raise UserError(
            f"{name} could not be downloaded by torchvision: {reason(error)}. "
            f"Put its original files into {place} by hand and run the command again"
        ) from error
    classes = train.classes if name == "kmnist" else DIGITS
    if name == "emnist-digits":  # its pictures lie on their side
        train.data, test.data = (part.data.transpose(1, 2).contiguous() for part in (train, test))
    # QMNIST's targets have the class first, then the writer and more.
    train_labels, test_labels = (
        part.targets.reshape(len(part.targets), -1)[:, 0].long() for part in (train, test)
    )
    return ImageSet(train.data, train_labels, test.data, test_labels, list(classes))


def load_folder(folder) -> ImageSet:
    """A folder with a sub-folder of pictures for each class, pre-processed to 28×28.

    Sub-folders `train`, `val` and `test`, or other names of `SPLITS`, may hold the classes. Unreadable
    pictures are named and left out. Raises UserError for fewer than two classes or an empty class.
    """
    found = split_folders(folder)
    read = {part: read_classes(found.get(part, folder)) for part in ("train", *found)}
    others = [name for name in class_names(folder) if Path(folder, name) not in found.values()]
    if found and others:
        say(f"left out of {folder}: {', '.join(others)}")
    classes = read["train"][2]
    for part, (_, _, own) in read.items():
        if own != classes:
            raise UserError(f"{folder}: train has the classes {classes}, {part} has {own}")
    return image_set(folder, {part: own[:2] for part, own in read.items()}, classes)


def image_set(name, parts: dict, classes: list[str]) -> ImageSet:
    """The data set of images and labels by part: train, perhaps val, perhaps test.

    Without a test set of its own every fifth training picture is for testing.
    """
    images, labels = parts["train"]
    if "test" in parts:
        test_images, test_labels = parts["test"]
    elif labels.bincount().min() < 2:
        raise UserError(f"{name}: every class needs at least two pictures, one of them to test with")
    else:
        size = max(len(classes), len(labels) // TEST_SHARE)
        learned, tested = split(labels, size, seed=0, of_each=1)
        test_images, test_labels = images[tested], labels[tested]
        images, labels = images[learned], labels[learned]
    found = ImageSet(images, labels, test_images, test_labels, classes)
    return with_own_validation(found, *parts["val"]) if "val" in parts else found


def with_own_validation(found: ImageSet, images: torch.Tensor, labels: torch.Tensor) -> ImageSet:
    """A data set with images of its own to validate with."""
    return found._replace(
        train_images=torch.cat([found.train_images, images]),
        train_labels=torch.cat([found.train_labels, labels]),
        validation=len(labels),
    )


def split_folders(folder) -> dict[str, Path]:
    """The folders of training, validation and test pictures in a folder; none if it has the classes."""
    names = class_names(folder)
    parts = {part: name for name in names for part, known in SPLITS.items() if name.lower() in known}
    if "train" not in parts or (len(parts) == 1 and len(names) > 1):
        return {}
    return {part: Path(folder, name) for part, name in parts.items()}


def class_names(folder) -> list[str]:
    """The sub-folders of a folder, digits in their order and before other names."""
    with os.scandir(folder) as entries:
        return in_order({e.name for e in entries if is_folder(e) and not is_hidden(e.name)})


def read_classes(folder) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """N×28×28 uint8 pictures below a folder's sub-folders, their N class indices, and the classes."""
    classes = class_names(folder)
    if len(classes) < 2:
        raise UserError(f"{folder} needs a sub-folder for each class, at least two, such as 0 to 9")
    paths = list(find_pictures(os.path.join(folder, name) for name in classes))
    images, labels, find = [], [], FinderNetwork()
    for path in tqdm(paths, desc="pictures", leave=False, disable=None):
        if os.path.isdir(path):  # without a picture: an empty class
            continue
        picture, error = attempt(mnist_like, path, find)
        if picture is None:
            say(f"left out: {path}: {error}")
        else:
            images.append(picture)
            labels.append(classes.index(Path(path).relative_to(folder).parts[0]))
    for label, name in enumerate(classes):
        if label not in labels:
            raise UserError(f"{Path(folder, name)} is no class: it has no picture that can be read")
    return torch.from_numpy(np.stack(images)), torch.tensor(labels), classes


def split_of(
    images: ImageSet, size: int, seed: int, of_each: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the training images to train on and to validate with: the set's own, or `split`."""
    count = len(images.train_labels)
    if images.validation:
        learned = count - images.validation
        return torch.arange(learned), torch.arange(learned, count if size else learned)
    return split(images.train_labels, size, seed, of_each)


def split(
    labels: torch.Tensor, size: int, seed: int, of_each: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the images to train on and of `size` images held out, both sorted.

    Stratified and seeded. With `of_each`, either side has at least so many images of each
    class that has enough; then `size` is approximate. Raises UserError if `size` leaves
    nothing to train on.
    """
    count = len(labels)
    if not 0 <= size < count:
        raise UserError(f"cannot hold out {size:,} of {count:,} images")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    shares = torch.bincount(labels) * (size / count)
    quota = shares.floor().long()
    # The largest remainder method.
    missing = size - int(quota.sum())
    quota[(shares - quota).argsort(descending=True, stable=True)[:missing]] += 1
    if of_each:
        counts = torch.bincount(labels)
        quota = torch.minimum(quota.clamp(min=of_each), (counts - of_each).clamp(min=0))
    held_out = torch.zeros(count, dtype=torch.bool)
    for label, number in enumerate(quota.tolist()):
        held_out[order[labels[order] == label][:number]] = True
    return (~held_out).nonzero().squeeze(1), held_out.nonzero().squeeze(1)
