"""The network of 1998 against the paper's tables, against autograd, and against slow loops."""

import copy
import math

import pytest
import torch

from lenet5.evaluation.metrics import evaluate
from lenet5.imaging.inputs import to_input
from lenet5.networks.lenet1998 import (
    BITMAPS,
    RUBBISH,
    TABLE_I,
    LeNet1998,
    connections,
    digit_bitmaps,
    slope,
    squash,
)
from lenet5.training.epoch import TrainingStep, train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt, OnePattern

# The paper's section II.B, layer by layer: trainable parameters and connections.
PARAMETERS = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
CONNECTIONS = (122_304, 5_880, 151_600, 2_000, 48_120, 10_164, 840)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return LeNet1998()


@pytest.fixture
def patterns():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(7, 1, 32, 32, generator=generator) * 1.275 - 0.1
    return x, torch.tensor([3, 1, 4, 1, 5, 9, 2])


def test_parameters_are_those_of_the_paper(net, patterns):
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in net.named_children()}
    assert counts == PARAMETERS
    # The second way to count: the numbers that a step of learning changes.
    before = [p.detach().clone() for p in net.parameters()]
    net.loss(net(patterns[0]), patterns[1]).backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= p.grad
    changed = sum((a != b).sum().item() for a, b in zip(before, net.parameters(), strict=True))
    assert changed == sum(PARAMETERS.values()) == 60_000


def test_connections_are_those_of_the_paper(net):
    counts = connections(net)
    assert tuple(counts.values()) == CONNECTIONS
    assert sum(CONNECTIONS) == 340_908
    # The second way to count: entries of each layer's Jacobian that are not zero, and the biases.
    states = net.states(torch.rand(1, 1, 32, 32))
    for name, layer, state in zip(counts, net.layers(), states, strict=False):
        jacobian = torch.autograd.functional.jacobian(layer, state.detach(), vectorize=True)
        assert (jacobian != 0).sum().item() + layer(state).numel() == counts[name], name


def test_table_i_has_60_pairs_and_the_sizes_of_the_paper():
    assert [len(row) for row in TABLE_I] == [3] * 6 + [4] * 9 + [6]
    assert len(set(TABLE_I)) == 16
    # Every map of S2 is read by ten maps of C3.
    assert [sum(j in row for row in TABLE_I) for j in range(6)] == [10] * 6


def test_c3_reads_the_maps_of_its_table_and_no_others(net):
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    for i, row in enumerate(TABLE_I):
        (gradient,) = torch.autograd.grad(net.c3(x)[0, i].sum(), x)
        moved = gradient[0].abs().sum((1, 2)) > 0
        assert tuple(moved.nonzero().flatten().tolist()) == row


def test_squashing_function():
    # Appendix A: f(±1) = ±1, asymptotes at ±1.7159.
    a = torch.tensor([1.0, -1.0, 100.0, 0.0])
    torch.testing.assert_close(squash(a), torch.tensor([1.0, -1.0, 1.7159, 0.0]), atol=1e-4, rtol=0)
    a = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(squash(a).sum(), a)
    torch.testing.assert_close(slope(squash(a)), wanted)


def test_initial_weights_fill_the_interval_of_the_paper():
    torch.manual_seed(0)
    nets = [LeNet1998() for _ in range(30)]
    fan_ins = {"c1": 25, "s2": 4, "s4": 4, "c5": 400, "f6": 120}
    for name, fan_in in fan_ins.items():
        for p, _ in enumerate(getattr(nets[0], name).parameters()):
            values = torch.cat([list(getattr(n, name).parameters())[p].flatten() for n in nets])
            assert values.abs().max() <= 2.4 / fan_in
            # A uniform distribution from -b to b has the deviation b / √3; 180 values or more.
            assert values.std().item() == pytest.approx(2.4 / fan_in / math.sqrt(3), rel=0.15)
    kernel = 0
    for row in TABLE_I:
        values = torch.cat([n.c3.weight[kernel : kernel + len(row)].flatten() for n in nets])
        bound = 2.4 / (25 * len(row))
        assert 0.9 * bound < values.abs().max() <= bound
        kernel += len(row)


def test_inputs_are_scaled_as_in_the_paper(net):
    assert (0 - net.mean) / net.std == pytest.approx(-0.1)
    assert (1 - net.mean) / net.std == pytest.approx(1.175)


