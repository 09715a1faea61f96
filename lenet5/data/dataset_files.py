"""Data sets in files of their own: tables (CSV), NumPy's archives, IDX files as MNIST's.

--dataset train.csv        a label and 784 pixels a row, as Kaggle and OpenML have MNIST
--dataset mnist.npz        x_train, y_train, x_test, y_test, as Keras has it
--dataset FOLDER or FILE   train-images-idx3-ubyte and its like, plain or .gz
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lenet5.data.sources import parse_idx, unzipped
from lenet5.imaging.mnist_format import SIDE
from lenet5.imaging.preprocess import all_mnist_like
from lenet5.networks.finder import FinderNetwork
from lenet5.runtime.atomic_files import read_file
from lenet5.runtime.errors import UserError, reason, say

LARGEST = 1 << 30  # bytes of a file, and of what it unpacks to
LABELS = ("label", "labels", "class", "target", "y", "digit")  # names of a table's column
PARTS = ("train", "val", "test")
# The names of a part's images and labels in an archive: of Keras, and of others.
NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
TESTS = ("test", "t10k", "val", "eval")  # what may stand for "train" in the name of a test file
IDX = re.compile(r".*images.*idx3.*", re.IGNORECASE)  # the name of a file of images


class Part(NamedTuple):
    """Pictures, N×H×W or N×784 of any numbers, and N labels, numbers or names."""

    images: np.ndarray
    labels: np.ndarray


def idx_images(folder) -> Path | None:
    """The IDX file of training images in a folder, if there is one."""
    found = [path for path in sorted(Path(folder).iterdir()) if IDX.match(path.name)]
    return next((path for path in found if "train" in path.name.lower()), found[0] if found else None)


def is_data_file(name: str) -> bool:
    """Whether this is a file, or a folder with IDX files."""
    return os.path.isfile(name) or (os.path.isdir(name) and idx_images(name) is not None)


def read_parts(path: Path) -> dict[str, Part]:
    """The parts of a data set by name, of which the training images are always one. Raises UserError."""
    readers: dict[str, Callable[[Path], dict[str, Part]]] = {".csv": read_tables, ".npz": read_archive}
    read = readers.get(path.suffix.lower(), read_idx)
    try:
        return read(path)
    except UserError:
        raise
    except Exception as error:  # of a damaged file NumPy raises many kinds
        raise UserError(f"{path} cannot be read as a data set: {reason(error)[:100]}") from error


def read_tables(path: Path) -> dict[str, Part]:
    """A table, and one beside it that is called test where it is called train and has labels."""
    parts = {"train": read_table(path)}
    for other in test_files(path):
        try:
            parts["test"] = read_table(other)
            break
        except UserError as error:
            say(f"left out: {error}")
    return parts


def test_files(path: Path) -> list[Path]:
    """The files that are called test where a training file is called train."""
    if "train" not in path.name.lower():
        return []
    names = [re.sub(r"train(ing)?", word, path.name, flags=re.IGNORECASE) for word in TESTS]
    return [path.with_name(name) for name in names if path.with_name(name).is_file()]


def read_table(path: Path) -> Part:
    """The rows of a table. Raises UserError if it has no labels."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().rstrip("\r\n").replace('"', "").split(",")
    has_names = not all(map(is_number, first[1:]))
    named = [i for i, word in enumerate(first) if has_names and word.strip().lower() in LABELS]
    if not named and len(first) != 1 + SIDE * SIDE:
        raise UserError(f"{path} has {len(first)} columns and none of labels, which training needs")
    column = named[0] if named else 0
    # A first column without a name counts the rows.
    pixels = [i for i in range(len(first)) if i != column and (first[i] or not has_names)]

    def rows(columns, kind) -> np.ndarray:
        return np.loadtxt(
            path,
            kind,
            delimiter=",",
            skiprows=int(has_names),
            usecols=columns,
            quotechar='"',
            comments=None,
            encoding="utf-8-sig",
            ndmin=2,
        )

    return Part(rows(pixels, np.float32), rows([column], str)[:, 0])


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_archive(path: Path) -> dict[str, Part]:
    """The arrays of an .npz file, by the names that Keras or others give them."""
    with np.load(path, allow_pickle=False) as archive:
        if sum(entry.file_size for entry in archive.zip.infolist()) > LARGEST:
            raise UserError(f"{path} unpacks to more than {LARGEST >> 30} GB")
        names = {name.lower(): name for name in archive.files}
        parts = {
            part: Part(archive[names[images]], archive[names[labels]])
            for part in PARTS
            for images, labels in NAMES[part]
            if {images, labels} <= names.keys()
        }
    if "train" not in parts:
        raise UserError(f"{path} has no x_train with y_train, but {', '.join(sorted(names)[:6])}")
    return parts


