import io
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from lenet5.networks import fast_convolution
from lenet5.networks import metadata as metadata_module
from lenet5.networks import weights as weights_module
from lenet5.networks.devices import pick_device, pick_precision
from lenet5.networks.fast_convolution import convolve_and_pool, kernel_at_all_places
from lenet5.networks.registry import NETWORKS, table_of_networks
from lenet5.networks.weights import load_weights, save_weights
from lenet5.runtime.errors import UserError
from model import LeNet5, build, count_multiply_adds, count_parameters


class Textbook(nn.Module):
    """The network as a tutorial writes it; nothing in it is shared with model.py."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def pair():
    """Both networks with the same weights."""
    torch.manual_seed(1)
    ours, theirs = LeNet5(), Textbook()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    return ours, theirs


def test_parameters_layer_by_layer():
    # Counted by hand: maps × (inputs × 5 × 5 + 1), then units × (inputs + 1).
    wanted = {
        "c1": 6 * (1 * 25 + 1),
        "c3": 16 * (6 * 25 + 1),
        "c5": 120 * (16 * 25 + 1),  # the paper's C5: 48,120
        "f6": 84 * (120 + 1),  # the paper's F6: 10,164
        "output": 10 * (84 + 1),
    }
    net = LeNet5()
    assert {name: count_parameters(layer) for name, layer in net.named_children()} == wanted
    assert count_parameters(net) == sum(wanted.values()) == 61_706


@pytest.mark.parametrize("batch", [1, 2, 257])
@pytest.mark.parametrize("channels_last", [False, True])
def test_forward_and_gradients_are_those_of_the_textbook(batch, channels_last):
    ours, theirs = pair()
    if channels_last:
        ours = ours.to(memory_format=torch.channels_last)
    x, labels = torch.randn(batch, 1, 32, 32), torch.randint(0, 10, (batch,))
    # float32 keeps 7 digits, and the sums are taken in another order.
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    for net in (ours, theirs):
        F.cross_entropy(net(x), labels).backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6)
        assert p.grad.abs().sum() > 0  # every parameter learns


@pytest.mark.parametrize(
    "shape",
    [(1, 32, 32), (1, 28, 36), (3, 40, 8), (6, 14, 14), (1, 34, 32), (3, 33, 35), (1, 6, 6)],
)
@pytest.mark.parametrize("rounded", [False, True])
def test_convolve_and_pool_is_a_convolution_and_a_pooling(shape, rounded):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(shape[0], 6, 5), torch.randn(4, *shape, requires_grad=True)
    expected = F.max_pool2d(layer(x), 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        found = convolve_and_pool(layer, x)
    assert found.dtype == (torch.bfloat16 if rounded else torch.float32)
    close = {"rtol": 1e-2, "atol": 3e-2} if rounded else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found.float(), expected, **close)
    for pooled in (found, expected):
        pooled.float().sum().backward()
    # What is added to the bias counts the places of a map, whichever of four was the largest.
    assert layer.bias.grad.tolist() == [2.0 * 4 * found.shape[2] * found.shape[3]] * 6


@pytest.mark.parametrize(
    "shape",
    [(32, 32), (28, 36), (8, 40), (8, 8), (34, 32), (32, 30), (33, 32), (6, 6), (10, 10)],
)
def test_what_can_be_cut_into_windows_is_a_product(monkeypatch, shape):
    """Windows of 8×8, four pixels apart, cover a picture whose sides are multiples of four."""
    made = []

    def matrix(kernels):
        made.append(kernels)
        return kernel_at_all_places(kernels)

    monkeypatch.setattr(fast_convolution, "kernel_at_all_places", matrix)
    convolve_and_pool(nn.Conv2d(1, 6, 5), torch.zeros(1, 1, *shape))
    assert bool(made) == (shape[0] % 4 == shape[1] % 4 == 0)


def test_without_a_gradient_the_answers_are_the_same_to_the_bit():
    """Two comparisons and PyTorch's pooling find the same largest number, also of equal ones and NaN."""
    layer, x = nn.Conv2d(1, 6, 5), torch.randn(4, 1, 32, 32)
    x[1], x[2, :, 7, 9] = 0.5, float("nan")
    with torch.no_grad():
        found = convolve_and_pool(layer, x)
    expected = convolve_and_pool(layer, x)
    assert expected.requires_grad
    assert torch.equal(found.isnan(), expected.isnan())
    assert found.isnan().any()
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_ties_in_the_pooling_get_the_gradient_of_max_pool2d():
    # A constant picture makes the four neighbours equal everywhere.
    layer = nn.Conv2d(1, 6, 5)
    x = torch.full((3, 1, 32, 32), -0.4)
    gradients = []
    for pooled in (convolve_and_pool(layer, x), F.max_pool2d(layer(x), 2)):
        layer.zero_grad()
        pooled.square().sum().backward()
        gradients.append((layer.weight.grad.clone(), layer.bias.grad.clone()))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)


