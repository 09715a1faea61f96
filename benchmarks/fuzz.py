"""Damaged files of every kind that the scripts read: does any crash, hang or fill the memory?

    python benchmarks/fuzz.py            # ten minutes on a core; Linux
    python benchmarks/fuzz.py --table    # print what was measured
    python benchmarks/fuzz.py --kind png --seed 3
    python benchmarks/fuzz.py --write png 17 FILE  # a case's bytes

Small whole files are damaged by `damage.py` with a seed and read by the functions
that read them in the scripts, in a process of its own that is watched. A case may
be read or be refused in words (UserError, or a Result with its error). It fails if
anything else is raised, if the process ends, if a library writes to stderr what a
person would not understand, after LONGEST seconds, and beyond MOST_MEMORY.
Files that failed are kept in benchmarks/work/fuzz.
"""

import argparse
import gzip
import io
import json
import math
import multiprocessing
import os
import re
import resource
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from common import ROOT, load, save
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

from lenet5.runtime.atomic_files import md5
from lenet5.runtime.errors import UserError

LONGEST = 5.0  # seconds a case
MOST_MEMORY = 1000.0  # megabytes above what the imports take
WHOLE_MEMORY = 8 << 30  # bytes of addresses that a case may ask for, so that this machine lives on
KEPT = ROOT / "benchmarks" / "work" / "fuzz"
TINY = 4  # pictures in an IDX file

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
PICTURES = tuple(dict.fromkeys(kind for kind, _, _ in WRITTEN))
FORMATS = {"apng": "PNG", "spider": "SPIDER"}  # where the name does not tell
# How many cases of a kind, in all more than 20,000.
CASES = {
    **dict.fromkeys(PICTURES, 500),
    "png": 1500,
    "jpg": 1000,
    "gif": 1000,
    "tif": 2000,
    "webp": 800,
    "bmp": 800,
    "ppm": 800,
    "other": 1500,
    "pth": 2500,
    "onnx": 2000,
    "idx": 1500,
    "idx.gz": 1000,
    "verified": 500,
    "tgz": 1000,
    "checkpoint": 2000,
    "config": 2500,
    "metrics": 1500,
    "npz": 2000,
}


# ---------------------------------------------------------------- whole files


def drawing(number: int) -> Image.Image:
    """A digit, large enough for all that is looked for in a photograph."""
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
    width, height = image.size
    pixels, size = image.tobytes(), [width, height]
    rows = ",\n".join(
        '"' + "".join(" X"[int(value < 128)] for value in row) + '"' for row in np.asarray(image)
    )
    cards = (f"BITPIX  = {8:20}", f"NAXIS   = {2:20}", f"NAXIS1  = {width:20}", f"NAXIS2  = {height:20}")
    cards = "".join(f"{card:80}" for card in (f"SIMPLE  = {'T':>20}", *cards, "END"))

    def numbers(width: int, order: str, *values: int) -> bytes:
        return b"".join(value.to_bytes(width, order) for value in values)

    ico, pcx = written("ico")[1], written("pcx")[1]
    return [
        ico[:2] + b"\x02" + ico[3:],  # CUR
        numbers(4, "little", 987654321, 12, 0) + pcx,  # DCX
        f'/* XPM */\nstatic char *x[] = {{\n"{width} {height} 2 1",\n'.encode()
        + f'"  c #FFFFFF",\n"X c #000000",\n{rows}}};\n'.encode(),
        cards.ljust(2880).encode() + pixels,  # FITS
        numbers(4, "big", 0x59A66A95, *size, 8, len(pixels), 1, 0, 0) + pixels,  # SUN
        # PSD: channels, height, width, depth, gray; three empty parts; no compression
        b"8BPS\x00\x01" + bytes(6) + b"\x00\x01" + numbers(4, "big", height, width)
        + b"\x00\x08\x00\x01" + bytes(12) + b"\x00\x00" + pixels,
        numbers(4, "big", 28, 2, *size, 1) + b"GIMP" + numbers(4, "big", 10) + pixels,  # GBR
        b"P7 332\n#END_OF_COMMENTS\n%d %d 255\n" % (width, height) + pixels,  # XVTHUMB
        b"P2\n%d %d\n255\n" % (width, height) + b" ".join(b"%d" % value for value in pixels),
        rle_bmp(width, height),
    ]  # fmt: skip


def rle_bmp(width: int, height: int) -> bytes:
    """A BMP in runs: one black run a row."""
    runs = bytes([width, 0, 0, 0]) * height + b"\x00\x01"
    start = 14 + 40 + 8
    header = [40, width, height, 1 | 8 << 16, 1, len(runs), 0, 0, 2, 2]
    fields = b"".join(number.to_bytes(4, "little") for number in (start + len(runs), 0, start, *header))
    return b"BM" + fields + bytes(4) + b"\xff\xff\xff\x00" + runs


