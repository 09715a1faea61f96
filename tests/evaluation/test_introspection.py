"""What is inside a network and what it withstands, against the paper and other sampling."""

import pytest
import torch
import torch.nn.functional as F

from lenet5.evaluation.introspection import features, kernels, plane, stages
from lenet5.evaluation.metrics import evaluate
from lenet5.evaluation.robustness import DISTURBANCES, disturbed, robustness
from lenet5.imaging.inputs import to_input
from lenet5.networks.lenet1998 import TABLE_I
from lenet5.networks.operations import feature_maps
from lenet5.networks.registry import NETWORKS
from model import build


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- kernels and layers


@pytest.mark.parametrize("arch", NETWORKS)
def test_kernels_are_the_weights_of_c1_and_c3(arch):
    net = build(arch)
    first, second = kernels(net)
    assert (first.layer, first.below, second.layer) == ("C1", "input", "C3")
    assert second.below == ("C2" if arch == "teacher" else "S2")
    weights = dict(net.named_parameters())
    assert torch.equal(
        first.weight, weights["c1.weight" if "c1.weight" in weights else "c1.conv.weight"]
    )
    if arch != "lenet5-1998":
        name = "c3.weight" if "c3.weight" in weights else "c3.conv.weight"
        assert torch.equal(second.weight, weights[name])


def test_of_1998_the_kernels_of_table_i_are_there_and_no_others():
    weight = kernels(build("lenet5-1998"))[1].weight
    there = weight.abs().sum(dim=(2, 3)) > 0
    assert tuple(tuple(row.nonzero().flatten().tolist()) for row in there) == TABLE_I


def test_each_layer_in_words():
    found = stages(build("lenet5"))
    assert found["C1"] == "convolution, ReLU"
    assert found["S2"] == "max pooling 2×2"
    assert found["F6"] == "full connection, ReLU"
    assert found["output"] == "full connection"
    assert stages(build("lenet5-1998"))["S2"] == "average pooling 2×2, scaled, 1.7159·tanh(2x/3)"
    assert all("crop" not in words for arch in NETWORKS for words in stages(build(arch)).values())


@pytest.mark.parametrize("arch", NETWORKS)
def test_features_are_what_the_output_layer_reads(arch):
    net, inputs = build(arch), noise(3, 1, 32, 32)
    states = feature_maps(net, inputs)
    read = states["C4"].mean(dim=(2, 3)) if arch == "teacher" else states["F6"].flatten(1)
    # Float32 sums in another order, of numbers around 1.
    torch.testing.assert_close(features(net, inputs), read, rtol=1e-4, atol=1e-4)
    many = inputs[:1].expand(501, -1, -1, -1)  # more than one batch
    assert features(net, many).shape == (501, 128 if arch == "teacher" else 84)


# ---------------------------------------------------------------- the plane


def crowd(classes=6, each=60, size=20):
    """Classes around points in different directions from 0; the first two are far out."""
    centres = 10 * torch.eye(classes, size)
    centres[:2] += 5 * torch.eye(2, size)
    labels = torch.arange(classes).repeat_interleave(each)
    return centres[labels] + noise(len(labels), size), labels


def told_apart(points, labels):
    """The share of points whose nearest class centre is their own's."""
    centres = torch.stack([points[labels == i].mean(0) for i in labels.unique()])
    return (torch.cdist(points, centres).argmin(1) == labels).double().mean().item()


def test_the_plane_tells_all_classes_apart_where_the_largest_spread_does_not():
    points, labels = crowd()
    seen = plane(points, labels)
    assert seen.shape == (360, 2)
    assert told_apart(seen, labels) > 0.95  # they do not overlap in 20 dimensions
    centred = points.double() - points.double().mean(0)
    principal = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    assert told_apart(principal, labels) < 0.8
    assert torch.equal(plane(points, labels), seen)


def test_the_plane_is_a_linear_view_of_points_on_a_sphere():
    points, labels = crowd()
    seen = plane(points, labels)
    sphere = F.normalize(points.double(), dim=1)
    sphere = torch.cat([sphere, torch.ones(len(sphere), 1)], dim=1)
    fitted = sphere @ torch.linalg.lstsq(sphere, seen).solution
    torch.testing.assert_close(fitted, seen, rtol=0, atol=1e-6)
    torch.testing.assert_close(plane(8 * points, labels), seen)  # lengths do not matter


