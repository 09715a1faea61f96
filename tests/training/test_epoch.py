import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lenet5.data.augmentation import AUGMENTATIONS, warp
from lenet5.training.distillation import SoftTargets
from lenet5.training.ema import EMA
from lenet5.training.epoch import RunningMetrics, TrainingStep, backpropagate, counts, train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.losses import soft_cross_entropy
from lenet5.training.optimizers import make_optimizer
from lenet5.training.schedules import SCHEDULES, one_cycle
from model import LeNet5, build


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_between_zero_and_the_peak(name):
    shares = [SCHEDULES[name](step / 1000) for step in range(1000)]
    assert all(0 < share <= 1 for share in shares)
    assert max(shares) == pytest.approx(1, abs=1e-3)
    assert shares[-1] <= shares[500]


def test_one_cycle_rises_for_a_fifth_and_then_falls():
    shares = [one_cycle(step / 1000) for step in range(1001)]
    assert shares[0] == 1 / 25
    assert max(range(1001), key=shares.__getitem__) == 200
    assert shares[:201] == sorted(shares[:201])
    assert shares[200:] == sorted(shares[200:], reverse=True)
    assert shares[-1] < 1e-4


def test_bfloat16_rounds_products_and_nothing_else():
    torch.manual_seed(0)
    net, x, y = LeNet5(), torch.randn(64, 1, 32, 32), torch.randint(0, 10, (64,))
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        loss, logits = backpropagate(net, x, y, F.cross_entropy, precision)
        assert loss.dtype == logits.dtype == torch.float32
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in net.parameters())
        found[precision] = [logits, *(p.grad for p in net.parameters())]
    for exact, rounded in zip(found[torch.float32], found[torch.bfloat16], strict=True):
        # 8 bits are a relative error of 0.004 in each of up to ten products, one after the other.
        error = (rounded - exact).norm() / exact.norm()
        assert 1e-4 < error < 0.1
    assert torch.equal(found[torch.bfloat16][0], found[torch.bfloat16][0].bfloat16().float())


def test_an_epoch_is_the_loop_that_a_tutorial_writes():
    """Against a direct loop with its own order of images, loss and counting."""
    torch.manual_seed(0)
    x, y = torch.randn(70, 1, 32, 32), torch.randint(0, 10, (70,))
    ours, theirs = LeNet5(), LeNet5()
    theirs.load_state_dict(ours.state_dict())
    plan = EpochPlan(TrainingPool(x, y), None, torch.Generator().manual_seed(5))
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.01)
    steps, tally = train_epoch(TrainingStep(ours, optimizer), plan, 32)
    assert steps == 3  # 32 + 32 + 6 images: the last ones count too

    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01)
    losses, hits = [], 0
    order = torch.randperm(70, generator=torch.Generator().manual_seed(5))
    for index in (order[:32], order[32:64], order[64:]):
        logits = theirs(x[index])
        loss = F.cross_entropy(logits, y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item()] * len(index)
        hits += (logits.argmax(1) == y[index]).sum().item()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert tally.result() == pytest.approx((sum(losses) / 70, hits / 70), rel=1e-5)


def test_weight_decay_makes_weights_that_nothing_else_moves_smaller():
    net = LeNet5()
    before = net.c5.weight.detach().clone()
    optimizer = make_optimizer(net, "adamw", 0.1, weight_decay=0.5)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(net.c5.weight.detach(), before * (1 - 0.1 * 0.5))


def test_averaged_weights_are_the_mean_that_the_formula_gives():
    net, mean = nn.BatchNorm1d(2), None
    average = EMA(net, decay=0.75)
    for step in range(1, 60):
        with torch.no_grad():
            net.weight.copy_(torch.tensor([float(step), -1.0]))
        net.num_batches_tracked += 1
        average.add(net)
        keep = min(0.75, step / (step + 10))
        mean = keep * (1.0 if mean is None else mean) + (1 - keep) * step
    assert average.net.weight[0].item() == pytest.approx(mean, rel=1e-5)
    # A mean over about four steps of a number that grows by 1 a step is some three behind.
    assert mean == pytest.approx(59 - 3, abs=0.01)
    # The first weight, 1, is forgotten; a counter is the last one, not a mean.
    assert average.net.weight[1].item() == pytest.approx(-1, abs=1e-5)
    assert average.net.num_batches_tracked == 59


