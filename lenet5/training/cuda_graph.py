"""A training step that a GPU goes through again and again without waiting for Python.

LeNet-5 is so small that a GPU is done with each of a step's hundred operations sooner
than Python can ask for the next. So the step is recorded once, as a CUDA graph, and
played back for every batch. What it reads and writes has to stay in one place: which
images a batch has, their distortions, the learning rate.

    >>> steps = CapturedSteps(net, optimizer, inputs, labels, batch_size=256)
    >>> steps.begin(plan)
    >>> train_epoch(net, optimizer, inputs, labels, plan, 256, learn=steps.learn)

Elsewhere than on a GPU the same step is gone through operation by operation, with the
same weights as without this file (tests/test_captured.py), and no gain.
"""

import contextlib
import copy

import torch
from torch import nn

from lenet5.evaluation.metrics import loss_function
from lenet5.runtime import distributed
from lenet5.training.epoch import backpropagate, counts
from lenet5.training.epoch_plan import EpochPlan, distort
from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt

WARM_UP = 3  # steps before the recording, in which libraries choose their ways: PyTorch's advice


def can_capture(optimizer: torch.optim.Optimizer, plan: EpochPlan) -> bool:
    """Whether every step of a plan is the same sequence of operations on tensors of the same shapes.

    Learning pattern by pattern is not, nor are pens, which only some images of a batch
    have, nor what several processes tell each other.
    """
    return (
        not isinstance(optimizer, DiagonalLevenbergMarquardt)
        and plan.pens is None
        and distributed.count() == 1
    )


class CapturedSteps:
    """`learn` for `train_epoch`: a batch's step, recorded in the first epoch that begins."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        batch_size: int,
        loss=None,
        precision: torch.dtype = torch.float32,
    ):
        self.net, self.optimizer, self.inputs, self.labels = net, optimizer, inputs, labels
        self.loss, self.precision = loss or loss_function(net), precision
        self.start = torch.zeros((), dtype=torch.int64, device=inputs.device)
        self.within = torch.arange(batch_size, device=inputs.device)
        self.plan: EpochPlan | None = None
        self.replay = None
        for group in optimizer.param_groups:
            # A number would be recorded as it is now, and a tensor is looked at again each time.
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=inputs.device)
            if "capturable" in group:
                group["capturable"] = inputs.device.type == "cuda"

    def begin(self, plan: EpochPlan) -> None:
        """Make this the plan of the epoch to come; each has tensors of the same shapes."""
        if self.plan is None:
            self.plan = copy.deepcopy(plan)
            self.net.train()
            if len(plan.order) >= len(self.within):  # else no batch is whole
                with as_before(self.net, self.optimizer):
                    self.replay = recorded(self.step, self.inputs.device)
        for mine, new in zip(self.plan.tensors(), plan.tensors(), strict=True):
            if mine is not None:
                mine.copy_(new)

    def step(self) -> None:
        """Learn the batch that begins at `start`; leaves what `learn` gives in `found`."""
        rows = self.start + self.within
        index, maps, _, answers = (None if t is None else t[rows] for t in self.plan.tensors())
        batch, truth = distort(self.inputs[index], maps, None), self.labels[index]
        targets = truth if answers is None else answers
        value, logits = backpropagate(self.net, batch, targets, self.loss, self.precision)
        self.optimizer.step()
        self.found = (value, *counts(logits, truth))

    def learn(self, rows: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Mean loss, hits, and images with a class of a whole batch, once it is learned.

        They are overwritten by the next one's. None, and nothing is done, for the last
        batch of an epoch if that has fewer images than the others.
        """
        if rows.stop - rows.start != len(self.within):
            return None
        self.start.fill_(rows.start)
        self.replay()
        return self.found


def recorded(work, device: torch.device):
    """A function that does what `work()` does, from a recording where the device is a GPU.

    `work` is done a few times before that, for what happens in the first times only.
    """
    if device.type != "cuda":
        for _ in range(WARM_UP):
            work()
        return work
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


@contextlib.contextmanager
def as_before(net: nn.Module, optimizer: torch.optim.Optimizer):
    """Have the network and its optimiser afterwards as they were, each tensor in its place.

    What the optimiser has begun to keep meanwhile is 0, as it is before the first step of
    each of `epoch.OPTIMIZERS` that can be captured.
    """
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    kept = {
        (p, name): tensor.clone() if isinstance(tensor, torch.Tensor) else tensor
        for p, values in optimizer.state.items()
        for name, tensor in values.items()
    }
    yield
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            tensor.copy_(weights[name])
        for p, values in optimizer.state.items():
            for name, tensor in values.items():
                before = kept.get((p, name))
                if before is None:
                    tensor.zero_()
                else:
                    tensor.copy_(before)
    optimizer.zero_grad(set_to_none=False)
