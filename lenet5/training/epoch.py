"""One epoch of training: what is shown, what is learned from it, and what is kept.

    >>> from lenet5.data.augmentation import AUGMENTATIONS
    >>> plan = EpochPlan(inputs, AUGMENTATIONS["affine"], torch.Generator())
    >>> steps, tally = train_epoch(net, optimizer, inputs, labels, plan, batch_size=256)
    >>> loss, accuracy = tally.result()

train.py calls it epoch by epoch and looks after files, signals and the command
line; a notebook may call it directly.
"""

import math

import torch
from torch import nn

from lenet5.evaluation.metrics import loss_function
from lenet5.networks.fast_forward import forward
from lenet5.runtime import distributed
from lenet5.training.epoch_plan import EpochPlan
from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt
from lenet5.training.losses import NO_CLASS


class Tally:
    """Loss and hits of an epoch so far, kept on the device until somebody asks.

    The last value counts the steps up to which the loss was a finite number, so that
    the first at which it was none is known without asking the device at each.
    """

    def __init__(self, device: torch.device, values=(0.0, 0.0, 0.0, 0.0)):
        # float32, since MPS knows no float64; hits, images and steps stay exact up to 2^24.
        self.values = torch.tensor(values, dtype=torch.float32, device=device)

    def add(self, loss: torch.Tensor, hits: torch.Tensor, known: torch.Tensor) -> None:
        """Add a batch by its mean loss, its hits, and how many of its images have a class."""
        loss = loss * known
        finite = (self.values[0] + loss).isfinite()  # a sum that is not never is again
        self.values += torch.stack([value.to(loss.dtype) for value in (loss, hits, known, finite)])

    def result(self) -> tuple[float, float]:
        """Mean loss and accuracy (0 to 1) of the images that have a class."""
        loss, hits, count, _ = self.values.tolist()
        return loss / max(count, 1), hits / max(count, 1)

    def finite_steps(self) -> int:
        """After how many steps the loss was no longer a finite number, if it is none."""
        return int(self.values[3])


def counts(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many of N×classes logits are right, and how many of N labels are of a class."""
    return (logits.argmax(dim=1) == labels).sum(), (labels != NO_CLASS).sum()


def train_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    plan: EpochPlan,
    batch_size: int,
    *,
    first_step: int = 0,
    tally: Tally | None = None,
    loss=None,
    before_step=lambda step: True,
    after_step=lambda: None,
    learn=lambda rows: None,
    precision: torch.dtype = torch.float32,
) -> tuple[int, Tally]:
    """One pass over N×1×32×32 inputs and their labels, in batches.

    `before_step(step)` is called before each step, sets the learning rate if it
    likes, and ends the epoch by returning False; `after_step()` is called after it.
    Returns the number of the step at which the epoch ended and the running loss and
    hits, from which, given back as `first_step` and `tally`, the same epoch goes on.
    `loss(logits, targets)` takes the place of the network's own; targets are the
    labels, or a teacher's probabilities where the plan has them. `learn(rows)` takes the
    place of `learn_batch` where it gives anything but None: `captured.CapturedSteps`.
    `precision` is as for `backpropagate`.

    Of several processes, each with the same arguments, each goes through its share of
    every batch; the steps are those of the whole batches, and so is the tally.
    """
    net.train()
    loss = loss or loss_function(net)
    tally = tally or Tally(inputs.device)
    steps = math.ceil(len(plan.order) / batch_size)
    for step in range(first_step, steps):
        if not before_step(step):
            return step, tally
        rows = slice(step * batch_size, min((step + 1) * batch_size, len(plan.order)))
        found = learn(rows)
        if found is None:
            found = learn_batch(net, optimizer, inputs, labels, plan, rows, loss, precision)
        after_step()
        tally.add(*found)
    return steps, tally


def learn_batch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    plan: EpochPlan,
    whole: slice,
    loss,
    precision: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One step of the optimiser, with the images at these places of the plan's order.

    Mean loss, hits, and images with a class.
    """
    rows = distributed.shard(whole.start, whole.stop)
    batch, truth = plan.batch(inputs, rows), labels[plan.order[rows]]
    if isinstance(optimizer, DiagonalLevenbergMarquardt):
        if optimizer.is_due(begins_pass=whole.start == 0):
            following = plan.order[rows.start : rows.start + optimizer.PATTERNS]
            optimizer.measure_curvature(inputs[following])
        value, logits = optimizer.learn(batch, truth)
        return value, *counts(logits, truth)
    targets = truth if plan.answers is None else plan.answers[rows]
    part = len(truth) / (whole.stop - whole.start)
    found = learn_part(net, batch, truth, targets, loss, part, precision)
    optimizer.step()
    return found


def learn_part(
    net: nn.Module,
    batch: torch.Tensor,
    truth: torch.Tensor,
    targets: torch.Tensor,
    loss,
    part: float,
    precision: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean loss, hits, and images with a class of a batch, of which this process has a part (0 to 1).

    Leaves the gradient of the whole batch's loss in the parameters. The loss is a mean
    over images, so the whole one and its gradient are the sums of all processes' own, each
    times its part. (PyTorch's DistributedDataParallel takes the mean of the processes,
    which is another one where their parts are not as large.)
    """
    if distributed.count() == 1:
        value, logits = backpropagate(net, batch, targets, loss, precision)
        return value, *counts(logits, truth)
    parameters = list(net.parameters())
    sizes = [p.numel() for p in parameters]
    # All in one tensor, since a message costs time however short it is.
    sums = parameters[0].new_zeros(sum(sizes) + 3)
    if part:  # of a last batch that is smaller than the number of processes, some have nothing
        value, logits = backpropagate(net, batch, targets, loss, precision)
        own = [p.grad.flatten() for p in parameters]
        sums[:-2] = torch.cat([*own, value[None]]) * part
        sums[-2], sums[-1] = counts(logits, truth)
    distributed.all_reduce(sums)
    *gradients, value, hits, known = sums.split([*sizes, 1, 1, 1])
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = torch.empty_like(p).copy_(gradient.view_as(p))
    return value[0], hits[0], known[0]


def backpropagate(
    net: nn.Module,
    batch: torch.Tensor,
    targets: torch.Tensor,
    loss,
    precision: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and logits of a batch; leaves the gradient of the loss in the parameters.

    With a `precision` of torch.bfloat16, which has a float32's range and 8 bits of its 24,
    what goes into the products of both ways and what comes out of them is rounded; weights
    and loss stay float32 (Kalamkar et al., "A Study of BFLOAT16 for Deep Learning
    Training", 2019). Several processes round each its own gradients, before their sum.
    """
    if precision == torch.bfloat16:
        # No cache: each weight is used once, and a CUDA graph has to round it again each time.
        with torch.autocast(batch.device.type, precision, cache_enabled=False):
            logits = forward(net, batch).float()
    else:
        logits = forward(net, batch)
    value = loss(logits, targets)
    net.zero_grad(set_to_none=True)
    value.backward()
    return value.detach(), logits.detach()