def test_he_initialisation_keeps_the_size_of_the_signal():
    torch.manual_seed(0)
    nets = [LeNet5() for _ in range(20)]
    for name, fan_in in {"c1": 25, "c3": 150, "c5": 400, "f6": 120, "output": 84}.items():
        weights = torch.cat([getattr(net, name).weight.flatten() for net in nets])
        # The standard error of a variance from n normal values is sqrt(2/n): here below 3 %.
        assert weights.var().item() == pytest.approx(2 / fan_in, rel=0.1)
        assert all(getattr(net, name).bias.eq(0).all() for net in nets)


def test_build_knows_its_names():
    assert all(type(build(name)) is network for name, network in NETWORKS.items())
    with pytest.raises(ValueError, match="lenet6"):
        build("lenet6")


def test_the_table_of_networks():
    head, *rows, last = table_of_networks().splitlines()
    assert head == "name           parameters  mult-adds  reads  what is special"
    assert last == "of lenet5-1998: connections, as the paper counts them, in place of mult-adds"
    assert [row.split()[0] for row in rows] == list(NETWORKS)


def test_counting_leaves_a_network_as_it_is():
    """C1 25·28², C3 150·16·10², and the numbers of weights behind them."""
    net = LeNet5()
    work = count_multiply_adds(net)
    assert work == 6 * 25 * 28 * 28 + 16 * 150 * 100 + 400 * 120 + 120 * 84 + 84 * 10
    assert type(work) is int
    assert all(p.device.type == "cpu" for p in net.parameters())


def test_a_device_that_is_there_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("cuda").type == pick_device().type == "cuda"


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(UserError, match="no device is called 'tpu'"):
        pick_device("tpu")
    for name, found in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not found:
            with pytest.raises(UserError, match=f"this machine has no {name} device"):
                pick_device(name)


def test_precisions(monkeypatch):
    cpu, cuda, mps = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))
    for has_it in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it: has_it)
        for device in (cpu, cuda, mps):
            assert pick_precision("float32", device) == torch.float32
            if device == cpu or (device == cuda and has_it):
                assert pick_precision("bfloat16", device) == torch.bfloat16
            else:
                with pytest.raises(UserError, match=f"cannot be had on {device.type} here"):
                    pick_precision("bfloat16", device)
    for found, wanted in (({"amx_bf16": True}, torch.bfloat16), ({"amx_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert pick_precision("auto", cpu) == wanted
        assert pick_precision("auto", cuda) == pick_precision("auto", mps) == torch.float32


def test_save_and_load_round_trip(tmp_path):
    net = LeNet5().to(memory_format=torch.channels_last)
    path = tmp_path / "w.pth"
    save_weights(path, net, test_accuracy=0.99, reject_below=0.5)
    loaded, metadata = load_weights(path)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), loaded.parameters(), strict=True))
    assert metadata["arch"] == "lenet5"
    assert (metadata["mean"], metadata["std"]) == (0.1307, 0.3081)
    assert metadata["classes"] == list("0123456789")
    assert metadata["test_accuracy"] == 0.99
    save_weights(tmp_path / "again.pth", loaded, test_accuracy=0.99, reject_below=0.5)
    assert (tmp_path / "again.pth").read_bytes() == path.read_bytes()


