"""The layers of a network compute what it computes; their states have the paper's shapes.

That the operations compute the same is tested where other programs run them: tests/export.
"""

import pytest
import torch

from lenet5.networks.operations import feature_maps, operations
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights
from model import build

SHAPES = {  # section II.B of the paper
    "input": (1, 32, 32),
    "C1": (6, 28, 28),
    "S2": (6, 14, 14),
    "C3": (16, 10, 10),
    "S4": (16, 5, 5),
    "C5": (120,),
    "F6": (84,),
    "output": (10,),
}


@pytest.mark.parametrize("arch", NETWORKS)
def test_layers_compute_what_the_network_computes(arch):
    net, _ = load_weights(f"pretrained/{arch}.pth")
    inputs = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = net.eval()(inputs)
    found = feature_maps(net, inputs)["output"]
    # Float32 sums in another order: of numbers up to some 100 (the squared distances).
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("arch", ["lenet5", "lenet5-conv", "lenet5-tanh", "lenet5-1998"])
def test_states_have_the_shapes_of_the_paper(arch):
    states = feature_maps(build(arch), torch.zeros(3, 1, 32, 32))
    assert list(states) == list(SHAPES)
    for name, shape in SHAPES.items():
        found = states[name].shape[1:]  # C5 is 120 units or 120 maps of one pixel
        assert tuple(found[: len(shape)]) == shape
        assert states[name][0].numel() == torch.Size(shape).numel()


def test_states_of_1998_are_those_of_the_paper_s_network():
    net = build("lenet5-1998")
    inputs = torch.rand(2, 1, 32, 32)
    states = feature_maps(net, inputs)
    with torch.inference_mode():
        expected = net.states(inputs)
    for name, state in zip(("input", "C1", "S2", "C3", "S4", "C5", "F6"), expected, strict=True):
        torch.testing.assert_close(states[name], state)


def test_operations_have_copies_of_the_numbers():
    """Numbers that are exported do not change when training goes on."""
    net = build("lenet5")
    kept = operations(net)["C1"][0].weight
    before = kept.clone()
    with torch.no_grad():
        net.c1.weight.add_(1)
    assert torch.equal(kept, before)
    assert not kept.requires_grad
