"""Data sets in files: tables, archives and IDX files, as people have them."""

import gzip
import struct

import numpy as np
import pytest

import inference
import train
from lenet5.data.datasets import check_dataset, load_dataset
from lenet5.imaging.preprocess import mnist_like
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.labelled_pictures import evaluation_set
from lenet5.runtime.errors import UserError
from tests.conftest import PRETRAINED, assert_one_error_line


@pytest.fixture(scope="module")
def digits(mnist):
    """Sixty images, 60×28×28 uint8, six of each digit, and their labels."""
    labels = mnist.test_labels.numpy()
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:6] for digit in range(10)])
    return mnist.test_images.numpy()[chosen], labels[chosen]


def write_table(path, images, labels, head="label", last=False, quoted=False) -> None:
    rows = np.concatenate([images.reshape(len(images), -1).astype(int), labels[:, None]], axis=1)
    names = [f"pixel{i}" for i in range(rows.shape[1] - 1)] + [head]
    if not last:
        rows, names = np.roll(rows, 1, axis=1), names[-1:] + names[:-1]
    lines = [",".join(f'"{name}"' if quoted else name for name in names)] if head else []
    lines += [",".join(map(str, row)) for row in rows.tolist()]
    path.write_text("\ufeff" * quoted + "\r\n".join(lines) + "\n", encoding="utf-8")


def write_idx(path, array, zipped=False) -> None:
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data += array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


def everything(found):
    """All images and labels of a data set, in one order."""
    images = np.concatenate([found.train_images.numpy(), found.test_images.numpy()])
    labels = np.concatenate([found.train_labels.numpy(), found.test_labels.numpy()])
    order = np.lexsort(images.reshape(len(images), -1).T)
    return images[order], labels[order]


def assert_same(found, images, labels):
    order = np.lexsort(images.reshape(len(images), -1).T)
    there, theirs = everything(found)
    assert np.array_equal(there, images[order])
    assert [found.classes[i] for i in theirs] == [str(label) for label in labels[order]]


@pytest.mark.parametrize(
    "form",
    [{}, {"last": True, "head": "class"}, {"quoted": True}, {"head": ""}, {"head": "", "quoted": True}],
    ids=["Kaggle's", "OpenML's", "quoted", "without names", "without names, with a mark"],
)
def test_a_table(tmp_path, digits, form):
    write_table(tmp_path / "mnist.csv", *digits, **form)
    found = load_dataset(str(tmp_path / "mnist.csv"))
    assert_same(found, *digits)
    assert len(found.test_labels) == 12  # every fifth


def test_kaggle_s_two_tables(tmp_path, digits, capsys):
    """Its test.csv has no labels."""
    images, labels = digits
    write_table(tmp_path / "train.csv", images, labels)
    rows = images.reshape(len(images), -1)
    np.savetxt(tmp_path / "test.csv", rows, "%d", ",", header="pixel0" + ",p" * 783, comments="")
    assert_same(load_dataset(str(tmp_path / "train.csv")), images, labels)
    assert "test.csv has 784 columns and none of labels" in capsys.readouterr().err
    with pytest.raises(UserError, match="none of labels"):
        load_dataset(str(tmp_path / "test.csv"))


def test_a_table_of_training_with_one_of_test(tmp_path, digits):
    images, labels = digits
    own = np.arange(60) % 6 > 0
    write_table(tmp_path / "mnist_train.csv", images[own], labels[own])
    write_table(tmp_path / "mnist_test.csv", images[::6], labels[::6])
    found = load_dataset(str(tmp_path / "mnist_train.csv"))
    assert np.array_equal(found.test_images.numpy(), images[::6])
    assert len(found.train_labels) == 50


