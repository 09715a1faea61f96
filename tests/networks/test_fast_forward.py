"""The fast forward against the textbook forward of model.py."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lenet5.networks import fast_forward

SHAPES = {"lenet5": (32, 32), "lenet5-padded": (32, 32), "lenet5-conv": (36, 48)}


@pytest.mark.parametrize("network", fast_forward.FORWARDS, ids=lambda network: network.arch)
@pytest.mark.parametrize("is_bfloat16", [False, True])
def test_scores_and_gradients_are_those_of_the_textbook_forward(network, is_bfloat16):
    torch.manual_seed(0)
    net, inputs = network(), torch.randn(16, 1, *SHAPES[network.arch])
    results = []
    for forward in (net, lambda x: fast_forward.forward(net, x)):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            scores = forward(inputs)
            targets = torch.arange(scores[:, 0].numel()).view_as(scores[:, 0]) % 10
            F.cross_entropy(scores.float(), targets).backward()
        results.append((scores.detach().float(), [p.grad.clone() for p in net.parameters()]))
    (expected, expected_gradients), (scores, gradients) = results
    close = {"rtol": 0.05, "atol": 0.05} if is_bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(scores, expected, **close)
    close = {"rtol": 0.1, "atol": 0.05} if is_bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(gradients, expected_gradients, **close)


def test_training_and_reading_take_the_fast_forward(monkeypatch):
    from lenet5.reading.torch_backend import TrainedNetwork
    from lenet5.training.epoch import backpropagate
    from model import LeNet5

    calls = []

    def spy(net, x):
        calls.append(len(x))
        return net(x)

    monkeypatch.setitem(fast_forward.FORWARDS, LeNet5, spy)
    backpropagate(
        LeNet5(), torch.zeros(3, 1, 32, 32), torch.zeros(3).long(), F.cross_entropy, torch.float32
    )
    assert calls == [3]
    # Reading and evaluation share `compute_logits`.
    TrainedNetwork("pretrained/lenet5.pth", device="cpu").logits(np.zeros((2, 28, 28), np.uint8))
    assert calls == [3, 2]


def test_elsewhere_than_on_a_cpu_the_network_runs_itself():
    from model import LeNet5

    net = LeNet5().to("meta")
    assert fast_forward.forward(net, torch.zeros(2, 1, 32, 32, device="meta")).shape == (2, 10)
