"""Pictures whose labels are known: what --evaluate, --embedding and --robustness are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lenet5.data.picture_files import find_pictures
from lenet5.imaging.preprocess import all_mnist_like
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime.errors import UserError, say

if TYPE_CHECKING:
    import torch


class LabelledPictures(NamedTuple):
    images: torch.Tensor  # N×28×28 uint8
    labels: torch.Tensor  # N class indices
    paths: list[str] | None = None  # N, where they are files
    unusable: int = 0  # files that were left out


def evaluation_set(source: str, classifier: ImageClassifier) -> LabelledPictures:
    """A data set's test images, those of fonts (the families held out of training), or a folder's.

    In a folder, names or folders of pictures tell their labels. Raises UserError for classes
    that are not those of the network.
    """
    import torch

    from lenet5.data.dataset_files import is_data_file, load_file
    from lenet5.data.datasets import DATASETS, load_dataset
    from lenet5.data.fonts import FONTS, load_font_digits
    from lenet5.data.sources import DIGITS

    if source == "fonts":
        images, labels = load_font_digits(FONTS, held_out=True)
        classes = DIGITS
    elif source in DATASETS:
        found = load_dataset(source, "data")
        images, labels, classes = found.test_images, found.test_labels, found.classes
    elif is_data_file(source):
        parts, classes = load_file(source)
        images, labels = parts.get("test", parts["train"])
        say(f"{len(labels):,} pictures of {source}{', its test set' if 'test' in parts else ''}")
    else:
        return labelled_folder(source, classifier)
    known = [str(name) for name in classifier.classes]
    if not set(classes) <= set(known):
        raise UserError(f"the weights know {len(known)} classes that are not those of {source}")
    return LabelledPictures(images, torch.tensor([known.index(name) for name in classes])[labels])


def labelled_folder(folder: str, classifier: ImageClassifier) -> LabelledPictures:
    """The pictures in a folder; a line on stderr names each unusable one."""
    import torch

    images, labels, used = [], [], []
    paths = list(find_pictures([folder]))
    digits = all_mnist_like(paths, classifier.find, classifier.invert)
    for path, (image, error) in zip(paths, digits, strict=True):
        label = classifier.label_of(path)
        if image is None or label is None:
            say(f"left out: {path}: {error or 'neither its name nor its folder tells what it is'}")
            continue
        images.append(image)
        labels.append(classifier.classes.index(label))
        used.append(path)
    if not images:
        raise UserError(
            f"nothing in {folder} can be evaluated: it needs pictures such as digit_7.png or 7/a.png",
            status=1,
        )
    unusable = len(paths) - len(used)
    return LabelledPictures(torch.from_numpy(np.stack(images)), torch.tensor(labels), used, unusable)