def test_the_plane_of_few_or_equal_points():
    points = noise(10, 84)
    assert plane(points, torch.arange(10)).isfinite().all()  # one picture a class
    assert plane(points, torch.arange(10) % 2 * 7).isfinite().all()  # two classes, 0 and 7
    assert plane(torch.zeros(10, 84), torch.arange(10)).isfinite().all()  # of a network that is dead
    with pytest.raises(ValueError, match="two"):
        plane(points, torch.zeros(10, dtype=torch.long))


# ---------------------------------------------------------------- disturbances


@pytest.fixture(scope="module")
def pictures():
    """Four smooth pictures with a frame of 8 pixels of background, mean 0 and std 1: N×1×32×32."""
    inside = F.interpolate(noise(4, 1, 5, 5).abs(), size=16, mode="bicubic").clamp(0, 1)
    return F.pad(inside, (8,) * 4)


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_nothing_is_done_by_the_amount_that_does_nothing(pictures, kind):
    unchanged = disturbed(pictures, kind, DISTURBANCES[kind].none, 0.0, 1.0)
    torch.testing.assert_close(unchanged, pictures, rtol=0, atol=1e-5)
    assert DISTURBANCES[kind].none in DISTURBANCES[kind].amounts


@pytest.mark.parametrize(
    ("kind", "amount", "expected"),
    [
        ("rotation", 90, lambda x: x.rot90(1, dims=(2, 3))),  # to the left
        ("shift", -8, lambda x: x.roll(-8, dims=3)),
        ("shift", 3, lambda x: x.roll(3, dims=3)),  # to the right
        ("scale", 2.0, lambda x: F.interpolate(x[:, :, 8:-8, 8:-8], scale_factor=2, mode="bilinear")),
    ],
)
def test_disturbances_against_torch(pictures, kind, amount, expected):
    inner = (..., slice(1, -1), slice(1, -1))  # interpolate sees no frame outside the enlarged part
    found = disturbed(pictures, kind, amount, 0.0, 1.0)
    torch.testing.assert_close(found[inner], expected(pictures)[inner], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.1307, 0.3081)])
def test_noise_has_its_deviation_and_stays_between_paper_and_ink(mean, std):
    gray = torch.full((50, 28, 28), 128, dtype=torch.uint8)
    inputs = to_input(gray, mean, std)
    noisy = disturbed(inputs, "noise", 0.1, mean, std) * std + mean
    inside = noisy[:, :, 2:-2, 2:-2]
    assert inside.mean().item() == pytest.approx(128 / 255, abs=0.002)  # 39,200 pixels
    assert inside.std().item() == pytest.approx(0.1, rel=0.02)
    strong = disturbed(inputs, "noise", 1.0, mean, std) * std + mean
    assert -1e-6 <= strong.min() < 0.01
    assert 0.99 < strong.max() <= 1 + 1e-6
    again = disturbed(inputs, "noise", 0.1, mean, std) * std + mean
    assert torch.equal(again, noisy)


def test_robustness_against_another_sampling(mnist, pretrained):
    net, metadata = pretrained
    mean, std = metadata["mean"], metadata["std"]
    inputs, labels = to_input(mnist.test_images[:100], mean, std), mnist.test_labels[:100]
    measured = robustness(net, inputs, labels, mean, std)
    plain = evaluate(net, inputs, labels).accuracy
    for kind, disturbance in DISTURBANCES.items():
        assert [amount for amount, _ in measured[kind]] == list(disturbance.amounts)
        assert dict(measured[kind])[disturbance.none] == plain
    angle = torch.tensor(40.0).deg2rad()
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]])
    grid = F.affine_grid(turn.expand(100, 2, 3), list(inputs.shape), align_corners=False)
    turned = F.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
    expected = evaluate(net, turned, labels).accuracy
    assert expected < plain
    # Rounding may tip one answer that is between two digits.
    assert dict(measured["rotation"])[40] == pytest.approx(expected, abs=0.011)


def test_the_amounts_begin_and_end_where_pictures_are_shown():
    for disturbance in DISTURBANCES.values():
        assert disturbance.amounts[0] <= disturbance.shown[0]
        assert disturbance.shown[-1] <= disturbance.amounts[-1]
        steps = torch.tensor(disturbance.shown).diff()  # side by side, so equally far apart
        torch.testing.assert_close(steps, steps[0].expand(len(steps)))