def test_an_epoch_shows_each_part_as_often_as_asked():
    pool = TrainingPool(
        torch.zeros(120), torch.zeros(120), [(10, 1), (4, 3), (100, 0.1), (0, 1), (6, 1.5)]
    )
    generator = torch.Generator().manual_seed(0)
    first, second = (pool.random_order(generator) for _ in range(2))
    for order in (first, second):
        assert len(order) == pool.epoch_size == 10 + 12 + 10 + 9
        often = order.bincount(minlength=120)
        assert often[:10].tolist() == [1] * 10
        assert often[10:14].tolist() == [3] * 4
        assert often[14:114].max() == 1
        assert sorted(often[114:].tolist()) == [1, 1, 1, 2, 2, 2]
    # Other ones of the hundred, mixed with the rest.
    assert set(first.tolist()) != set(second.tolist())
    assert first[:10].max() > 10


def test_images_with_final_strokes_are_moved_and_keep_their_strokes():
    inputs, labels = torch.rand(8, 1, 28, 28), torch.arange(8)
    pool = TrainingPool(inputs, labels, final_strokes=3)
    plan = EpochPlan(pool, AUGMENTATIONS["pens"], torch.Generator().manual_seed(0))
    moved = warp(inputs[plan.order], plan.warps)
    same = (plan.batch(slice(8)) - moved).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert same[plan.order >= 3].all()
    assert not same[plan.order < 3].any()
    assert not torch.allclose(moved, inputs[plan.order])


@pytest.mark.parametrize("augment", ["elastic", "pens"])
def test_a_teacher_answers_for_the_very_picture_that_is_learned(augment):
    torch.manual_seed(0)
    x, y = torch.randn(50, 1, 32, 32), torch.randint(0, 10, (50,))
    teacher = build("lenet5-conv")
    targets = SoftTargets(teacher, x, AUGMENTATIONS[augment], seed=3)
    pool = TrainingPool(x, y, [(30, 1), (20, 2)])
    plan = EpochPlan(pool, None, torch.Generator().manual_seed(5), targets.of_epoch(1))
    seen = []

    class Student(LeNet5):
        def forward(self, batch):
            seen.append(batch)
            return super().forward(batch)

    net, wanted = Student(), []

    def loss(logits, targets):
        wanted.append(targets)
        return F.cross_entropy(logits, targets)

    train_epoch(TrainingStep(net, torch.optim.SGD(net.parameters(), lr=0.1), loss), plan, 16)
    assert torch.cat(wanted).shape == (70, 10)  # the last twenty twice
    with torch.no_grad():
        theirs = teacher(torch.cat(seen)).softmax(dim=1)
    torch.testing.assert_close(torch.cat(wanted), theirs)


def test_temperature_softens_the_answers():
    x, teacher = torch.randn(3, 1, 32, 32), LeNet5()
    targets = SoftTargets(teacher, x, AUGMENTATIONS["affine"], seed=0, temperature=4.0)
    warps, _, answers = targets.of_epoch(1)
    powers = teacher(warp(x, warps)).detach().div(4).exp()
    torch.testing.assert_close(answers, powers / powers.sum(dim=1, keepdim=True))


def test_the_views_of_a_teacher_come_again_and_differ():
    x = torch.randn(4, 1, 32, 32)
    asked = []

    class Teacher(LeNet5):
        def forward(self, batch):
            asked.append(len(batch))
            return super().forward(batch)

    targets = SoftTargets(Teacher(), x, AUGMENTATIONS["affine"], seed=0)
    first, second = targets.of_epoch(1), targets.of_epoch(2)
    again = targets.of_epoch(1 + SoftTargets.VIEWS)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[2], again[2])
    assert not torch.equal(first[0], second[0])
    assert len(asked) == 2
    other_seed = SoftTargets(Teacher(), x, AUGMENTATIONS["affine"], seed=1)
    assert not torch.equal(other_seed.of_epoch(1)[0], first[0])


def test_a_teachers_answers_are_learned_by_their_cross_entropy():
    """Against the sum written out; divided by the temperature before, times its square after."""
    logits, answers = torch.randn(5, 10), torch.randn(5, 10).softmax(dim=1)
    soft = logits.div(2).exp()
    by_hand = -(answers * (soft / soft.sum(dim=1, keepdim=True)).log()).sum(dim=1).mean() * 4
    torch.testing.assert_close(soft_cross_entropy(2.0)(logits, answers), by_hand)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("first", [0, 3, 9])
def test_the_first_step_whose_loss_is_not_finite_is_known_afterwards(bad, first):
    """Also if later losses are finite again, or the epoch was interrupted in between."""
    tally, logits, labels = RunningMetrics(torch.device("cpu")), torch.eye(4), torch.arange(4)
    for step in range(10):
        loss = torch.tensor(bad if step in (first, first + 2) else 0.5)
        tally.add(loss, *counts(logits, labels))
        tally = RunningMetrics(torch.device("cpu"), tally.values.tolist())
    assert tally.finite_steps() == first
    assert not torch.tensor(tally.result()[0]).isfinite()
    assert tally.result()[1] == 1
