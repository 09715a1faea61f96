"""Weights on disk: what is written comes back, anybody can load it, and untrusted files are refused."""

import io
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import model
from lenet5.networks.metadata import LARGEST_NUMBER, LONGEST_NAME
from lenet5.networks.registry import KNOWN
from lenet5.networks.weights import check_metadata, class_count, load_weights, save_weights
from lenet5.runtime.errors import UserError
from model import LeNet5


def test_save_and_load_round_trip(tmp_path):
    net = LeNet5().to(memory_format=torch.channels_last)
    path = tmp_path / "w.pth"
    save_weights(path, net, test_accuracy=0.99, reject_below=0.5)
    loaded, metadata = load_weights(path)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), loaded.parameters(), strict=True))
    assert metadata == {
        "arch": "lenet5",
        "mean": 0.1307,
        "std": 0.3081,
        "classes": list("0123456789"),
        "test_accuracy": 0.99,
        "reject_below": 0.5,
        "version": 1,  # PyTorch's own, of a module
    }
    save_weights(tmp_path / "again.pth", loaded, test_accuracy=0.99, reject_below=0.5)
    assert (tmp_path / "again.pth").read_bytes() == path.read_bytes()


PROGRAM = """
import torch
from torch import nn
state = torch.load("lenet5_model.pth", weights_only=True)
net = nn.ModuleDict(dict(c1=nn.Conv2d(1, 6, 5), c3=nn.Conv2d(6, 16, 5), c5=nn.Linear(400, 120),
                         f6=nn.Linear(120, 84), output=nn.Linear(84, 10)))
net.load_state_dict(state)
print(state._metadata[""]["arch"], state._metadata[""]["test_accuracy"])
"""


def test_anybodys_program_can_load_the_weights(tmp_path):
    save_weights(tmp_path / "lenet5_model.pth", LeNet5(), test_accuracy=0.5)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lenet5", "0.5"]


