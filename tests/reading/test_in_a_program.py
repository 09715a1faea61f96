"""The classifier and the reader of numbers in somebody's program: sources, threads, processes."""

import base64
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import urllib.parse
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from inference import ImageClassifier
from lenet5.data.picture_files import find_pictures
from lenet5.export.onnx_graph import onnx_model
from lenet5.imaging.opening import PictureError, open_picture, upright_picture
from lenet5.runtime.errors import UserError
from read_number import NumberReader
from tests.conftest import DIGITS, PRETRAINED, ROOT

SEVEN = DIGITS / "digit_7.png"


@pytest.fixture(scope="module")
def classifier():
    return ImageClassifier(PRETRAINED, device="cpu")


@pytest.fixture(scope="module")
def exported(pretrained, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "lenet5.onnx"
    path.write_bytes(onnx_model(*pretrained).SerializeToString(deterministic=True))
    return ImageClassifier(path)


def gray() -> np.ndarray:
    with Image.open(SEVEN) as image:
        return np.asarray(image.convert("L"))


def small() -> np.ndarray:
    """As MNIST has it: 28×28, bright ink."""
    with Image.open(SEVEN) as image:
        return 255 - np.asarray(image.convert("L").resize((28, 28), Image.Resampling.BOX))


class Pipe(io.RawIOBase):
    """What cannot go back to its beginning."""

    def __init__(self, data: bytes):
        self.data = data

    def seek(self, *where):
        raise io.UnsupportedOperation("seek")

    def read(self, size=-1):
        return self.data


def at_its_end(data: bytes) -> io.BytesIO:
    """A stream that was written just now."""
    stream = io.BytesIO()
    stream.write(data)
    return stream


class Upload:
    """As web frameworks have them: read() is a coroutine, and the file is inside."""

    def __init__(self, data: bytes):
        self.file = io.BytesIO(data)

    async def read(self) -> bytes:
        return self.file.read()


def data_url(kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(SEVEN.read_bytes()).decode()}"


SOURCES = {
    "str": lambda: str(SEVEN),
    "Path": lambda: SEVEN,
    "bytes": SEVEN.read_bytes,
    "bytearray": lambda: bytearray(SEVEN.read_bytes()),
    "memoryview": lambda: memoryview(SEVEN.read_bytes()),
    "open file": lambda: open(SEVEN, "rb"),
    "BytesIO": lambda: io.BytesIO(SEVEN.read_bytes()),
    "BytesIO at its end": lambda: at_its_end(SEVEN.read_bytes()),
    "pipe": lambda: Pipe(SEVEN.read_bytes()),
    "upload": lambda: Upload(SEVEN.read_bytes()),
    "data URL": data_url,
    "data URL in capitals": lambda: "DATA" + data_url()[4:],
    "data URL, escaped": lambda: "data:image/png," + urllib.parse.quote(SEVEN.read_bytes()),
    "PIL": lambda: Image.open(SEVEN),
    "H×W": gray,
    "H×W×1": lambda: gray()[..., None],
    "1×H×W": lambda: gray()[None],
    "1×1×H×W": lambda: gray()[None, None],
    "H×W×3": lambda: np.stack([gray()] * 3, axis=-1),
    "3×H×W": lambda: np.stack([gray()] * 3),
    "H×W×4": lambda: np.stack([*[gray()] * 3, np.full_like(gray(), 255)], axis=-1),
    "4×H×W": lambda: np.stack([*[gray()] * 3, np.full_like(gray(), 255)]),
    "BGR": lambda: np.stack([gray()] * 3, axis=-1)[..., ::-1],
    "shares": lambda: gray() / 255,
    "float16": lambda: (gray() / 255).astype(np.float16),
    "normalised": lambda: (small()[None] / 255 - 0.1307) / 0.3081,
    "int64": lambda: gray().astype(np.int64),
    "uint16": lambda: gray().astype(np.uint16) * 257,
    "tensor": lambda: torch.from_numpy(gray() / 255.0)[None].float(),
    "tensor in a graph": lambda: torch.from_numpy(gray() / 255.0).requires_grad_() * 1,
    "bfloat16": lambda: torch.from_numpy(gray() / 255.0).bfloat16(),
    "3×H×W tensor": lambda: torch.from_numpy(np.stack([gray()] * 3).copy()),
    "a row": lambda: small().ravel(),
    "a row of shares": lambda: small().ravel() / 255,
    "1×784": lambda: small().reshape(1, -1).tolist(),
    "bool": lambda: gray() < 128,
    "mask of 0 and 1": lambda: (gray() < 128).astype(np.uint8),
    "mask of 0 and 1, int64": lambda: (gray() < 128).astype(np.int64),
    "levels 0 to 6": lambda: (255 - gray()) // 40,
    "L mask": lambda: Image.fromarray((gray() < 128).astype(np.uint8)),
    "RGB mask": lambda: Image.fromarray(np.stack([(gray() < 128).astype(np.uint8)] * 3, axis=-1)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_read(classifier, name):
    assert classifier.predict(SOURCES[name]()) == 7
    (result,) = classifier.predict_batch([SOURCES[name]()])
    assert result.prediction == 7
    assert result.path == (str(SEVEN) if name in ("str", "Path") else None)


@pytest.mark.parametrize("name", ["bytes", "BytesIO", "upload", "data URL", "PIL", "3×H×W", "L mask"])
def test_numbers_in_every_source(name):
    reader = NumberReader(device="cpu")
    assert reader.predict(SOURCES[name]()) == "7"
    with Image.open(SEVEN) as image:
        (result,) = reader.predict_batch([SOURCES[name]()])
        assert result.numbers[0]["box"][3] < image.height


BAD = {
    "no bytes": (lambda: b"", "no bytes"),
    "text": (lambda: b"seven", "not a picture"),
    "opened as text": (lambda: io.StringIO("x"), "mode 'rb'"),
    "closed": (lambda: closed(), "closed"),
    "a data URL of nonsense": (lambda: "data:image/png;base64,%%%", "cannot be decoded"),
    "a data URL without data": (lambda: "data:image/png", "cannot be decoded"),
    "an address": (lambda: "https://example.org/7.png", "save the picture first"),
    "several": (lambda: np.zeros((5, 28, 28)), "one at a time"),
    "a batch": (lambda: np.zeros((5, 1, 28, 28)), "one at a time"),
    "two ways": (lambda: np.zeros((3, 28, 3)), "H×W×3 or 3×H×W"),
    "a short row": (lambda: np.zeros(700), "784 pixels"),
    "None": (lambda: None, "is no picture"),
    "a dictionary": (lambda: {"image": 7}, "is no picture"),
    "svg": (lambda: b'<?xml version="1.0"?><svg xmlns="a"/>', "rsvg-convert"),
    "pdf": (lambda: b"%PDF-1.7\n", "pdftoppm"),
    "a page": (lambda: b"\n<!DOCTYPE html><html>", "web page"),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
}


def closed() -> io.BytesIO:
    stream = io.BytesIO(b"x")
    stream.close()
    return stream


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_says_what_to_do(classifier, name):
    make, words = BAD[name]
    with pytest.raises(PictureError, match=words) as error:
        classifier.predict(make())
    assert len(str(error.value)) <= 160
    (result,) = classifier.predict_batch([make()])
    assert result.error is not None


def test_a_kilobyte_of_base64_is_not_echoed(classifier):
    for source in ("data:image/png;base64," + "A" * 5000, "A" * 5000):
        with pytest.raises(PictureError) as error:
            classifier.predict(source)
        assert len(str(error.value)) <= 160


@pytest.mark.parametrize("make", [ImageClassifier, NumberReader])
def test_clear_errors_for_wrong_calls(make):
    weights = {"weights": PRETRAINED} if make is ImageClassifier else {}
    for top_k in (0, -1, 1.5, "3", None):
        with pytest.raises(UserError, match="top_k"):
            make(device="cpu", top_k=top_k, **weights)
    reader = make(device="cpu", **weights)
    singles = ["a.png", SEVEN, SEVEN.read_bytes(), io.BytesIO(), Image.new("L", (9, 9)), gray()]
    singles += [bytearray(b"x"), small().ravel(), np.stack([gray()] * 3, axis=-1)]
    for single in singles:
        with pytest.raises(UserError, match="predict reads one"):
            reader.predict_batch(single)
    rows = np.stack([small().ravel()] * 2)
    assert len(reader.predict_batch(rows)) == 2
    assert len(reader.predict_batch(torch.zeros(3, 28, 28))) == 3


# ---------------------------------------------------------------- threads and processes


def mixed_pictures(count: int) -> list:
    """Files of many formats, some of them damaged, and arrays."""
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        image = Image.open(DIGITS / f"digit_{i % 10}.png").convert("RGB")
        image = image.resize((int(rng.integers(28, 200)),) * 2)
        stream = io.BytesIO()
        kind = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")[i % 6]
        image.save(stream, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
        data = stream.getvalue()
        if i % 7 == 3:  # libtiff and Pillow have something to say of these
            data = data[: len(data) // 2]
        made.append(np.asarray(image) if i % 11 == 5 else data)
    return made


def process_state() -> dict:
    """What belongs to the whole process, and not to one reader of pictures."""
    stderr = os.fstat(2)
    return {
        "stderr": (stderr.st_dev, stderr.st_ino, sys.stderr),
        "stdout": (os.fstat(1).st_ino, sys.stdout),
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "most pixels": Image.MAX_IMAGE_PIXELS,
        "openers": sorted(Image.OPEN),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "random": torch.random.get_rng_state().tolist(),
        "numpy's": np.random.get_state()[1].tolist(),
        "errors of numpy": np.geterr(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "files": len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0,
    }


@pytest.mark.parametrize("kind", ["classifier", "exported", "numbers"])
def test_eight_threads_and_nothing_of_the_process_changes(request, kind):
    reader = NumberReader(device="cpu") if kind == "numbers" else request.getfixturevalue(kind)
    pictures = mixed_pictures(400)
    alone = [result.prediction for result in reader.predict_batch(pictures)]
    assert None in alone  # of the damaged ones
    before = process_state()
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda picture: reader.predict_batch([picture])[0], pictures))
    assert [result.prediction for result in found] == alone
    after = process_state()
    assert after == before


def read_seven(reader) -> object:
    return reader.predict(str(SEVEN))


@pytest.mark.parametrize("kind", ["classifier", "exported", "numbers"])
def test_a_reader_can_be_pickled_and_sent_to_another_process(request, kind):
    reader = NumberReader(device="cpu") if kind == "numbers" else request.getfixturevalue(kind)
    answer = read_seven(reader)  # with the finder loaded
    assert read_seven(pickle.loads(pickle.dumps(reader))) == answer
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(read_seven, reader).result(timeout=120) == answer


FORKED = """
import os, sys
from inference import ImageClassifier
reader = ImageClassifier(sys.argv[1])
assert reader.predict(sys.argv[2]) == 7
child = os.fork()
if child == 0:
    os._exit(0 if reader.predict(sys.argv[2]) == 7 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("kind", ["pth", "onnx"])
def test_a_fork_after_loading_reads_on(exported, kind):
    weights = PRETRAINED if kind == "pth" else exported.weights
    command = [sys.executable, "-c", FORKED, str(weights), str(SEVEN)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- masks


def test_a_dark_frame_of_a_camera_stays_blank(classifier):
    """Its noise has few levels too."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 7, (200, 200), dtype=np.uint8) for _ in range(10)]
    reader = ImageClassifier(PRETRAINED, device="cpu", reject=True)
    assert [result.prediction for result in reader.predict_batch(frames)] == [None] * 10


def test_levels_of_a_mask():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 18:22] = 1
    assert set(np.unique(np.asarray(upright_picture(mask)))) == {0, 255}
    assert np.array_equal(np.asarray(upright_picture(mask + 8)), mask + 8)  # no mask
    assert not np.asarray(upright_picture(np.zeros((9, 9), np.uint8))).any()
    assert open_picture(mask).getextrema() == (0, 1)


# ---------------------------------------------------------------- photographs of telephones


def test_heic_is_read_where_pillow_heif_is_there(classifier, tmp_path, monkeypatch, capsys):
    heif = pytest.importorskip("pillow_heif")
    openers = sorted(Image.OPEN)
    with Image.open(SEVEN) as image:
        heif.from_pillow(image.convert("RGB").resize((256, 256))).save(tmp_path / "digit_7.heic")
    data = (tmp_path / "digit_7.heic").read_bytes()
    assert [classifier.predict(source) for source in (tmp_path / "digit_7.heic", data)] == [7, 7]
    assert list(find_pictures([str(tmp_path)])) == [str(tmp_path / "digit_7.heic")]
    assert sorted(Image.OPEN) == openers
    found = NumberReader(device="cpu").predict_batch([tmp_path / "digit_7.heic", SEVEN, data])
    assert [len(result.numbers) for result in found] == [1, 1, 1]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with pytest.raises(PictureError, match="pip install pillow-heif, or save it as JPEG"):
        classifier.predict(data)
    monkeypatch.setattr("lenet5.data.picture_files.importlib.util.find_spec", lambda name: None)
    assert list(find_pictures([str(tmp_path)])) == [str(tmp_path)]
    assert "1 .heic files" in capsys.readouterr().err
