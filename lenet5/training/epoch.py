"""One epoch of training: batches, optimiser steps, running metrics.

>>> pool = TrainingPool(inputs, labels)
>>> plan = EpochPlan(pool, AUGMENTATIONS["affine"], torch.Generator())
>>> steps, metrics = train_epoch(TrainingStep(net, optimizer), plan, batch_size=256)
>>> loss, accuracy = metrics.result()
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lenet5.evaluation.metrics import loss_function
from lenet5.networks.fast_forward import forward
from lenet5.runtime import distributed
from lenet5.training.epoch_plan import EpochPlan
from lenet5.training.losses import IGNORE_INDEX

Learned = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # mean loss, hits, images with a class


class RunningMetrics:
    """Loss and hits of an epoch so far, kept on the device until they are asked for.

    The values are the sum of the losses, the hits, the images with a class, and the steps up
    to which the loss was finite: so the first step at which it was not is known afterwards.
    """

    def __init__(self, device: torch.device, values=(0.0, 0.0, 0.0, 0.0)):
        # float32, since MPS knows no float64; hits, images and steps stay exact up to 2^24.
        self.values = torch.tensor(values, dtype=torch.float32, device=device)

    def add(self, loss: torch.Tensor, hits: torch.Tensor, known: torch.Tensor) -> None:
        """Add a batch."""
        loss = loss * known
        finite = (self.values[0] + loss).isfinite()  # once non-finite, always non-finite
        self.values += torch.stack([value.to(loss.dtype) for value in (loss, hits, known, finite)])

    def result(self) -> tuple[float, float]:
        """Mean loss and accuracy (0 to 1) of the images that have a class."""
        loss, hits, count, _ = self.values.tolist()
        return loss / max(count, 1), hits / max(count, 1)

    def finite_steps(self) -> int:
        """The number of steps before the first whose loss was not finite."""
        return int(self.values[3])


def counts(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many of N×classes logits are right, and how many of N labels are of a class."""
    return (logits.argmax(dim=1) == labels).sum(), (labels != IGNORE_INDEX).sum()


@dataclass
class TrainingStep:
    """What an optimiser step needs.

    `loss(logits, targets)` defaults to the network's own; targets are the labels, or a
    teacher's probabilities where the plan has them. `precision` is as for `backpropagate`.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable | None = None
    precision: torch.dtype = torch.float32
    after_step: Callable[[], None] = lambda: None

    def learn(self, plan: EpochPlan, rows: slice) -> Learned:
        """One optimiser step on the images at these rows of the plan."""
        if hasattr(self.optimizer, "step_batch"):
            value, logits = self.optimizer.step_batch(plan, rows)
            return value, *counts(logits, plan.labels[plan.order[rows]])
        shard = distributed.shard(rows.start, rows.stop)
        images, labels = plan.batch(shard), plan.labels[plan.order[shard]]
        targets = labels if plan.targets is None else plan.targets[shard]
        share = len(labels) / (rows.stop - rows.start)
        found = self.gradient(images, labels, targets, share)
        self.optimizer.step()
        return found

    def gradient(
        self, images: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, share: float
    ) -> Learned:
        """Leave the gradient of a whole batch's loss in the parameters.

        The images are this process's share (0 to 1) of the batch. The loss is a mean over
        images, so the batch's is the sum over processes, each weighted by its share.
        (DistributedDataParallel gives every process the same weight.)
        """
        if distributed.count() == 1:
            value, logits = backpropagate(self.net, images, targets, self.loss, self.precision)
            return value, *counts(logits, labels)
        parameters = list(self.net.parameters())
        sizes = [p.numel() for p in parameters]
        # All in one tensor, since every message costs time.
        sums = parameters[0].new_zeros(sum(sizes) + 3)
        if share:  # some processes have none of a batch smaller than their number
            value, logits = backpropagate(self.net, images, targets, self.loss, self.precision)
            own = [p.grad.flatten() for p in parameters if p.grad is not None]
            sums[:-2] = torch.cat([*own, value[None]]) * share
            sums[-2], sums[-1] = counts(logits, labels)
        distributed.all_reduce(sums)
        *gradients, value, hits, known = sums.split([*sizes, 1, 1, 1])
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = torch.empty_like(p).copy_(gradient.view_as(p))
        return value[0], hits[0], known[0]


def train_epoch(
    training: TrainingStep,
    plan: EpochPlan,
    batch_size: int,
    first_step: int = 0,
    metrics: RunningMetrics | None = None,
    before_step: Callable[[int], bool] = lambda step: True,
) -> tuple[int, RunningMetrics]:
    """One pass over a plan's images in batches.

    `before_step(step)` is called before each step and may set the learning rate; it ends
    the epoch by returning False. Returns the number of the step at which the epoch ended
    and the running metrics, with which another call continues the epoch.

    Several processes, each with the same arguments, share out every batch; steps and
    metrics are those of the whole batches.
    """
    training.net.train()
    metrics = metrics or RunningMetrics(plan.order.device)
    images = len(plan.order)
    steps = math.ceil(images / batch_size)
    for step in range(first_step, steps):
        if not before_step(step):
            return step, metrics
        rows = slice(step * batch_size, min((step + 1) * batch_size, images))
        found = training.learn(plan, rows)
        training.after_step()
        metrics.add(*found)
    return steps, metrics


def backpropagate(
    net: nn.Module,
    batch: torch.Tensor,
    targets: torch.Tensor,
    loss: Callable | None = None,
    precision: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and logits of a batch; leaves the gradient of the loss in the parameters.

    With a `precision` of torch.bfloat16 (float32's range, 8 bits of mantissa) the inputs and
    outputs of matrix products are rounded, forward and backward; weights and loss stay
    float32 (Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019).
    Several processes round their own gradients before they are summed.
    """
    if precision == torch.bfloat16:
        # No cache: each weight is used once, and a CUDA graph has to round it again each time.
        with torch.autocast(batch.device.type, precision, cache_enabled=False):
            logits = forward(net, batch).float()
    else:
        logits = forward(net, batch)
    value = (loss or loss_function(net))(logits, targets)
    net.zero_grad(set_to_none=True)
    value.backward()
    return value.detach(), logits.detach()
