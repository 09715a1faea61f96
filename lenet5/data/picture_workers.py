"""Worker processes that make pictures of a pool's glyphs, and files that keep what they made."""

import contextlib
import functools
import io
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lenet5.data.glyphs import Pool, open_pool, save_pool
from lenet5.networks.finder import PRETRAINED, FinderNetwork
from lenet5.runtime.atomic_files import md5, read_file, write_file
from lenet5.runtime.worker_processes import begin, cores

BATCH = 50  # pictures that are made together
BATCHES_KEPT = 100  # are written together: what an interrupted call loses at most
FIRST_SEED = 10**13  # the finder learned none of the pictures of the seeds from here on
LARGEST_FILE = 1 << 30  # bytes
KNOWN: list[Pool] = []  # of a worker process


@contextlib.contextmanager
def picture_workers(pool: Pool, count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes of one thread, each of which knows the pool."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        save_pool(pool, Path(name))
        with ProcessPoolExecutor(count, context, begin_with_pool, (Path(name),)) as executor:
            yield executor


def begin_with_pool(folder: Path) -> None:
    """Initialise a worker: it maps the pool."""
    begin()
    torch.set_num_threads(1)
    KNOWN[:] = [open_pool(folder)]


def known_pool() -> Pool:
    return KNOWN[0]


@functools.cache
def known_finder() -> FinderNetwork:
    return FinderNetwork()


def kept_in(
    folder, name: str, make: Callable, pool: Pool, count: int, seed: int
) -> dict[str, np.ndarray]:
    """What `make(number, seed)` gives for the batches of `count` pictures: arrays by name, joined.

    A file in `folder` keeps them for later calls with the same pool, count, seed and finder.
    """
    key = md5(b"".join(part.numpy().tobytes() for part in pool) + read_file(PRETRAINED, LARGEST_FILE))
    path = Path(folder, f"{name}-{key[:12]}-{count}-{seed}.npz")
    if not path.exists():
        numbers = range(-(-count // BATCH))
        some = [numbers[start : start + BATCHES_KEPT] for start in range(0, len(numbers), BATCHES_KEPT)]
        kept = {part: path.with_suffix(f".part{part.start}") for part in some}
        missing = [part for part in some if not kept[part].exists()]  # an interrupted call goes on
        with picture_workers(pool, cores()) as executor:
            for part in tqdm(missing, "pictures", leave=False, disable=None):
                seeds = [FIRST_SEED + seed * 10**9 + number for number in part]
                write_arrays(kept[part], [*executor.map(make, part, seeds, chunksize=4)])
        write_arrays(path, [read_arrays(file) for file in kept.values()])
        for file in kept.values():
            file.unlink()
    return read_arrays(path)


def write_arrays(path: Path, parts: list[dict[str, np.ndarray]]) -> None:
    """Write arrays by name, those of all parts joined."""
    joined: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **joined)
    write_file(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(read_file(path, LARGEST_FILE))) as archive:
        return dict(archive)
