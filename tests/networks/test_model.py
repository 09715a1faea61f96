"""LeNet-5 against the network of a tutorial, initialisation, devices."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks.devices import pick_device, pick_precision
from lenet5.networks.registry import NETWORKS
from lenet5.runtime.errors import UserError
from model import LeNet5, build


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
                with pytest.raises(UserError, match=f"not available on {device.type} here"):
                    pick_precision("bfloat16", device)
    for found, wanted in (({"amx_bf16": True}, torch.bfloat16), ({"amx_bf16": False}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert pick_precision("auto", cpu) == wanted
        assert pick_precision("auto", cuda) == pick_precision("auto", mps) == torch.float32