def test_anybodys_program_can_load_the_weights(tmp_path):
    save_weights(tmp_path / "lenet5_model.pth", LeNet5(), test_accuracy=0.5)
    program = """
import torch
from torch import nn
state = torch.load("lenet5_model.pth", weights_only=True)
net = nn.ModuleDict(dict(c1=nn.Conv2d(1, 6, 5), c3=nn.Conv2d(6, 16, 5), c5=nn.Linear(400, 120),
                         f6=nn.Linear(120, 84), output=nn.Linear(84, 10)))
net.load_state_dict(state)
print(state._metadata[""]["arch"], state._metadata[""]["test_accuracy"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
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


class Bomb:
    """Unpickled without care, it makes a file called `exploded`."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def write(path, data):
    path.write_bytes(data)
    return path


def state_with(**changes):
    return OrderedDict(LeNet5().state_dict() | changes)


def with_metadata(**metadata):
    state = LeNet5().state_dict()
    state._metadata[""] = {"arch": "lenet5", "mean": 0.1, "std": 0.3, **metadata}
    return state


def lists_of_lists():
    """A list that is written in 200 bytes, and would be a petabyte as text."""
    value = []
    for _ in range(50):
        value = [value, value]
    return value


def save_pickle(path, steps):
    """A file as of torch.save, of a pickle that is written by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + steps + b".")
        archive.writestr("archive/version", "3\n")
    return path


def test_a_pickle_that_is_written_by_hand_is_read(tmp_path):
    """So the next ones are refused for what is in them."""
    with pytest.raises(UserError, match="'tuple' is no tensor"):
        load_weights(save_pickle(tmp_path / "w.pth", b"}q\x00)K\x01s"))


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


def picture_bytes():
    buffer = io.BytesIO()
    Image.new("L", (28, 28)).save(buffer, "PNG")
    return buffer.getvalue()


BAD_WEIGHTS = {
    "a picture": (lambda p: write(p, picture_bytes()), "not a weights file"),
    "empty": (lambda p: write(p, b""), "not a weights file"),
    "text": (lambda p: write(p, b"hello"), "not a weights file"),
    "an empty state dict": (lambda p: save(p, {}), "holds no weights"),
    "a tensor": (lambda p: save(p, torch.zeros(3)), "holds no weights"),
    "a list": (lambda p: save(p, [torch.zeros(3)]), "holds no weights"),
    "a number in it": (lambda p: save(p, {"c1.weight": 3}), "not a plain state dict"),
    "a whole checkpoint": (lambda p: save(p, {"net": LeNet5().state_dict()}), "not a plain state dict"),
    "code": (lambda p: save(p, {"c1.weight": Bomb()}), "perhaps code"),
    "plain pickle with code": (lambda p: write(p, pickle.dumps(Bomb())), "is not"),
    "a whole module": (lambda p: save(p, LeNet5()), "perhaps code"),
    "another network": (lambda p: save(p, nn.Linear(3, 2).state_dict()), "fit none of ours"),
    "a missing layer": (
        lambda p: save(p, OrderedDict(list(with_metadata().items())[2:])),
        "fit none of ours",
    ),
    "a wrong shape": (
        lambda p: save(p, state_with(**{"c1.weight": torch.zeros(6, 1, 3, 3)})),
        "fit none",
    ),
    "not a number": (
        lambda p: save(p, state_with(**{"c1.bias": torch.full((6,), float("nan"))})),
        "c1.bias holds a value that is not a finite number",
    ),
    "complex numbers": (
        lambda p: save(p, {"a": torch.zeros(2, dtype=torch.complex64)}),
        "plain numbers",
    ),
    "sparse": (lambda p: save(p, {"a": torch.zeros(2, 2).to_sparse()}), "plain numbers"),
    "unknown arch": (lambda p: save(p, with_metadata(arch="resnet")), "not known here"),
    "strange arch": (lambda p: save(p, with_metadata(arch=[1])), "not known here"),
    "strange mean": (lambda p: save(p, with_metadata(mean="x")), "mean is not a number"),
    "infinite std": (lambda p: save(p, with_metadata(std=float("inf"))), "std is not a number"),
    "zero std": (lambda p: save(p, with_metadata(std=0.0)), "not above 0"),
    "numbers for classes": (lambda p: save(p, with_metadata(classes=[1, 2])), "not a list of names"),
    "too few classes": (lambda p: save(p, with_metadata(classes=["a"])), "1 classes for 10 outputs"),
    "cold": (
        lambda p: save(p, with_metadata(temperature=0.0)),
        "temperature is 0.0, which is not above",
    ),
    "a key without end": (
        lambda p: save_pickle(p, b"}q\x00)" + b"q\x01h\x01\x86" * 60 + b"K\x01s"),
        "not a weights file",
    ),
    "an old key without end": (
        lambda p: write(p, b"\x80\x02}q\x00)" + b"q\x01h\x01\x86" * 60 + b"K\x01s." * 5),
        "not a weights file",
    ),
    "a huge whole number": (
        lambda p: save(p, with_metadata(mean=10**400)),
        "mean is not a number up to",
    ),
    "a huge number": (lambda p: save(p, with_metadata(std=1e300)), "std is not a number up to"),
    "a tiny number": (lambda p: save(p, with_metadata(temperature=1e-320)), "too small"),
    "text for a number": (lambda p: save(p, with_metadata(val_size="5000")), "val_size is not a number"),
    "lists of lists": (lambda p: save(p, with_metadata(arch=lists_of_lists())), "is of a list"),
    "a long name": (lambda p: save(p, with_metadata(classes=["9" * 5000] * 10)), "more than 255"),
    "a million classes": (
        lambda p: save(p, with_metadata(classes=[str(i) for i in range(1_000_000)])),
        "1000000 classes for 10 outputs",
    ),
    "too large for a network": (
        lambda p: save(p, state_with(**{"c1.bias": torch.full((6,), 1e300, dtype=torch.float64)})),
        "not a finite number",
    ),
    "without numbers": (
        lambda p: save(p, state_with(**{"c1.bias": torch.zeros(6, device="meta")})),
        "plain numbers",
    ),
    "numbers of 8 bits": (
        lambda p: save(p, state_with(**{"c1.bias": torch.zeros(6, dtype=torch.float8_e4m3fn)})),
        "plain numbers",
    ),
    "a tensor in tensors": (
        lambda p: save(p, {"a": torch.nested.nested_tensor([torch.zeros(2)])}),
        "is not|plain numbers",
    ),
    "a gigabyte in four bytes": (lambda p: save(p, {"a": torch.zeros(1).expand(10**9)}), "fit none"),
    "a path": (lambda p: save(p, {"a": Path("x")}), "perhaps code"),
    "a number of NumPy": (lambda p: save(p, {"a": np.float64(1)}), "perhaps code"),
    "strange threshold": (lambda p: save(p, with_metadata(reject_below="x")), "reject_below is not"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights_are_one_line(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    make, message = BAD_WEIGHTS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = make(tmp_path / "w.pth")
    with pytest.raises(UserError, match=message) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert "w.pth" in str(caught.value)
    assert not (tmp_path / "exploded").exists()


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


def test_weights_of_one_name_are_not_loaded_as_another(tmp_path, monkeypatch):
    class Other(LeNet5):
        arch = "other"

    monkeypatch.setitem(NETWORKS, "other", Other)
    save_weights(tmp_path / "w.pth", LeNet5())
    with pytest.raises(UserError, match="holds weights of lenet5, not of other"):
        load_weights(tmp_path / "w.pth", arch="other")
    # Without metadata both fit: --arch decides.
    torch.save(dict(LeNet5().state_dict()), tmp_path / "plain.pth")
    with pytest.raises(UserError, match="lenet5 or other: say which with --arch"):
        load_weights(tmp_path / "plain.pth")
    assert load_weights(tmp_path / "plain.pth", arch="other")[1]["arch"] == "other"


def test_weights_in_the_format_before_pytorch_1_6_are_read(tmp_path):
    torch.manual_seed(3)
    net = LeNet5()
    torch.save(net.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(tmp_path / "old.pth")
    found, _ = load_weights(tmp_path / "old.pth")
    assert all(torch.equal(found.state_dict()[name], t) for name, t in net.state_dict().items())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0], "{path} holds no weights but list; {hint}"),
        ({}, "{path} holds no weights but dict; {hint}"),
        ({"w": "x"}, "{path} is not a plain state dict: 'w' is no tensor; {hint}"),
        ({"w" * 50: "x"}, "{path} is not a plain state dict: '" + "w" * 40 + "' is no tensor; {hint}"),
        ({5: torch.zeros(1)}, "{path} is not a plain state dict: 'int' is no tensor; {hint}"),
        (
            Path("x"),
            "{path} holds more than tensors, numbers and text, perhaps code, and is not loaded; {hint}",
        ),
    ],
)
def test_what_holds_no_weights_is_told_in_these_words(tmp_path, value, words):
    path = tmp_path / "w.pth"
    torch.save(value, path)
    message = words.format(path=path, hint="train.py writes weights that can be read")
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        load_weights(path)


def differing(**changes) -> OrderedDict:
    """The tensors of a LeNet5 with some others, or without those that are None."""
    state = OrderedDict(LeNet5().state_dict())
    for name, tensor in changes.items():
        state[name.replace("_", ".")] = tensor
    return OrderedDict((name, tensor) for name, tensor in state.items() if tensor is not None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"c3_weight": None}, "c3.weight is missing"),
        ({"c3_weight": torch.zeros(16, 1, 5, 5)}, "c3.weight is (16, 1, 5, 5), not (16, 6, 5, 5)"),
        ({"c5_bias": torch.zeros(7), "f6_bias": None}, "c5.bias is (7,), not (120,)"),
        ({"x" * 50: torch.zeros(1)}, "x" * 40 + " does not belong to it"),
    ],
)
def test_the_first_difference_of_weights_is_told(changes, words):
    assert weights_module.first_difference(differing(**changes), LeNet5().state_dict()) == words


def described(**metadata) -> dict:
    return {"arch": "lenet5", "mean": 0.1, "std": 0.3, "classes": ["a", "b"]} | metadata


LARGE = metadata_module.LARGEST_NUMBER


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"mean": LARGE, "least_evidence": -LARGE},
        {"std": 1 / LARGE, "temperature": 1 / LARGE},
        {"classes": ["x" * metadata_module.LONGEST_NAME]},
        {"reject_below": 0, "val_size": 5000},
    ],
)
def test_metadata_that_can_be_relied_upon(metadata):
    weights_module.check_metadata("w.pth", described(**metadata))
    weights_module.check_metadata("w.pth", {"arch": "lenet5"} | metadata)


NUMBERS = ("mean", "std", "reject_below", "least_evidence", "temperature", "val_size")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"arch": 5}, "w.pth is of a int, which is not known here"),
        ({"arch": "y" * 50}, f"w.pth is of {'y' * 40!r}, which is not known here"),
        *(
            ({name: value}, f"w.pth: its {name} is not a number up to {LARGE:,.0f}")
            for name in NUMBERS
            for value in ("1", None, True, float("nan"), 2.0 * LARGE, [1.0])
        ),
        *(
            ({name: value}, f"w.pth: its {name} is {value}, which is not above 0 or too small")
            for name in ("std", "temperature")
            for value in (0, -1.0, 0.5 / LARGE)
        ),
        *(
            ({"classes": value}, "w.pth: its classes are not a list of names")
            for value in ("ab", ("a", "b"), ["a", 1], {"a": 1})
        ),
        (
            {"classes": ["a", "x" * (metadata_module.LONGEST_NAME + 1)]},
            f"w.pth: the name of a class has more than {metadata_module.LONGEST_NAME} characters",
        ),
    ],
)
def test_metadata_that_cannot_be_relied_upon(metadata, words):
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        weights_module.check_metadata("w.pth", described(**metadata))


def test_as_many_classes_as_outputs():
    state = OrderedDict(w=torch.zeros(3, 2), b=torch.zeros(3))
    assert weights_module.class_count("w.pth", state, {}) == 3
    assert weights_module.class_count("w.pth", state, {"classes": ["a", "b", "c"]}) == 3
    with pytest.raises(UserError, match=r"^w.pth names 2 classes for 3 outputs$"):
        weights_module.class_count("w.pth", state, {"classes": ["a", "b"]})
    for outputs, count in ((0, 10), (1, 1), (10_000, 10_000), (10_001, 10)):
        assert weights_module.class_count("w.pth", {"b": torch.zeros(outputs)}, {}) == count
    assert weights_module.class_count("w.pth", {"b": torch.tensor(5.0)}, {}) == 10