def test_bitmaps_are_ten_different_pictures_of_7_by_12():
    bitmaps = digit_bitmaps()
    assert bitmaps.shape == (10, 84)
    assert set(bitmaps.unique().tolist()) == {-1.0, 1.0}
    # Row by row from the drawing: its i-th column of words is digit i.
    drawn = [line.split() for line in BITMAPS.strip().split("\n")]
    for i in range(10):
        rows = ["".join("#" if p > 0 else "." for p in row) for row in bitmaps[i].view(12, 7)]
        assert rows == [words[i] for words in drawn]
        # Far enough apart that a wrong output costs something: at least 8 of 84 pixels.
        assert all((bitmaps[i] != bitmaps[j]).sum() >= 8 for j in range(i))


def test_outputs_are_the_distances_of_equation_7_one_by_one(net):
    x, bitmaps = torch.randn(3, 84), digit_bitmaps()
    for n in range(3):
        for i in range(10):
            y = sum((x[n, j].item() - bitmaps[i, j].item()) ** 2 for j in range(84))
            assert net.output(x)[n, i].item() == pytest.approx(-y, rel=1e-5)


def test_loss_is_equation_9_one_by_one():
    distances = torch.tensor([[0.5, 3.0, 7.0], [90.0, 2.0, 60.0]], dtype=torch.float64)
    labels = torch.tensor([0, 2])
    wanted = 0.0
    for y, label in zip(distances.tolist(), labels.tolist(), strict=True):
        wanted += y[label] + math.log(math.exp(-RUBBISH) + sum(math.exp(-value) for value in y))
    assert LeNet1998.loss(-distances, labels).item() == pytest.approx(wanted / 2, rel=1e-12)


def test_loss_bounds_the_gain_from_wrong_classes_far_away():
    # Without the rubbish class, pushing wrong distances up would pay for ever.
    near = LeNet1998.loss(-torch.tensor([[0.0, 50.0]]), torch.tensor([0]))
    far = LeNet1998.loss(-torch.tensor([[0.0, 5000.0]]), torch.tensor([0]))
    torch.testing.assert_close(near, far)
    assert near > 0


def by_parameter(net, derivatives) -> dict[str, torch.Tensor]:
    """What OnePattern yields, in the shapes of the network's parameters."""
    found = {name: torch.from_numpy(array.copy()) for name, array in derivatives}
    found["c3.weight"] = net.c3.kernels(found["c3.weight"])
    return {name: found[name].reshape(p.shape) for name, p in net.named_parameters()}


def test_states_and_gradients_by_hand_are_those_of_autograd(net, patterns):
    one = OnePattern(net)
    for x, label in zip(*patterns, strict=True):
        states = one.forward(x[0].numpy())
        ours = [torch.from_numpy(states[i]).flatten() for i in (1, 3, 5, 7, 8, 9)]
        theirs = [state.detach().flatten() for state in net.states(x[None])[1:]]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        loss, distances, gradient = one.gradient(states, label.item())
        by_hand = by_parameter(net, gradient)
        outputs = net(x[None])
        wanted = net.loss(outputs, label[None])
        assert loss == pytest.approx(wanted.item(), rel=1e-5)
        torch.testing.assert_close(
            torch.from_numpy(-distances), outputs[0].detach(), rtol=1e-4, atol=1e-4
        )
        gradients = torch.autograd.grad(wanted, list(net.parameters()))
        for found, g in zip(by_hand.values(), gradients, strict=True):
            # float32 against float32: errors as large as the largest derivative's rounding.
            torch.testing.assert_close(found, g, rtol=1e-3, atol=1e-5 * g.abs().max().item())


def gauss_newton_diagonal(net, x, label):
    """Appendix C from its words, layer by layer, with autograd's Jacobians in double precision.

    The second derivative of a number u below a layer is the sum over the
    layer's units of (second derivative of the unit) · (∂unit/∂u)².
    """
    states = [state.detach() for state in net.states(x)]
    label = torch.tensor([label])
    hessian = torch.autograd.functional.hessian(
        lambda state: net.loss(net.output(state), label), states[-1]
    )
    second = torch.diagonal(hessian[0, :, 0])  # of F6's states, exact
    found = {}
    names = ["c1", "s2", "c3", "s4", "c5", "f6"]
    for i in reversed(range(6)):
        layer, below, above = net.layers()[i], states[i], states[i + 1]
        second = second.flatten() * slope(above).flatten() ** 2  # of the sums
        for kind, p in layer.named_parameters():
            total = torch.zeros_like(p)
            for unit, h in enumerate(second):  # shared parameters: each unit by itself
                (gradient,) = torch.autograd.grad(layer(below).flatten()[unit], p)
                total += h * gradient**2
            found[f"{names[i]}.{kind}"] = total
        if i:
            jacobian = torch.autograd.functional.jacobian(layer, below, vectorize=True)
            second = second @ jacobian.reshape(len(second), -1) ** 2
    return found