def idx_files() -> list[bytes]:
    images = np.stack([np.asarray(drawing(number).resize((28, 28))) for number in range(TINY)])
    header = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    return [header + images.tobytes(), b"\x00\x00\x08\x01\x00\x00\x00\x04" + bytes(range(TINY))]


def compressed_idx_files() -> list[bytes]:
    return [gzip.compress(data) for data in idx_files()]


def archives() -> list[bytes]:
    """Archives as npm's, one with links and names that lead out of the folder."""
    found = []
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=style) as archive:
            for name, content in zip(
                (IDX_MEMBER, "package/ä" * 30, "/tmp/x", "../x"), idx_files() * 2, strict=True
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.pax_headers = len(content), {"comment": "ä" * 40}
                archive.addfile(entry, io.BytesIO(content))
            entry = tarfile.TarInfo("package/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
        found += [gzip.compress(buffer.getvalue(), 1), buffer.getvalue()]
    return found


IDX_MEMBER = "package/data/train-images-idx3-ubyte"


def weights_files() -> list[bytes]:
    import torch

    from lenet5.networks.registry import NETWORKS
    from lenet5.networks.weights import serialize, weights_with_metadata
    from model import build

    torch.manual_seed(0)
    more = {"temperature": 1.5, "reject_below": 0.4, "least_evidence": 0.1, "non_digits": True}
    nets = [build(name) for name in NETWORKS]
    found = [serialize(weights_with_metadata(net, test_accuracy=0.5, **more)) for net in nets]
    plain = nets[0].state_dict()
    buffer = io.BytesIO()
    torch.save(plain, buffer, _use_new_zipfile_serialization=False)  # as before PyTorch 1.6
    return [*found, serialize(dict(plain)), buffer.getvalue()]


def onnx_files() -> list[bytes]:
    """Of every network, and of one in whole numbers of eight bits."""
    import numpy as np
    import torch

    from lenet5.export.onnx_graph import describe, onnx_model
    from lenet5.export.quantization import quantised
    from lenet5.networks.registry import NETWORKS
    from lenet5.networks.weights import default_metadata
    from model import build

    torch.manual_seed(0)
    more = {"temperature": 1.5, "reject_below": 0.4, "least_evidence": 0.1, "non_digits": True}
    nets = [build(name) for name in NETWORKS]
    models = [onnx_model(net, default_metadata(net) | more) for net in nets]
    small = quantised(models[0], np.random.default_rng(0).random((10, 1, 32, 32), np.float32))
    describe(small, default_metadata(nets[0]) | more)
    return [model.SerializeToString(deterministic=True) for model in (*models, small)]


def new_run(folder: Path):
    """A run as train.py begins or resumes it."""
    import torch

    from lenet5.data.sources import DIGITS
    from lenet5.training.checkpoint import Run
    from lenet5.training.recipes import Settings

    settings = Settings(average=0.99)
    return Run(settings, folder, torch.device("cpu"), DIGITS)


def go_on(run) -> None:
    """One step, and what is written after an epoch."""
    import torch

    from lenet5.training.checkpoint import best_network
    from lenet5.training.epoch import RunningMetrics
    from lenet5.training.progress import epoch_line
    from lenet5.training.run_folder import metrics_csv

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


def checkpoints() -> list[bytes]:
    """After an epoch, and within the second."""
    from lenet5.networks.weights import weights_with_metadata
    from lenet5.training.run_folder import COLUMNS

    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder))
        go_on(run)
        run.history = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": 1}]
        weights = weights_with_metadata(run.net)
        run.best = {"epoch": 1, "weights": weights, "metadata": weights._metadata[""] | {"epoch": 1}}
        run.step = 10
        found = []
        for run.step_in_epoch, run.tally in ((0, None), (3, [0.5, 1.0, 2.0, 3.0])):
            run.save_checkpoint(run.generator.get_state())
            found.append((run.folder / "checkpoint.pth").read_bytes())
        return found


def configs() -> list[bytes]:
    from lenet5.training.recipes import RECIPES

    found = []
    for name in ("default", "record", "1998", "anybody"):
        config = {**RECIPES["default"], **RECIPES[name], "recipe": name, "versions": {"torch": "2"}}
        found.append(json.dumps(config, indent=2).encode())
    return found


def metrics_files() -> list[bytes]:
    from lenet5.training.run_folder import COLUMNS, metrics_csv

    rows = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch} for epoch in (1, 2, 3)]
    unvalidated = [row | {"val_loss": None, "val_accuracy": None} for row in rows]
    return [metrics_csv(rows).encode(), metrics_csv(unvalidated).encode()]


