"""Renderings of digits and letters in fonts (`fonts/render.py` makes the file)."""

import contextlib
import io

import numpy as np
import torch

from lenet5.runtime.atomic_files import read_file, unpacked_size
from lenet5.runtime.errors import UserError, reason
from lenet5.runtime.project_files import project_file

FONTS = project_file("fonts/digits.npz")  # the one that comes with the project
LARGEST_FONTS = 20_000_000  # bytes
UNPACKED_FONTS = 200_000_000  # bytes


@contextlib.contextmanager
def font_archive(path):
    """The arrays of a file that `fonts/render.py` made. Raises UserError for any other file."""
    data = read_file(path, LARGEST_FONTS)
    try:
        unpacked = unpacked_size(data)
        if unpacked > UNPACKED_FONTS:
            raise ValueError(f"it unpacks to {unpacked:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            yield archive
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise UserError(f"{path} holds no digits in fonts: {reason(error)}") from error


def load_letters(path, held_out: bool = False) -> torch.Tensor:
    """N×H×W uint8 letters and signs in the faces that `load_font_digits` loads."""
    with font_archive(path) as archive:
        chosen = archive["held_out"][archive["letter_faces"]] == held_out
        return chosen_pictures(archive["letters"], chosen)


def load_font_digits(path, held_out: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """N×H×W uint8 digits in fonts and their N labels, of the training or the `held_out` families.

    28×28 pixels as MNIST has them in digits.npz, 64×64 in glyphs.npz.
    """
    with font_archive(path) as archive:
        images, labels, unseen = (archive[name] for name in ("images", "labels", "held_out"))
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(f"its labels are {labels.shape} of {labels.dtype}")
        if labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"its labels go from {labels.min()} to {labels.max()}")
        chosen = unseen[np.arange(len(labels)) // 10] == held_out
        return chosen_pictures(images, chosen), torch.from_numpy(labels[chosen].astype(np.int64))


def chosen_pictures(images: np.ndarray, chosen: np.ndarray) -> torch.Tensor:
    """The chosen ones of N×H×W uint8 images. Raises ValueError for images of other sizes."""
    if images.shape[1:] not in ((28, 28), (64, 64)) or images.dtype != np.uint8:
        raise ValueError(f"its images are {images.shape} of {images.dtype}")
    return torch.from_numpy(images[chosen])
