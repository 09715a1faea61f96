"""Steps that are recorded once: the same weights as without, on whatever device there is."""

import copy
import sys

import pytest
import torch

from lenet5.data.augmentation import AUGMENTATIONS
from lenet5.training.epoch import RunningMetrics, TrainingStep, train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.losses import IGNORE_INDEX
from lenet5.training.optimizers import make_optimizer, set_rate
from model import LeNet5, build
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from cuda_graph import CudaGraphStep, as_before

CPU = torch.device("cpu")
IMAGES, BATCH = 70, 16  # four whole batches, and six images
RATES = {"adam": 2.0**-9, "adamw": 2.0**-9, "sgd": 2.0**-6, "muon": 2.0**-6}  # whole in float32

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def noise(device=CPU) -> TrainingPool:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(IMAGES, 1, 32, 32, generator=generator)
    labels = torch.randint(IGNORE_INDEX, 10, (IMAGES,), generator=generator).clamp(min=0)
    return TrainingPool(inputs.to(device), labels.to(device))


def learned(
    name: str,
    augment: str,
    capture: bool,
    device=CPU,
    epochs: int = 2,
    arch="lenet5",
    precision=torch.float32,
):
    """The network, its optimiser and its tally after some epochs, the rate halved before each step."""
    torch.manual_seed(0)
    net, pool = build(arch).to(device), noise(device)
    optimizer = make_optimizer(net, name, RATES[name])
    generator = torch.Generator().manual_seed(2)
    if capture:
        training = CudaGraphStep(net, optimizer, BATCH, precision=precision)
    else:
        training = TrainingStep(net, optimizer, precision=precision)
    done = []

    def before_step(step: int) -> bool:
        set_rate(optimizer, RATES[name] / 2 ** len(done))
        done.append(step)
        return True

    for _ in range(epochs):
        plan = EpochPlan(pool, AUGMENTATIONS[augment], generator)
        if capture:
            training.begin(plan)
        _, tally = train_epoch(training, plan, BATCH, before_step=before_step)
    return net, optimizer, tally


@pytest.mark.parametrize("augment", ["none", "elastic"])
@pytest.mark.parametrize("name", list(RATES))
def test_recorded_steps_give_the_weights_of_ordinary_ones(name, augment):
    net, optimizer, tally = learned(name, augment, capture=True)
    other, _, wanted = learned(name, augment, capture=False)
    # Muon multiplies the rate, which in a recording is of float32 with other last digits, and its
    # iteration multiplies what small singular values have of them.
    atol = 1e-5 if name == "muon" else 0
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=atol)
    torch.testing.assert_close(tally.values, wanted.values, rtol=atol, atol=atol)
    # Five steps an epoch: the last of ten was made at the ninth half of the first rate.
    assert float(optimizer.param_groups[0]["lr"]) == RATES[name] / 2**9


def test_recorded_steps_round_as_ordinary_ones_do():
    recorded, ordinary, exact = (
        learned("sgd", "affine", capture=capture, precision=precision)[0]
        for capture, precision in (
            (True, torch.bfloat16),
            (False, torch.bfloat16),
            (False, torch.float32),
        )
    )
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in (recorded, ordinary, exact)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_only_whole_batches_are_replayed():
    plan, replayed = EpochPlan(noise(), None, torch.Generator()), []
    for batch_size, wanted in ((BATCH, [0, 16, 32, 48]), (IMAGES + 1, [])):
        net = LeNet5()
        training = CudaGraphStep(net, make_optimizer(net, "adam", 1e-3), batch_size)
        training.begin(plan)
        if training.replay:
            training.replay = lambda: replayed.append(int(training.start))  # noqa: B023
            training.found = torch.tensor(0.5), torch.tensor(1), torch.tensor(BATCH)
        replayed.clear()
        train_epoch(training, plan, batch_size)
        assert replayed == wanted


@pytest.mark.parametrize("name", list(RATES))
@pytest.mark.parametrize("done", [0, 2])
def test_what_is_tried_before_the_recording_is_forgotten(name, done):
    torch.manual_seed(0)
    net, pool = build("teacher"), noise()  # whose batch normalisation keeps means too
    optimizer = make_optimizer(net, name, 1e-2)

    def steps(count: int) -> None:
        plan = EpochPlan(pool, None, torch.Generator().manual_seed(3))
        train_epoch(TrainingStep(net, optimizer), plan, BATCH, before_step=lambda s: s < count)

    steps(done)
    other, states = copy.deepcopy(net), copy.deepcopy(optimizer.state_dict()["state"])
    places = [p.data_ptr() for p in net.parameters()]
    with as_before(net, optimizer):
        steps(3)
        assert not torch.equal(net.c1.weight, other.c1.weight)
    assert places == [p.data_ptr() for p in net.parameters()]
    found = optimizer.state_dict()["state"]
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    for place_of, values in found.items():
        for key, value in values.items():
            wanted = states[place_of][key] if done else torch.zeros(())
            assert torch.equal(value, wanted.expand_as(value))


# ------------------------------------------------------------ where there is such a device


@needs_cuda
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", list(RATES))
def test_a_graph_gives_the_weights_of_ordinary_steps(name, precision):
    device = torch.device("cuda")
    net, _, tally = learned(name, "affine", capture=True, device=device, precision=precision)
    other, _, wanted = learned(name, "affine", capture=False, device=device, precision=precision)
    if precision == torch.bfloat16:  # of which a last digit is a 256th, in every product
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            assert (p - q).norm() < 0.02 * q.norm()
        return
    # Sums within a GPU's operations have no fixed order, and Adam divides by their size.
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=2e-5)
    assert tally.values[2:].tolist() == wanted.values[2:].tolist()


@needs_cuda
def test_no_step_waits_for_the_gpu():
    device = torch.device("cuda")
    net, pool = LeNet5().to(device), noise(device)
    optimizer, tally = make_optimizer(net, "adam", 1e-3), RunningMetrics(device)
    training = CudaGraphStep(net, optimizer, BATCH)
    plan = EpochPlan(pool, AUGMENTATIONS["affine"], torch.Generator())
    training.begin(plan)
    try:
        torch.cuda.set_sync_debug_mode("error")
        train_epoch(training, plan, BATCH, metrics=tally)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert tally.result()[0] > 0


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="there is no MPS device")
@pytest.mark.parametrize("augment", ["none", "affine"])
def test_mps_learns_what_the_cpu_does(augment):
    net, _, tally = learned("adam", augment, capture=False, device=torch.device("mps"), epochs=1)
    other, _, wanted = learned("adam", augment, capture=False, epochs=1)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.cpu(), q, rtol=0, atol=2e-5)
    assert tally.values[2:].tolist() == wanted.values[2:].tolist()
