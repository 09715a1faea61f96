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

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGES, BATCH = 70, 16  # four whole batches, and six images
RATES = {"adam": 2.0**-9, "adamw": 2.0**-9, "sgd": 2.0**-6, "muon": 2.0**-6}  # whole in float32

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
needs_mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="there is no MPS device")


def noise(device=CPU) -> TrainingPool:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(IMAGES, 1, 32, 32, generator=generator)
    labels = torch.randint(IGNORE_INDEX, 10, (IMAGES,), generator=generator).clamp(min=0)
    return TrainingPool(inputs.to(device), labels.to(device))


def learned(name: str, augment: str, capture: bool, device=CPU, precision=torch.float32):
    """The network, its optimiser and metrics after two epochs, the rate halved before each step."""
    torch.manual_seed(0)
    net, pool = LeNet5().to(device), noise(device)
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

    for _ in range(2):
        plan = EpochPlan(pool, AUGMENTATIONS[augment], generator)
        if capture:
            training.begin(plan)
        _, metrics = train_epoch(training, plan, BATCH, before_step=before_step)
    return net, optimizer, metrics


@pytest.mark.parametrize("device", [CPU, pytest.param(CUDA, marks=needs_cuda)], ids=str)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", list(RATES))
def test_recorded_steps_give_the_weights_of_ordinary_ones(name, precision, device):
    net, optimizer, metrics = learned(name, "elastic", True, device, precision)
    other, _, wanted = learned(name, "elastic", False, device, precision)
    # Five steps an epoch: the last of ten was made at the ninth half of the first rate.
    assert float(optimizer.param_groups[0]["lr"]) == RATES[name] / 2**9
    if precision == torch.bfloat16:  # of which a last digit is a 256th, in every product
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            assert (p - q).norm() < 0.02 * q.norm()
        return
    # Muon multiplies the rate, which in a recording is of float32 with other last digits, and its
    # iteration multiplies what small singular values have of them. Sums within a GPU's operations
    # have no fixed order, and Adam divides by their size.
    atol = 2e-5 if device == CUDA else 1e-5 if name == "muon" else 0
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=atol)
    torch.testing.assert_close(metrics.values, wanted.values, rtol=atol, atol=atol)


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
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    for place, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            wanted = states[place][key] if done else torch.zeros(())
            assert torch.equal(value, wanted.expand_as(value))


@needs_cuda
def test_no_step_waits_for_the_gpu():
    net, pool = LeNet5().to(CUDA), noise(CUDA)
    optimizer, metrics = make_optimizer(net, "adam", 1e-3), RunningMetrics(CUDA)
    training = CudaGraphStep(net, optimizer, BATCH)
    plan = EpochPlan(pool, AUGMENTATIONS["affine"], torch.Generator())
    training.begin(plan)
    try:
        torch.cuda.set_sync_debug_mode("error")
        train_epoch(training, plan, BATCH, metrics=metrics)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert metrics.result()[0] > 0


@needs_mps
@pytest.mark.parametrize("augment", ["none", "affine"])
def test_mps_learns_what_the_cpu_does(augment):
    net, _, metrics = learned("adam", augment, False, torch.device("mps"))
    other, _, wanted = learned("adam", augment, False)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.cpu(), q, rtol=0, atol=2e-5)
    assert metrics.values[2:].tolist() == wanted.values[2:].tolist()
