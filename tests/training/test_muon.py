"""Muon against a singular value decomposition, and against PyTorch's Adam."""

import subprocess
import sys

import pytest
import torch

from lenet5.networks.registry import NETWORKS
from lenet5.training.muon import Muon, orthogonal
from lenet5.training.optimizers import make_optimizer
from model import LeNet5, build
from tests.conftest import ROOT


@pytest.mark.parametrize("shape", [(6, 25), (16, 150), (120, 400), (120, 84), (5, 5), (1, 9)])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_singular_values_become_about_one_and_directions_stay(shape, size):
    torch.manual_seed(0)
    matrix = size * torch.randn(shape)
    left, values, right = torch.linalg.svd(orthogonal(matrix), full_matrices=False)
    # Jordan et al. name 0.7 to 1.2 for what begins above a hundredth; a square noise matrix has less.
    assert values.max() < 1.21
    assert values.min() > (0.05 if shape == (5, 5) else 0.6)
    before_left, _, before_right = torch.linalg.svd(matrix, full_matrices=False)
    # The nearest orthogonal matrix is that without singular values: U·Vᵀ.
    torch.testing.assert_close(left @ right, before_left @ before_right, rtol=0, atol=2e-3)
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))  # nothing to learn


@pytest.mark.parametrize("arch", [name for name in NETWORKS if name != "lenet5-1998"])
def test_matrices_are_those_between_the_input_and_the_output_layer(arch):
    net = build(arch)
    matrices, rest = (group["params"] for group in Muon(net, 0.01).param_groups)
    assert all(p.dim() > 1 for p in matrices)
    assert any(p is net.output.weight for p in rest)
    assert all(p.dim() == 1 or p is net.output.weight for p in rest)
    assert len(matrices) + len(rest) == len(list(net.parameters()))


def gradients(net, steps: int):
    """Random gradients, the same ones for every network of the same shapes."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        yield


def test_a_step_is_momentum_without_its_singular_values():
    torch.manual_seed(0)
    net = LeNet5()
    before, lr, momentum = net.f6.weight.detach().clone(), 0.02, 0.9
    optimizer, mean, wanted = Muon(net, lr, momentum), 0, before.clone()
    for _ in gradients(net, 3):
        optimizer.step()
        mean = momentum * mean + net.f6.weight.grad
        left, _, right = torch.linalg.svd(net.f6.weight.grad + momentum * mean, full_matrices=False)
        wanted -= lr * left @ right
    # Three steps, in each of which a direction is up to 0.3 of its length away.
    moved, should = net.f6.weight.detach() - before, wanted - before
    assert torch.nn.functional.cosine_similarity(moved.flatten(), should.flatten(), dim=0) > 0.98
    assert moved.norm() / should.norm() == pytest.approx(0.9, abs=0.15)


def test_what_is_no_matrix_is_moved_as_by_adam():
    torch.manual_seed(0)
    net, other = LeNet5(), LeNet5()
    other.load_state_dict(net.state_dict())
    muon, lr = make_optimizer(net, "muon", 0.02), 0.02 * Muon.ADAM_SHARE
    adam = torch.optim.Adam(other.parameters(), lr, betas=Muon.BETAS, eps=Muon.EPS)
    for _ in zip(gradients(net, 4), gradients(other, 4), strict=True):
        muon.step()
        adam.step()
    for name in ("c1.bias", "c3.bias", "c5.bias", "f6.bias", "output.weight", "output.bias"):
        torch.testing.assert_close(net.get_parameter(name), other.get_parameter(name))
        assert net.get_parameter(name).abs().max() > 0


def test_weight_decay_makes_matrices_smaller_by_itself():
    torch.manual_seed(0)
    net = LeNet5()
    optimizer = make_optimizer(net, "muon", 0.1, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in net.named_parameters():
        is_matrix = name.endswith("weight") and name != "output.weight"
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if is_matrix else 1))


@pytest.mark.slow
def test_nothing_of_torch_compile_is_imported():
    """A second and a half, which a run of `--recipe quick` would wait before its first step."""
    program = (
        "import sys, torch\n"
        "from lenet5.training.epoch import backpropagate\n"
        "from lenet5.training.optimizers import make_optimizer\n"
        "from model import LeNet5\n"
        "net = LeNet5()\n"
        "optimizer = make_optimizer(net, 'muon', 0.1)\n"
        "batch = torch.zeros(2, 1, 32, 32), torch.zeros(2, dtype=int)\n"
        "backpropagate(net, *batch, torch.nn.functional.cross_entropy, torch.bfloat16)\n"
        "optimizer.step()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
