"""A training step as a CUDA graph, which a GPU replays without waiting for Python.

LeNet-5 is so small that a GPU finishes each of a step's hundred operations sooner than
Python asks for the next. So the step is recorded once and replayed for every batch. What it
reads and writes stays in one place: indices of the batch, distortions, learning rate.

    >>> training = CudaGraphStep(net, optimizer, batch_size=256)
    >>> training.begin(plan)
    >>> train_epoch(training, plan, 256)

On other devices the same step runs operation by operation, with the same weights as
`TrainingStep` gives. benchmarks/gpu.py measures it; train.py does not use it.
"""

import contextlib
import copy

import torch
from torch import nn

from lenet5.training.epoch import Learned, TrainingStep, backpropagate, counts
from lenet5.training.epoch_plan import EpochPlan, distort

WARM_UP = 3  # steps before the recording, in which libraries choose their kernels: PyTorch's advice


class CudaGraphStep(TrainingStep):
    """A `TrainingStep` whose whole batches replay a recording, made when the first epoch begins.

    Every step has to be the same operations on the same shapes: one process, an optimiser
    without steps of its own, no stroke augmentation (which only some images of a batch have).
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch_size: int,
        loss=None,
        precision: torch.dtype = torch.float32,
    ):
        super().__init__(net, optimizer, loss, precision)
        self.batch_size = batch_size
        self.plan: EpochPlan | None = None
        self.replay = None

    def begin(self, plan: EpochPlan) -> None:
        """Make this the plan of the next epoch; all plans have tensors of the same shapes."""
        if self.plan is None:
            self.record(plan)
        for mine, new in zip(self.plan.tensors(), plan.tensors(), strict=True):
            if mine is not None:
                mine.copy_(new)

    def record(self, plan: EpochPlan) -> None:
        device = plan.order.device
        self.plan = copy.copy(plan)
        self.plan.order, self.plan.warps, self.plan.strokes, self.plan.targets = (
            None if tensor is None else tensor.clone() for tensor in plan.tensors()
        )
        self.start = torch.zeros((), dtype=torch.int64, device=device)
        self.within = torch.arange(self.batch_size, device=device)
        for group in self.optimizer.param_groups:
            # A number would be recorded at its present value; a tensor is read at each replay.
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
            if "capturable" in group:
                group["capturable"] = device.type == "cuda"
        self.net.train()
        if len(plan.order) >= self.batch_size:  # else no batch is whole
            with as_before(self.net, self.optimizer):
                self.replay = recorded(self.step, device)

    def step(self) -> None:
        """Learn the batch that begins at `start`; `found` gets what `learn` returns."""
        rows = self.start + self.within
        index, warps, _, targets = (None if t is None else t[rows] for t in self.plan.tensors())
        images, labels = distort(self.plan.inputs[index], warps, None), self.plan.labels[index]
        targets = labels if targets is None else targets
        value, logits = backpropagate(self.net, images, targets, self.loss, self.precision)
        self.optimizer.step()
        self.found = (value, *counts(logits, labels))

    def learn(self, plan: EpochPlan, rows: slice) -> Learned:
        """As `TrainingStep.learn`. What a whole batch returns is overwritten by the next one's."""
        if rows.stop - rows.start != self.batch_size:
            return super().learn(plan, rows)
        self.start.fill_(rows.start)
        self.replay()
        return self.found


def recorded(work, device: torch.device):
    """A function that replays `work()` on a GPU, and is `work` itself elsewhere.

    `work` runs a few times before it is recorded, for what only the first runs do.
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
    """Restore the network and its optimiser afterwards, each tensor in its place.

    Optimiser state that is new becomes 0, as before the first step of each optimiser in
    `OPTIMIZERS` that can be captured.
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
    net.zero_grad(set_to_none=False)