def font_files() -> list[bytes]:
    """fonts/digits.npz with the first and the last of its faces, compressed and not."""
    with np.load(ROOT / "fonts" / "digits.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    # Of two faces, ten digits each: fonts/render.py keeps them in the order of the faces.
    few = {name: array[:20] for name, array in arrays.items()}
    few["held_out"] = np.array([False, True])
    few["letter_faces"] = np.arange(20) % 2
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
    from lenet5.reading.classifier import ImageClassifier
    from lenet5.reading.results import TableWriter

    result = ImageClassifier(path, device="cpu", reject=True).predict_batch([drawing(7)])[0]
    check_result(result)
    result.path = "7.png"
    TableWriter(io.StringIO()).write([result])


def read_idx(path: Path) -> None:
    from lenet5.data.sources import parse_idx

    parse_idx(path.read_bytes())


def read_compressed_idx(path: Path) -> None:
    from lenet5.data.sources import parse_idx, unzipped

    parse_idx(unzipped(path.read_bytes(), 10_000))


def read_verified_idx(path: Path) -> None:
    from lenet5.data.sources import IdxFile, read_verified

    whole = idx_files()[0]
    name = path.with_name("train-images")
    path.rename(name if path.read_bytes()[:1] == b"\x00" else f"{name}.gz")
    if read_verified(path.parent, IdxFile(name.name, len(whole), md5(whole)), "MNIST") is None:
        raise UserError("not intact")


def read_archive(path: Path) -> None:
    from lenet5.data.sources import IdxFile, members

    file = IdxFile("train-images-idx3-ubyte", len(idx_files()[0]), "")
    for _, content in members(path, {file: IDX_MEMBER}):
        assert len(content) <= file.size


def read_checkpoint(path: Path) -> None:
    run = new_run(path.parent)
    path.rename(path.parent / "checkpoint.pth")
    assert run.load_checkpoint()
    go_on(run)


def read_config(path: Path) -> None:
    from lenet5.networks.registry import NETWORKS
    from lenet5.training.recipes import RECIPES
    from lenet5.training.schedules import SCHEDULES
    from lenet5.training.settings import settings_of

    path.rename(path.parent / "config.json")
    settings = settings_of(path.parent, {})
    NETWORKS[settings.arch], SCHEDULES[settings.scheduler]
    assert all(
        getattr(settings, name) is not None for name, value in RECIPES["default"].items() if value
    )


def read_history(path: Path) -> None:
    from lenet5.training.run_folder import is_better, read_metrics

    path.rename(path.parent / "metrics.csv")
    history = read_metrics(path.parent)
    best = history[0]
    for row in history:
        best = row if is_better(row, best) else best
    assert all(math.isfinite(value) for row in history for value in row.values() if value is not None)
    sum(row["seconds"] for row in history)


def read_fonts(path: Path) -> None:
    from lenet5.data.fonts import load_font_digits, load_letters

    _, labels = load_font_digits(path)
    assert ((labels >= 0) & (labels <= 9)).all()
    letters = load_letters(path)
    assert letters.shape[1:] == (28, 28)


# By kind: whole files, who reads them, and how they are damaged beside their bytes.
KINDS = {
    **{kind: (lambda kind=kind: written(kind), read_picture, damaged_inside) for kind in PICTURES},
    "other": (others, read_picture, damaged_inside),
    "pth": (weights_files, read_weights, damaged_pth),
    "onnx": (onnx_files, read_weights, damaged_onnx),
    "idx": (idx_files, read_idx, damaged_inside),
    "idx.gz": (compressed_idx_files, read_compressed_idx, damaged_inside),
    "verified": (lambda: [idx_files()[0], compressed_idx_files()[0]], read_verified_idx, damaged_inside),
    "tgz": (archives, read_archive, damaged_inside),
    "checkpoint": (checkpoints, read_checkpoint, damaged_pth),
    "config": (configs, read_config, damaged_json),
    "metrics": (metrics_files, read_history, damaged_csv),
    "npz": (font_files, read_fonts, damaged_inside),
}  # fmt: skip
CLASSIFIER = None  # of the process that reads pictures
SAMPLES: dict[str, list[bytes]] = {}


def case(seed: int, kind: str, number: int) -> bytes:
    """The bytes of a damaged file."""
    make, _, damage = KINDS[kind]
    if kind not in SAMPLES:
        SAMPLES[kind] = make()
    rng = generator(seed, kind, number)
    whole, other = (SAMPLES[kind][i] for i in rng.integers(len(SAMPLES[kind]), size=2))
    # What damages values also damages bytes, by chances of its own.
    bytes_alone = damage is damaged_inside and rng.random() < 0.5
    return (damaged if bytes_alone else damage)(whole, other, rng)


# ---------------------------------------------------------------- the process that reads


def megabytes(name: str) -> float:
    """A line of this process's status: VmRSS, its memory now, or VmHWM, the most since it was reset."""
    return int(re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000


def read_one(kind: str, data: bytes, noise) -> tuple[str, str]:
    """How reading a file went: read, refused or failed, and why."""
    sys.stderr = io.StringIO()  # for what the scripts say themselves
    noise.truncate(0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for category in (ResourceWarning, DeprecationWarning):  # which Python shows nobody
            warnings.simplefilter("ignore", category)
        suffix = "" if kind == "other" else f".{kind}"
        path = Path(folder, f"file{suffix}")
        path.write_bytes(data)
        try:
            KINDS[kind][1](path)
            how, why = "read", ""
        except UserError as error:
            how, why = "refused", str(error)
        except BaseException:
            how, why = "failed", traceback.format_exc()
    noise.seek(0)
    heard = noise.read() + "".join(f"{warning.message}\n" for warning in warned)
    return (how, why) if not heard else ("failed", f"on stderr: {heard[:2000]}")


def serve(connection, seed: int) -> None:
    """Read one case after the other as they are asked for; say how it went."""
    global CLASSIFIER
    from lenet5.reading.classifier import PRETRAINED, ImageClassifier

    noise = tempfile.TemporaryFile("w+", errors="replace")
    for stream in (1, 2):  # where C libraries write
        os.dup2(noise.fileno(), stream)
    CLASSIFIER = ImageClassifier(PRETRAINED, device="cpu")
    CLASSIFIER.predict(drawing(3))
    Image.init()
    for module in ("train", "lenet5.data.non_digits"):
        __import__(module)
    resource.setrlimit(resource.RLIMIT_AS, (WHOLE_MEMORY, WHOLE_MEMORY))
    imported = megabytes("VmRSS")
    connection.send("ready")
    while (asked := connection.recv()) is not None:
        data = case(seed, *asked)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        start = time.perf_counter()
        how, why = read_one(asked[0], data, noise)
        connection.send((how, why, time.perf_counter() - start, megabytes("VmHWM") - imported))


class Watched:
    """A process that reads cases, and is replaced when one has ended or stopped it."""

    def __init__(self, seed: int):
        self.seed, self.process = seed, None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.seed), daemon=True)
        self.process.start()
        theirs.close()
        assert self.connection.recv() == "ready"

    def read(self, kind: str, number: int) -> tuple[str, str, float, float]:
        """How it went, why, seconds, megabytes."""
        if self.process is None:
            self.start()
        self.connection.send((kind, number))
        try:
            if self.connection.poll(3 * LONGEST):  # also to make the case, and on a busy machine
                how, why, seconds, memory = self.connection.recv()
                if seconds > LONGEST or memory > MOST_MEMORY:
                    how, why = "failed", f"{how} {why} after {seconds:.1f} s with {memory:.0f} MB"
                return how, why, seconds, memory
            why = "no end"
        except EOFError:
            why = "the process ended"
        self.stop()
        return "failed", why, LONGEST, 0.0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def measure(watched: Watched, kind: str, count: int) -> dict:
    """A row of the table; what failed is named on stderr, and kept."""
    row = {"kind": kind, "files": count, "read": 0, "refused": 0, "failed": 0}
    row |= {"seconds": 0.0, "megabytes": 0.0}
    for number in range(count):
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", nargs=3, metavar=("KIND", "NUMBER", "FILE"))
    arguments = parser.parse_args()
    if arguments.write:
        kind, number, name = arguments.write
        Path(name).write_bytes(case(arguments.seed, kind, int(number)))
        return 0
    results = load("fuzz")
    rows = results["rows"] if arguments.table else []
    print(
        f"{'kind':10} {'files':>6} {'read':>6} {'refused':>7} {'failed':>6} {'longest':>9} {'most':>9}"
    )
    for row in rows:
        print_row(row)
    if not arguments.table:
        watched = Watched(arguments.seed)
        for kind in [arguments.kind] if arguments.kind else CASES:
            rows.append(measure(watched, kind, CASES[kind]))
            print_row(rows[-1])
        watched.stop()
        if not arguments.kind:
            save("fuzz", results | {"seed": arguments.seed, "rows": rows})
    total = {name: sum(row[name] for row in rows) for name in ("files", "read", "refused", "failed")}
    worst = {name: max(row[name] for row in rows) for name in ("seconds", "megabytes")}
    print_row({"kind": "all", **total, **worst})
    return 0


if __name__ == "__main__":
    sys.exit(main())
