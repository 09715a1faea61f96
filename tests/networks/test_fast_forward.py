"""The fast forward beside the textbook one of model.py."""

import pytest
import torch
import torch.nn.functional as F

from lenet5.evaluation.metrics import compute_logits
from lenet5.networks import fast_forward
from lenet5.networks.fast_forward import FORWARDS, forward
from lenet5.networks.registry import NETWORKS, build
from lenet5.training.epoch import backpropagate


@pytest.fixture
def inputs():
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", NETWORKS)
def test_scores_and_gradients_are_those_of_the_textbook(arch, inputs):
    torch.manual_seed(1)
    net = build(arch).eval()
    gradients = []
    for run in (forward(net, inputs), net(inputs)):
        net.zero_grad()
        F.cross_entropy(run, torch.tensor([3, 1, 4])).backward()
        gradients.append([run.detach(), *(p.grad.clone() for p in net.parameters())])
    for fast, textbook in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, textbook, rtol=1e-4, atol=1e-5)


def test_a_larger_picture_gives_a_map_of_answers():
    net, pictures = build("lenet5-conv"), torch.randn(2, 1, 32, 64)
    assert forward(net, pictures).shape == (2, 10, 1, 9)
    torch.testing.assert_close(forward(net, pictures), net(pictures), rtol=1e-4, atol=1e-5)


def test_elsewhere_than_on_a_cpu_the_network_runs_itself():
    net = build("lenet5").to("meta")
    assert forward(net, torch.zeros(2, 1, 32, 32, device="meta")).shape == (2, 10)


def test_training_and_evaluation_run_the_fast_forward(monkeypatch, inputs):
    """Reading evaluates by `compute_logits`."""
    net, calls = build("lenet5"), []
    fast = FORWARDS[type(net)]
    monkeypatch.setitem(fast_forward.FORWARDS, type(net), lambda *a: calls.append(a) or fast(*a))
    backpropagate(net, inputs, torch.tensor([3, 1, 4]), F.cross_entropy)
    compute_logits(net, inputs)
    assert len(calls) == 2
