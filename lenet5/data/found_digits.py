"""Digits of made-up pictures as the finder gives them: what a reader of any picture learns from.

    images, labels = found_digits(pool, 100_000, seed=0, folder="data")

The pictures are made and looked at once; the digits found in them are kept in a file.
"""

import io
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from lenet5.data.finder_pictures import make_pictures, make_textures
from lenet5.data.glyphs import Pool, open_pool, save_pool
from lenet5.imaging.centring import centre_digit
from lenet5.imaging.preprocess import find_ink, view_of
from lenet5.networks.finder import PRETRAINED, FinderNetwork
from lenet5.runtime.atomic_files import md5, read_file, write_file
from lenet5.runtime.worker_processes import begin, cores

# Height and width of the pictures of one batch after the other.
SIZES = ((96, 96), (96, 64), (64, 96), (96, 96), (128, 128), (96, 48), (96, 96), (64, 64), (96, 64))
BATCH = 50
TEXTURES = 14  # one of so many batches has no writing; prime to the number of sizes
LEAST_OVERLAP = 0.5  # of what was found of a digit with all of its ink, both centred
FIRST_SEED = 10**13  # the finder learned none of the pictures of the seeds from here on
LARGEST_FILE = 1 << 30  # bytes
WORKER: list = []  # of a worker process: its pool and its finder


def found_digits(pool: Pool, count: int, seed: int, folder) -> tuple[torch.Tensor, torch.Tensor]:
    """N×28×28 uint8 images and N labels, -1 for non-digits, of the ink found in `count` pictures.

    A digit of which hardly anything is found is none. A file in `folder` keeps the result for later
    calls with the same pool, count, seed and finder.
    """
    key = md5(b"".join(part.numpy().tobytes() for part in pool) + read_file(PRETRAINED, LARGEST_FILE))
    path = Path(folder, f"found-digits-{key[:12]}-{count}-{seed}.npz")
    if not path.exists():
        parts = make_all(pool, range(-(-count // BATCH)), FIRST_SEED + seed * 10**9)
        images, labels = (np.concatenate(part)[:count] for part in zip(*parts, strict=True))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images, labels=labels)
        write_file(path, buffer.getvalue())
    with np.load(io.BytesIO(read_file(path, LARGEST_FILE))) as archive:
        return torch.from_numpy(archive["images"]), torch.from_numpy(archive["labels"])


def make_all(pool: Pool, batches: range, first_seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """`make_batch` of each of the batches, by a process for each core."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        save_pool(pool, Path(name))
        with ProcessPoolExecutor(cores(), context, begin_worker, (Path(name),)) as executor:
            parts = executor.map(make_batch, batches, [first_seed] * len(batches), chunksize=4)
            return list(tqdm(parts, "pictures", len(batches), leave=False, disable=None))


def begin_worker(folder: Path) -> None:
    begin()
    torch.set_num_threads(1)
    WORKER[:] = open_pool(folder), FinderNetwork()


def make_batch(number: int, first_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The digits found in one batch of pictures, and their labels."""
    pool, find = WORKER
    size, seed = SIZES[number % len(SIZES)], first_seed + number
    if number % TEXTURES:
        pictures, masks, labels = make_pictures(pool, BATCH, size, seed)
    else:
        pictures, labels = make_textures(BATCH, size, seed), torch.full((BATCH,), -1)
        masks = torch.zeros(BATCH, 1, *size)
    pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    digits = np.stack(
        [found.digit for found in find_ink([view_of(Image.fromarray(p)) for p in pixels], find)]
    )
    truth = np.stack([centre_digit(255 * mask) for mask in masks[:, 0].numpy()])
    return digits, np.where(overlap(digits, truth) < LEAST_OVERLAP, -1, labels.numpy())


def overlap(digits: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The Dice coefficients of N×28×28 uint8 digits and others: N numbers from 0 to 1."""
    both = np.minimum(digits, others).sum(axis=(1, 2), dtype=np.float64)
    return 2 * both / np.maximum(digits.sum(axis=(1, 2)) + others.sum(axis=(1, 2), dtype=np.float64), 1)
