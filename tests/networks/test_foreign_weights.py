"""Weights as other programs save them load, and a line says what was assumed."""

import random
from collections import OrderedDict

import pytest
import torch
from torch import nn

from lenet5.networks.weights import load_weights, save_weights
from lenet5.runtime.errors import UserError
from model import LeNet5, build

NAMES = ("conv1", "conv2", "fc1", "fc2", "fc3")


class Tutorial(nn.Module):
    """As a hundred tutorials have it."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def sequential() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def shuffled(state) -> dict:
    items = list(state.items())
    random.Random(0).shuffle(items)
    return dict(items)


def prefixed(state, prefix: str) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


WAYS = {
    "as it is": lambda state: state,
    "model.": lambda state: prefixed(state, "model."),
    "module._orig_mod.": lambda state: prefixed(state, "module._orig_mod."),
    "another order": shuffled,
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer": {"lr": 0.1}},
    "state_dict": lambda state: {"state_dict": prefixed(state, "net."), "best_acc": 0.98},
    "model": lambda state: {"model": state, "loss": torch.tensor(0.5)},
    "wrapped twice": lambda state: {"model": {"state_dict": shuffled(state)}},
    "half precision": lambda state: {name: tensor.half() for name, tensor in state.items()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [Tutorial, sequential])
def test_the_weights_of_tutorials_load(tmp_path, capsys, make, way):
    net, path = make(), tmp_path / "w.pth"
    torch.save(WAYS[way](net.state_dict()), path)
    loaded, metadata = load_weights(path)
    assert isinstance(loaded, LeNet5)
    assert metadata["arch"] == "lenet5"
    (line,) = capsys.readouterr().err.splitlines()
    assert "assuming lenet5, its activation and pooling" in line
    assert len(line) - len(str(path)) <= 160
    x = torch.randn(4, 1, 32, 32)
    tolerance = 0.02 if way == "half precision" else 1e-5
    assert torch.allclose(loaded.eval()(x), net(x), atol=tolerance)


@pytest.mark.parametrize("arch", ["lenet5-padded", "lenet-gap", "lenet5-1998", "teacher"])
def test_others_of_the_family_under_other_names(tmp_path, arch):
    """In the order of their layers, which the teacher needs, as some have one shape."""
    net = build(arch)
    state = {f"layers.{i}.w": t for i, t in enumerate(net.state_dict().values())}
    torch.save(state, tmp_path / "w.pth")
    loaded, _ = load_weights(tmp_path / "w.pth")
    assert loaded.arch == arch
    assert all(map(torch.equal, loaded.state_dict().values(), net.state_dict().values()))


def test_what_two_networks_could_be_needs_arch(tmp_path):
    state = {f"layer{i}": t for i, t in enumerate(build("lenet5-tanh").state_dict().values())}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="could be lenet5-conv or lenet5-tanh: use --arch"):
        load_weights(tmp_path / "w.pth")
    for arch in ("lenet5-conv", "lenet5-tanh"):
        assert load_weights(tmp_path / "w.pth", arch)[0].arch == arch
    with pytest.raises(UserError, match="is not of lenet5-1998"):
        load_weights(tmp_path / "w.pth", "lenet5-1998")


def test_an_order_that_does_not_tell_is_not_guessed(tmp_path):
    """Of the teacher's layers of one shape any may be the first."""
    torch.save(shuffled(prefixed(build("teacher").state_dict(), "x")), tmp_path / "w.pth")
    with pytest.raises(UserError, match="its shapes fit none of ours"):
        load_weights(tmp_path / "w.pth")


def test_other_numbers_of_classes(tmp_path):
    state = build("lenet5", 26).state_dict()
    torch.save(shuffled(prefixed(state, "net.l_")), tmp_path / "w.pth")
    assert load_weights(tmp_path / "w.pth")[0].output.out_features == 26


def test_a_network_for_other_inputs_is_refused(tmp_path):
    """16×4×4 inputs of the first full layer: of 28×28 pictures without a margin."""
    state = Tutorial().state_dict()
    state["fc1.weight"] = torch.zeros(120, 256)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="its shapes fit none of ours"):
        load_weights(tmp_path / "w.pth")


def test_a_checkpoint_of_a_run_has_its_best_weights(tmp_path, monkeypatch, mnist):
    import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lenet5.training.training_pool.load_dataset", lambda *names: mnist)
    assert train.main(["--max-steps", "3", "--device", "cpu"]) == 0
    (checkpoint,) = tmp_path.glob("runs/*/checkpoint.pth")
    loaded, metadata = load_weights(checkpoint)
    wanted, own = load_weights(tmp_path / "lenet5_model.pth")
    assert metadata == own
    assert all(map(torch.equal, loaded.state_dict().values(), wanted.state_dict().values()))


def test_safetensors(tmp_path):
    save = pytest.importorskip("safetensors.torch").save_file
    net = Tutorial()
    save(net.state_dict(), tmp_path / "w.safetensors")
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(loaded.c1.weight, net.conv1.weight)
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="is not a weights file, or is damaged"):
        load_weights(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "state",
    [
        {"model": "lenet5"},
        {"state_dict": {}},
        {"state_dict": {"epoch": 3}},
        {"best": {"weights": {}}},
        {"model": {"model": {"model": {"model": {"model": {}}}}}},
        OrderedDict(a=torch.zeros(3)),
        {"a.b": torch.zeros(3), "a.c": torch.zeros(3)},
        {f"a{i}": torch.zeros(i, 1) for i in range(1, 1500)},  # each may be a last layer
    ],
)
def test_what_holds_no_network_is_one_line(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError) as error:
        load_weights(tmp_path / "w.pth")
    assert "\n" not in str(error.value)


def test_an_exported_network_is_told_from_weights(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"is an exported network.*give its \.pth"):
        load_weights(tmp_path / "w.onnx")


def test_own_weights_keep_their_names_first(tmp_path, capsys):
    """A file with metadata says nothing, whatever its shapes could be."""
    save_weights(tmp_path / "w.pth", build("lenet5-tanh"))
    assert load_weights(tmp_path / "w.pth")[1]["arch"] == "lenet5-tanh"
    assert capsys.readouterr().err == ""
