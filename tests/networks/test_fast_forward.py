"""The fast forward against the textbook forward of model.py and PyTorch's own layers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks import fast_forward
from lenet5.networks.fast_forward import convolve_and_pool, kernel_at_all_places
from lenet5.reading.torch_backend import TrainedNetwork
from lenet5.training.epoch import backpropagate
from model import LeNet5, build

SHAPES = {"lenet5": (32, 32), "lenet5-padded": (32, 32), "lenet5-conv": (36, 48)}


@pytest.mark.parametrize("arch", SHAPES)
@pytest.mark.parametrize("is_bfloat16", [False, True])
def test_scores_and_gradients_are_those_of_the_textbook_forward(arch, is_bfloat16):
    torch.manual_seed(0)
    net, inputs = build(arch), torch.randn(16, 1, *SHAPES[arch])
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
    """Reading and evaluation share `compute_logits`."""
    calls = []

    def spy(convolution, x):
        calls.append(len(x))
        return convolve_and_pool(convolution, x)

    monkeypatch.setattr(fast_forward, "convolve_and_pool", spy)
    batch = torch.zeros(3, 1, 32, 32), torch.zeros(3).long()
    backpropagate(LeNet5(), *batch, F.cross_entropy, torch.float32)
    TrainedNetwork("pretrained/lenet5.pth", device="cpu").logits(np.zeros((2, 28, 28), np.uint8))
    assert calls == [3, 3, 2, 2]


class Own(LeNet5):
    def forward(self, x):
        return super().forward(x) + 1


def test_other_devices_and_other_networks_run_themselves():
    net = LeNet5().to("meta")
    assert fast_forward.forward(net, torch.zeros(2, 1, 32, 32, device="meta")).shape == (2, 10)
    own, x = Own(), torch.randn(1, 1, 32, 32)
    assert torch.equal(fast_forward.forward(own, x), own(x))


@pytest.mark.parametrize(
    "shape",
    [(1, 32, 32), (1, 28, 36), (1, 8, 40), (1, 34, 32), (1, 6, 6), (3, 40, 8), (6, 14, 14), (3, 33, 35)],
)
@pytest.mark.parametrize("rounded", [False, True])
def test_convolve_and_pool_is_a_convolution_and_a_pooling(monkeypatch, shape, rounded):
    made = []

    def matrix(kernels):
        made.append(kernels)
        return kernel_at_all_places(kernels)

    monkeypatch.setattr(fast_forward, "kernel_at_all_places", matrix)
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
    # Windows of 8×8, four pixels apart, cover a picture whose sides are multiples of four.
    channels, height, width = shape
    assert bool(made) == (channels == 1 and height % 4 == width % 4 == 0)


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
