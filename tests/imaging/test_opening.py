"""Opening pictures: every mode and depth, cameras, arrays, bad files, pictures of any size."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from lenet5.imaging import opening
from lenet5.imaging.opening import PictureError
from tests.conftest import ROOT, run_script
from tests.imaging.drawings import centred, distance, png, seven

sys.path.insert(0, str(ROOT / "benchmarks"))
from damage import chunks, png_of


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_modes(mode):
    assert distance(centred(seven(mode=mode)), centred(seven())) < 0.002


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_depth_of_16_bits_and_more(kind):
    # Twelve bits in sixteen: the brightest pixel is far below the largest number.
    values = np.asarray(seven()).astype(kind) * 16
    image = Image.fromarray(values)
    assert distance(centred(image), centred(seven())) < 0.002


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), (200, 30, 30)])
@pytest.mark.parametrize("ink", [0, 255, 128])
def test_a_drawing_on_a_transparent_sheet(ground, ink):
    # Whatever colour hides under the transparency, and whatever the ink's.
    image = Image.new("RGBA", (120, 160), (*ground, 0))
    image.paste((ink, ink, ink, 255), mask=seven(ink=255, paper=0))
    assert distance(centred(png(image)), centred(seven())) < 0.004


def test_transparency_in_a_palette():
    image = seven().convert("P")
    image.info["transparency"] = 255
    assert distance(centred(png(image, transparency=255)), centred(seven())) < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_way_the_camera_was_held(orientation):
    image = seven()
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # the camera's 6 means: to be shown turned clockwise
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    stored = image if turn is None else image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=95)
    buffer.seek(0)
    assert distance(centred(Image.open(buffer)), centred(image)) < 0.02


def test_arrays_of_colours_and_tensors():
    image = np.asarray(seven())
    reference = centred(image)
    rgb = np.stack([image] * 3, axis=-1)
    for same in (image / 255, image.astype(np.float32), image[None], rgb, rgb / 255, image < 128):
        assert distance(centred(same), reference) < 0.002
    assert distance(centred(torch.from_numpy(image.copy())), reference) == 0
    with pytest.raises(PictureError):
        centred(None)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
BAD_FILES = {
    "empty.png": (b"", "empty"),
    "text.png": (b"this is no picture\n", "not a picture"),
    "idx.jpg": (b"\x00\x00\x08\x03" + bytes(100), "not a picture"),
    "heic.png": (HEIC, "HEIC"),
    "svg.png": (SVG, "rsvg-convert"),
    "slow.ppm": (b"P5 10000 10000 100\n" + bytes(100), "10000×10000 pixels"),  # decoded in Python
    "cut.png": (None, "truncated|cut off|broken"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(tmp_path, name):
    content, message = BAD_FILES[name]
    if content is None:
        picture = io.BytesIO()
        seven(size=(200, 200)).save(picture, "PNG")
        content = picture.getvalue()[:400]
        with Image.open(io.BytesIO(content)) as image, pytest.raises(PictureError, match=message):
            centred(image)  # decoded late
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError, match=message):
        centred(tmp_path / name)


@pytest.mark.parametrize(
    ("path", "words"),
    [("none.png", "No such file"), ("", "folder"), ("/dev/zero", "regular file"), ("a\0b.png", "null")],
)
def test_what_is_no_file(tmp_path, path, words):
    with pytest.raises(PictureError, match=words):
        centred(tmp_path / path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    seven(size=(100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # an error above twice this
    with pytest.raises(PictureError, match="bomb"):
        centred(tmp_path / "a.png")


def iptc(content):
    """An IPTC record of an 8×8 gray picture whose pixels are another file."""

    def field(number, data):
        return b"\x1c" + bytes([number // 256, number % 256]) + len(data).to_bytes(2, "big") + data

    fields = {0x0314: b"\x08", 0x031E: b"\x08", 0x033C: b"\x01\x00", 0x0378: b"\x05", 0x080A: content}
    return b"".join(field(number, data) for number, data in fields.items())


@pytest.mark.parametrize("name", ["a.eps", "a.iim"])
def test_no_program_is_started_for_a_picture(tmp_path, monkeypatch, name):
    """Pillow gives PostScript to Ghostscript, also where it is within an IPTC record."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a))
    seven(size=(20, 20)).save(tmp_path / "a.eps")
    (tmp_path / "a.iim").write_bytes(iptc((tmp_path / "a.eps").read_bytes()))
    with Image.open(tmp_path / name) as image, contextlib.suppress(Exception):
        image.load()
    assert len(started) == 1  # what would happen without care
    with pytest.raises(PictureError, match="program in PostScript"):
        centred(tmp_path / name)
    assert len(started) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_a_large_picture_is_reduced_in_tiles_as_in_one(monkeypatch, mode):
    image = seven(size=(91, 67), width=9).convert("I" if mode == "I;16" else "L").convert(mode)
    monkeypatch.setattr(opening, "MOST_PIXELS", 91 * 67 // 9 + 1)  # a third of each side
    monkeypatch.setattr(opening, "TILE", 7)
    small = opening.of_moderate_size(image)
    assert small.size == (31, 23)
    whole = opening.in_plain_mode(image).reduce(3)
    assert np.array_equal(np.asarray(small), np.asarray(whole))


def test_a_large_picture_stays_upright(monkeypatch):
    image = seven(size=(90, 120), width=9)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned by 90 degrees to the right
    monkeypatch.setattr(opening, "MOST_PIXELS", 90 * 120 // 4)
    assert distance(centred(turned), centred(image)) < 0.02


MEASURE = """
import re, sys
from pathlib import Path
from lenet5.imaging.preprocess import mnist_like
from PIL import Image
def nothing(pictures):
    return pictures[:, :2].astype("float32") * 0
def kilobytes(name):
    return int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
mnist_like(Image.new("L", (300, 300)), nothing)
before = kilobytes("VmRSS")
mnist_like(sys.argv[1], nothing)
print(kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in /proc")
def test_ten_thousand_pixels_square_take_less_than_a_gigabyte(tmp_path):
    row = b"\0" + b"\xff" * 40_000
    pack = zlib.compressobj(1)
    pixels = b"".join(pack.compress(row) for _ in range(10_000)) + pack.flush()
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    (tmp_path / "a.png").write_bytes(png_of([(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_000_000  # kB; the pixels themselves are 400,000
    assert done.stderr == ""


def test_a_large_jpeg_2000_is_decoded_smaller(tmp_path, monkeypatch):
    image = seven(size=(600, 800), width=60)
    image.save(tmp_path / "a.jp2")
    monkeypatch.setattr(opening, "MOST_PIXELS", 600 * 800 // 16)
    assert opening.open_picture(tmp_path / "a.jp2").size == (150, 200)
    assert distance(centred(tmp_path / "a.jp2"), centred(image)) < 0.02


def test_libraries_say_nothing_about_a_damaged_tiff(tmp_path, capfd):
    """In a command, which has one thread."""
    buffer = io.BytesIO()
    seven().save(buffer, "TIFF", compression="tiff_adobe_deflate")
    data = bytearray(buffer.getvalue())
    data[8:40] = bytes(32)  # the pixels begin behind the header of 8 bytes
    (tmp_path / "a.tif").write_bytes(data)
    with Image.open(tmp_path / "a.tif") as image, contextlib.suppress(OSError):
        image.load()
    assert "ZIPDecode" in capfd.readouterr().err  # what a person would see without care
    done = run_script("inference.py", "a.tif", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1
    assert "not read: a.tif" in done.stderr
    assert "ZIPDecode" not in done.stderr


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_many_pictures_in_a_file_the_first_is_read(tmp_path, name):
    other = Image.new("L", (120, 160), 0)
    seven().save(tmp_path / name, save_all=True, append_images=[other] * 2)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames >= 2  # the two that are alike may be one
    assert distance(centred(tmp_path / name), centred(seven())) < 0.02


@pytest.mark.parametrize("kind", ["text", "texts", "profile", "exif"])
def test_huge_notes_in_a_png(tmp_path, kind):
    """Pillow unpacks a megabyte of each text, 64 of all, and refuses more."""
    many = bytes(10 << 20)  # packs to 10 kB
    picture = io.BytesIO()
    seven().save(picture, "PNG")
    header, *pixels = chunks(picture.getvalue())
    text = (b"zTXt", b"Comment\0\0" + zlib.compress(many if kind == "text" else many[: 1 << 20]))
    notes = {
        "text": [text],
        "texts": [text] * 100,
        "profile": [(b"iCCP", b"p\0\0" + zlib.compress(many))],
        "exif": [(b"eXIf", b"II*\0\x08\0\0\0" + many)],
    }[kind]
    (tmp_path / "a.png").write_bytes(png_of([header, *notes, *pixels]))
    if kind != "exif":
        with pytest.raises(PictureError, match=r"too large|Too much memory"):
            centred(tmp_path / "a.png")
    else:
        assert distance(centred(tmp_path / "a.png"), centred(seven())) == 0