def save(path, value):
    torch.save(value, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_without_metadata_are_recognised_and_a_line_says_so(tmp_path, capsys, prefix):
    net = LeNet5()
    plain = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    loaded, metadata = load_weights(save(tmp_path / "w.pth", plain))
    assert torch.equal(loaded.c3.weight, net.c3.weight)
    assert metadata["arch"] == "lenet5"
    assert "assuming lenet5" in capsys.readouterr().err


def test_arch_decides_between_networks_of_the_same_shapes(tmp_path, monkeypatch):
    class Other(LeNet5):
        arch = "other"

    monkeypatch.setitem(KNOWN, "other", Other)
    monkeypatch.setitem(model.FAMILY, "other", Other)
    path = save(tmp_path / "plain.pth", dict(LeNet5().state_dict()))
    with pytest.raises(UserError, match="lenet5 or other: use --arch"):
        load_weights(path)
    assert load_weights(path, arch="other")[1]["arch"] == "other"


def test_weights_in_the_format_before_pytorch_1_6_are_read(tmp_path):
    net = LeNet5()
    torch.save(net.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(tmp_path / "old.pth")
    found, _ = load_weights(tmp_path / "old.pth")
    assert all(torch.equal(found.state_dict()[name], t) for name, t in net.state_dict().items())


class Disguised:
    """Unpickled, a dictionary whose own `items`, `keys` and `values` are no functions."""

    def __init__(self, items):
        self.pairs = items

    def __reduce__(self):
        return OrderedDict, (), dict.fromkeys(("items", "keys", "values"), 3), None, iter(self.pairs)


def test_what_a_file_attaches_to_its_dictionaries_and_tensors_is_not_used(tmp_path):
    net = LeNet5()
    tensors = {name: nn.Parameter(tensor.clone()) for name, tensor in net.state_dict().items()}
    tensors["c1.bias"].isfinite = tensors["c1.bias"].to = 3
    loaded, _ = load_weights(save(tmp_path / "w.pth", Disguised(tensors.items())))
    assert torch.equal(loaded.c1.bias, net.c1.bias)


# ------------------------------------------------------------ files that are refused


class Bomb:
    """Unpickled without care, it makes a file called `exploded`."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def state_with(**changes):
    """A LeNet5's tensors with others in the place of some, without metadata."""
    changes = {name.replace("_", "."): tensor for name, tensor in changes.items()}
    return OrderedDict(LeNet5().state_dict() | changes)


def with_metadata(**metadata):
    state = LeNet5().state_dict()
    state._metadata[""] = {"arch": "lenet5", "mean": 0.1, "std": 0.3, **metadata}
    return state


def short_state(count):
    """The first tensors of a LeNet5 with its metadata."""
    state = with_metadata()
    for name in list(state)[count:]:
        del state[name]
    return state


def lists_of_lists():
    """A list that is written in 200 bytes, and would be a petabyte as text."""
    value = []
    for _ in range(50):
        value = [value, value]
    return value


def pickle_by_hand(steps):
    """A file as of torch.save, of a pickle that is written by hand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + steps + b".")
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def picture_bytes():
    buffer = io.BytesIO()
    Image.new("L", (28, 28)).save(buffer, "PNG")
    return buffer.getvalue()


DOUBLED = b"q\x01h\x01\x86" * 60  # a tuple that has a tuple twice, which has a tuple twice …
BAD_WEIGHTS = {  # bytes of a file, or what torch.save is given
    "a picture": (picture_bytes, "not a weights file"),
    "empty": (lambda: b"", "not a weights file"),
    "an empty state dict": (dict, "holds no weights"),
    "a tensor": (lambda: torch.zeros(3), "holds no weights"),
    "a number in it": (lambda: {"c1.weight": 3}, "not a plain state dict"),
    "a number for a name": (lambda: {5: torch.zeros(1)}, "not a plain state dict"),
    "code": (lambda: {"c1.weight": Bomb()}, "perhaps code"),
    "plain pickle with code": (lambda: pickle.dumps(Bomb()), "is not"),
    "a whole module": (LeNet5, "perhaps code"),
    "a path": (lambda: {"a": Path("x")}, "perhaps code"),
    "a number of NumPy": (lambda: {"a": np.float64(1)}, "perhaps code"),
    # Python would take years to hash the key; one by hand that is short is read.
    "a short key": (lambda: pickle_by_hand(b"}q\x00)K\x01s"), "is no tensor"),
    "a key without end": (lambda: pickle_by_hand(b"}q\x00)" + DOUBLED + b"K\x01s"), "not a weights"),
    "an old key without end": (lambda: b"\x80\x02}q\x00)" + DOUBLED + b"K\x01s." * 5, "not a weights"),
    "another network": (lambda: nn.Linear(3, 2).state_dict(), "fit none of ours"),
    "a gigabyte in four bytes": (lambda: {"a": torch.zeros(1).expand(10**9)}, "fit none"),
    "a missing layer": (lambda: short_state(8), "is not of lenet5: Missing key"),
    "not a number": (lambda: state_with(c1_bias=torch.full((6,), float("nan"))), "c1.bias holds"),
    "too large for a network": (
        lambda: state_with(c1_bias=torch.full((6,), 1e300, dtype=torch.float64)),
        "not a finite number",
    ),
    "complex numbers": (lambda: {"a": torch.zeros(2, dtype=torch.complex64)}, "plain numbers"),
    "sparse": (lambda: {"a": torch.zeros(2, 2).to_sparse()}, "plain numbers"),
    "without numbers": (lambda: state_with(c1_bias=torch.zeros(6, device="meta")), "plain numbers"),
    "numbers of 8 bits": (
        lambda: state_with(c1_bias=torch.zeros(6, dtype=torch.float8_e4m3fn)),
        "plain numbers",
    ),
    "a tensor in tensors": (
        lambda: {"a": torch.nested.nested_tensor([torch.zeros(2)])},
        "is not|plain numbers",
    ),
    "unknown arch": (lambda: with_metadata(arch="resnet"), "'resnet', which is not known here"),
    "lists of lists": (lambda: with_metadata(arch=lists_of_lists()), "which is not known here"),
    "cold": (lambda: with_metadata(temperature=0.0), "temperature is 0.0"),
    "a million classes": (
        lambda: with_metadata(classes=[str(i) for i in range(1_000_000)]),
        "1000000 classes for 10 outputs",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights_are_one_line(workdir, kind):
    make, message = BAD_WEIGHTS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = make()
        if isinstance(value, bytes):
            Path("w.pth").write_bytes(value)
        else:
            torch.save(value, "w.pth")
    with pytest.raises(UserError, match=message) as caught:
        load_weights("w.pth")
    assert "\n" not in str(caught.value)
    assert "w.pth" in str(caught.value)
    assert not Path("exploded").exists()


def test_truncated_weights_are_refused_at_any_length(tmp_path):
    save_weights(tmp_path / "w.pth", LeNet5())
    whole = (tmp_path / "w.pth").read_bytes()
    for length in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        (tmp_path / "short.pth").write_bytes(whole[:length])
        with pytest.raises(UserError):
            load_weights(tmp_path / "short.pth")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100 << 20))
    with pytest.raises(UserError, match="which no LeNet needs"):
        load_weights(tmp_path / "bomb.pth")


def test_missing_weights_and_folders(tmp_path):
    with pytest.raises(UserError, match=r"there are no weights at .*python train.py"):
        load_weights(tmp_path / "none.pth")
    with pytest.raises(UserError, match="not a regular file"):
        load_weights(tmp_path)


# ------------------------------------------------------------ metadata


def described(**metadata) -> dict:
    return {"arch": "lenet5", "mean": 0.1, "std": 0.3, "classes": ["a", "b"]} | metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"mean": LARGEST_NUMBER, "least_evidence": -LARGEST_NUMBER},
        {"std": 1 / LARGEST_NUMBER, "temperature": 1 / LARGEST_NUMBER},
        {"classes": ["x" * LONGEST_NAME]},
        {"reject_below": 0, "val_size": 5000},
    ],
)
def test_metadata_that_can_be_relied_upon(metadata):
    check_metadata("w.pth", described(**metadata))
    check_metadata("w.pth", {"arch": "lenet5"} | metadata)


NUMBERS = ("mean", "std", "reject_below", "least_evidence", "temperature", "val_size")
NO_NUMBERS = ("1", None, True, float("nan"), float("inf"), 2.0 * LARGEST_NUMBER, 10**400, [1.0])
WRONG = [
    *((name, value, "is not a number up to") for name in NUMBERS for value in NO_NUMBERS),
    *((name, value, "above 0") for name in ("std", "temperature") for value in (0, -1.0, 1e-320)),
    *(("classes", value, "not a list of names") for value in ("ab", ("a", "b"), ["a", 1], {"a": 1})),
    ("classes", ["a", "x" * (LONGEST_NAME + 1)], f"more than {LONGEST_NAME} characters"),
    ("arch", 5, "not known here"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_metadata_that_cannot_be_relied_upon(name, value, words):
    with pytest.raises(UserError, match=f"^w.pth.*{words}"):
        check_metadata("w.pth", described(**{name: value}))


def test_as_many_classes_as_outputs():
    state = OrderedDict(w=torch.zeros(3, 2), b=torch.zeros(3))
    assert class_count("w.pth", state, {"classes": ["a", "b", "c"]}) == 3
    with pytest.raises(UserError, match=r"^w.pth names 2 classes for 3 outputs$"):
        class_count("w.pth", state, {"classes": ["a", "b"]})
    for outputs, count in ((0, 10), (1, 1), (10_000, 10_000), (10_001, 10)):
        assert class_count("w.pth", {"b": torch.zeros(outputs)}, {}) == count
    assert class_count("w.pth", {"b": torch.tensor(5.0)}, {}) == 10