def test_curvature_is_that_of_appendix_c(net, patterns):
    x = patterns[0][:1]
    with torch.no_grad():  # larger weights, so that no layer's curvature is lost in rounding
        for p in net.parameters():
            p *= 3
    one = OnePattern(net)
    by_hand = by_parameter(net, one.curvature(one.forward(x[0, 0].numpy())))
    for name, wanted in gauss_newton_diagonal(net.double(), x.double(), 3).items():
        found = by_hand[name].double()
        assert (found >= 0).all()
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5 * wanted.max().item())
        assert wanted.max() > 0


def test_measured_curvature_is_the_mean_over_the_patterns(net, patterns):
    optimizer = DiagonalLevenbergMarquardt(net, lr=0.1)
    optimizer.measure_curvature(patterns[0])
    one = OnePattern(net)
    each = [dict(one.curvature(one.forward(x[0].numpy()))) for x in patterns[0]]
    for name, h in optimizer.curvature().items():
        wanted = sum(c[name] for c in each) / len(each)
        torch.testing.assert_close(torch.from_numpy(h), torch.from_numpy(wanted), rtol=1e-4, atol=1e-9)


def test_second_derivatives_are_measured_before_a_pass_and_often_at_first(net):
    optimizer = DiagonalLevenbergMarquardt(net, lr=0.0005)
    group = optimizer.param_groups[0]
    due = []
    for learned in range(0, 3500, 50):
        group["learned"] = learned
        if optimizer.is_due(begins_pass=learned == 0):
            group["measured_at"] = learned
            due.append(learned)
    assert due == list(range(0, 3001, 100))
    group["learned"] = 60_000
    assert not optimizer.is_due(begins_pass=False)
    assert optimizer.is_due(begins_pass=True)


def test_learning_is_a_step_by_lr_over_mu_and_curvature_for_each_pattern(net, patterns):
    again = copy.deepcopy(net)
    optimizer = DiagonalLevenbergMarquardt(net, lr=0.0005, mu=0.02)
    optimizer.measure_curvature(patterns[0])
    curvature = [optimizer.state[p]["curvature"].clone() for p in net.parameters()]
    loss, outputs = optimizer.learn(*patterns)
    losses = []
    for n, (x, label) in enumerate(zip(*patterns, strict=True)):
        y = again(x[None])
        torch.testing.assert_close(y[0].detach(), outputs[n], rtol=1e-3, atol=1e-2)
        losses.append(again.loss(y, label[None]))
        gradients = torch.autograd.grad(losses[-1], list(again.parameters()))
        with torch.no_grad():
            for p, g, h in zip(again.parameters(), gradients, curvature, strict=True):
                p -= 0.0005 / (0.02 + h) * g
    assert loss.item() == pytest.approx(sum(losses).item() / len(losses), rel=1e-3)
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)


def test_it_learns_to_read_from_a_few_thousand_digits(mnist, monkeypatch):
    """From the paper's initial weights, where chance is 10 %: the first steps do not saturate it."""
    monkeypatch.setattr(DiagonalLevenbergMarquardt, "PATTERNS", 100)  # 500 take five times as long
    torch.manual_seed(0)
    net = LeNet1998()
    optimizer = DiagonalLevenbergMarquardt(net, lr=0.00005)
    inputs = to_input(mnist.train_images[:5000], net.mean, net.std)
    pool = TrainingPool(inputs, mnist.train_labels[:5000])
    plan = EpochPlan(pool, None, torch.Generator().manual_seed(0))
    train_epoch(TrainingStep(net, optimizer), plan, 100)
    test = to_input(mnist.test_images[:1000], net.mean, net.std)
    # Three seeds gave 85 to 90 %.
    assert evaluate(net, test, mnist.test_labels[:1000]).accuracy > 0.75