def read_idx(path: Path) -> dict[str, Part]:
    """An IDX file of images with its labels, and those of the test images beside it."""
    parts = {"train": idx_part(path)}
    tests = [other for other in test_files(path) if other != path]
    return parts | ({"test": idx_part(tests[0])} if tests else {})


def idx_part(path: Path) -> Part:
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels == path or not labels.is_file():
        raise UserError(f"{path} is no table, no .npz, and no IDX file of images with labels beside it")
    return Part(read_idx_file(path), read_idx_file(labels))


def read_idx_file(path: Path) -> np.ndarray:
    data = read_file(path, LARGEST)
    data = unzipped(data, LARGEST) if path.suffix == ".gz" else data
    return parse_idx(data, str(path)).numpy()


def load_file(path) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], list[str]]:
    """The parts of a data set as N×28×28 uint8 pictures and N class indices, and the classes."""
    path = Path(path)
    found = idx_images(path) if path.is_dir() else path
    assert found is not None, "the caller has looked"
    parts = read_parts(found)
    names = {name: list(map(class_name, part.labels.ravel().tolist())) for name, part in parts.items()}
    classes = in_order(set(names["train"]))
    if "" in classes:
        raise UserError(f"{path} has a row without a label")
    if len(classes) < 2:
        raise UserError(f"{path} has one class, and at least two are to be told apart")
    for name, own in names.items():
        if not set(own) <= set(classes):
            other = min(set(own) - set(classes))
            raise UserError(f"{path}: {name} has the class {other[:40]}, which train has not")
        if len(own) != len(parts[name].images):
            raise UserError(f"{path}: {len(parts[name].images):,} images with {len(own):,} labels")
    made = {
        name: (pictures(part.images, path), torch.tensor([classes.index(own) for own in names[name]]))
        for name, part in parts.items()
    }
    return made, classes


def class_name(label: Any) -> str:
    """A class as it is called: 7 for 7, 7.0 and "7"."""
    text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
    return text.strip().removesuffix(".0")


def in_order(names: set[str]) -> list[str]:
    """Classes in their order: numbers first."""
    return sorted(names, key=lambda name: (len(name), name) if name.isdigit() else (1 << 30, name))


def pictures(images: np.ndarray, path) -> torch.Tensor:
    """N×28×28 uint8 as in MNIST: rows of 784 and 28×28 as they are, others pre-processed."""
    if images.ndim < 2 or not images.size or images.dtype.kind not in "buif":
        raise UserError(f"{path}: {images.dtype} of shape {images.shape} are no pictures")
    if images.ndim == 4 and 1 in (images.shape[1], images.shape[3]):
        images = images.reshape(len(images), *(side for side in images.shape[1:] if side != 1))
    if images.shape[1:] == (SIDE * SIDE,):
        images = images.reshape(-1, SIDE, SIDE)
    if images.shape[1:] == (SIDE, SIDE):
        levels = images * 255.0 if images.max() <= 1 else images  # shares, or a mask
        if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > 255:
            raise UserError(f"{path}: its pixels are not from 0 to 255")
        return torch.from_numpy(np.rint(levels).astype(np.uint8))
    digits = all_mnist_like(images, FinderNetwork())
    wrong = next((error for _, error in digits if error is not None), None)
    if wrong is not None:
        raise UserError(f"{path}: {wrong}")
    return torch.from_numpy(np.stack([digit for digit, _ in digits if digit is not None]))