@pytest.mark.parametrize("names", [("x_{}", "y_{}"), ("{}_images", "{}_labels")])
@pytest.mark.parametrize("kind", ["bytes", "shares", "with an axis", "rows", "a mask"])
def test_an_archive(tmp_path, digits, names, kind):
    images, labels = digits
    made = {"bytes": images, "shares": images / 255, "with an axis": images[..., None]}
    made["rows"] = images.reshape(len(images), -1)
    made["a mask"] = images > 127
    images = 255 * made[kind].astype(np.uint8) if kind == "a mask" else images
    parts = {"train": np.s_[:36], "val": np.s_[36:48], "test": np.s_[48:]}
    arrays = {}
    order = np.random.default_rng(0).permutation(60)
    for part, own in parts.items():
        arrays[names[0].format(part)] = made[kind][order[own]]
        arrays[names[1].format(part)] = labels[order[own]][:, None]
    np.savez_compressed(tmp_path / "mnist.npz", **arrays)
    found = load_dataset(str(tmp_path / "mnist.npz"))
    assert_same(found, images, labels)
    assert (len(found.train_labels), found.validation, len(found.test_labels)) == (48, 12, 12)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_by_folder_and_by_file(tmp_path, digits, zipped):
    images, labels = digits
    end = ".gz" if zipped else ""
    for name, own in (("train", np.s_[::2]), ("t10k", np.s_[1::2])):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte{end}", images[own], zipped)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte{end}", labels[own], zipped)
    for name in (tmp_path, tmp_path / f"train-images-idx3-ubyte{end}"):
        found = load_dataset(str(name))
        assert_same(found, images, labels)
        assert np.array_equal(found.test_images.numpy(), images[1::2])


def test_pictures_of_another_size_are_prepared_as_any_other(tmp_path, digits, find):
    images, labels = digits
    np.savez(tmp_path / "a.npz", x_train=np.pad(images, ((0, 0), (3, 1), (0, 2))), y_train=labels)
    found = load_dataset(str(tmp_path / "a.npz"))
    assert found.train_images.shape[1:] == (28, 28)
    there = {image.tobytes() for image in everything(found)[0]}
    assert all(mnist_like(image, find).tobytes() in there for image in images)


def test_classes_of_names(tmp_path, digits):
    images, _ = digits
    labels = np.array(["b", "a"] * 30)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels)
    assert load_dataset(str(tmp_path / "a.npz")).classes == ["a", "b"]


BAD = {
    "ragged.csv": (b"label,a,b\n1,2\n1,2,3,4\n", "cannot be read"),
    "words.csv": (b"label" + b",p" * 784 + b"\n1" + b",x" * 784 + b"\n", "cannot be read"),
    "empty.csv": (b"", "none of labels"),
    "notes.txt": (b"nothing", "no IDX file"),
    "bad.npz": (b"PK\x03\x04 nothing", "cannot be read"),
    "x-images-idx3-ubyte": (b"\0\0\x08\x03", "no IDX file of images with labels"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_no_data_set(workdir, capsys, name):
    content, words = BAD[name]
    (workdir / name).write_bytes(content)
    assert train.main(["--dataset", name, "--dry-run"]) == 2
    assert_one_error_line(capsys.readouterr().err, words)


def test_arrays_that_are_no_data_set(tmp_path, digits):
    images, labels = digits
    for words, arrays in {
        "has no x_train": {"x": images, "y": labels},
        "59 labels": {"x_train": images, "y_train": labels[1:]},
        "from 0 to 255": {"x_train": images - 300.0, "y_train": labels},
        "one class": {"x_train": images, "y_train": 0 * labels},
        "which train has not": {
            "x_train": images,
            "y_train": labels,
            "x_test": images[:1],
            "y_test": np.array([11]),
        },
        "no pictures": {"x_train": np.array(["a"] * 60), "y_train": labels},
        "without a label": {"x_train": images, "y_train": np.array(["a", ""] * 30)},
        "cannot be read": {"x_train": np.array([object()]), "y_train": labels},
    }.items():
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(UserError, match=words):
            load_dataset(str(tmp_path / "a.npz"))
    with pytest.raises(UserError, match="no file and no data set"):
        check_dataset("nowhere.csv")


def test_files_are_learned_and_evaluated(workdir, capsys, digits):
    images, labels = digits
    write_table(workdir / "train.csv", images, labels)
    flags = ["--dataset", "train.csv", "--max-steps", "3", "--device", "cpu", "--val-size", "10"]
    assert train.main(flags) == 0
    capsys.readouterr()
    weights = ["--weights", str(PRETRAINED)]
    assert inference.main(["--evaluate", "train.csv", *weights]) == 0
    assert "60" in capsys.readouterr().out
    some = labels >= 8
    write_table(workdir / "few.csv", images[some], labels[some])
    found = evaluation_set("few.csv", ImageClassifier(PRETRAINED))
    assert found.labels.tolist() == [8] * 6 + [9] * 6
