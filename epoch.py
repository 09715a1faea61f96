"""One epoch of training: what is shown, what is learned from it, and what is kept.

    >>> from lenet5.data.augmentation import AUGMENTATIONS
    >>> plan = EpochPlan(inputs, AUGMENTATIONS["affine"], torch.Generator())
    >>> steps, tally = train_epoch(net, optimizer, inputs, labels, plan, batch_size=256)
    >>> loss, accuracy = tally.result()

train.py calls it epoch by epoch and looks after files, signals and the command
line; a notebook may call it directly.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.data.augmentation import Augmentation, random_maps, random_pens, redraw, warp
from lenet5.evaluation.metrics import BATCH_SIZE, loss_function
from lenet5.networks.fast_forward import forward
from lenet5.runtime import distributed
from lenet5.training.levenberg_marquardt import DiagonalLevenbergMarquardt
from muon import Muon


def one_cycle(progress: float, warm_up: float = 0.2) -> float:
    """Share of the peak learning rate after `progress` (0 to 1) of all steps.

    Rises as half a cosine from 1/25 to 1 during the first fifth, then falls as
    half a cosine to nearly 0 (Smith and Topin, "Super-Convergence", 2018).
    """
    if progress < warm_up:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return max(1e-5, (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2)


def steps_of_1998(progress: float) -> float:
    """The paper's step sizes in its 20 passes, as shares of the first (section III.C)."""
    for until, share in ((2, 1.0), (5, 0.4), (8, 0.2), (12, 0.1)):
        if progress < until / 20:
            return share
    return 0.02


SCHEDULES = {
    "onecycle": one_cycle,
    "cosine": lambda progress: max(1e-5, (1 + math.cos(math.pi * progress)) / 2),
    "step": lambda progress: 0.1 ** ((progress >= 0.5) + (progress >= 0.75)),
    "constant": lambda progress: 1.0,
    "1998": steps_of_1998,
}

# Each optimiser's class and what it is made with beside parameters and learning rate.
OPTIMIZERS = {
    # fused: one pass over all parameters in place of several for each tensor.
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.01, "fused": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
    "muon": (Muon, {}),
    "sdlm": (DiagonalLevenbergMarquardt, {}),  # stochastic, for lenet5-1998 alone
}


def make_optimizer(
    net: nn.Module, name: str, lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """An optimiser of a network by its `--optimizer` name."""
    kind, options = OPTIMIZERS[name]
    if weight_decay is not None:
        options = {**options, "weight_decay": weight_decay}
    # Two of them go by the network's layers.
    by_layers = kind in (Muon, DiagonalLevenbergMarquardt)
    return kind(net if by_layers else net.parameters(), lr, **options)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Have the next steps made at this learning rate, also those that were recorded before."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):  # which a recording looks at: captured.py
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


NO_CLASS = -1  # the label of what is none of the classes


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


def epoch_size(parts: list[tuple[int, float]]) -> int:
    """How many images an epoch shows, of parts as for `EpochPlan`."""
    return sum(round(size * times) for size, times in parts)


def random_order(parts: list[tuple[int, float]], generator: torch.Generator) -> torch.Tensor:
    """Indices of the images in the order of an epoch, of parts as for `EpochPlan`."""
    places, start = [], 0
    for size, times in parts:
        whole, rest = divmod(round(size * times), max(size, 1))
        places.append(torch.arange(start, start + size).repeat(whole))
        if rest:
            places.append(start + torch.randperm(size, generator=generator)[:rest])
        start += size
    places = torch.cat(places)
    return places[torch.randperm(len(places), generator=generator)]


def distort(images: torch.Tensor, maps: torch.Tensor | None, pens: torch.Tensor | None) -> torch.Tensor:
    """A batch moved by its maps and drawn with its pens, where it has them."""
    if maps is not None:
        images = warp(images, maps)
    return images if pens is None else redraw(images, pens)


class EpochPlan:
    """What one epoch does, drawn before it begins: the order of images and their distortions."""

    def __init__(
        self,
        inputs: torch.Tensor,
        augmentation: Augmentation | None,
        generator: torch.Generator,
        lesson: tuple | None = None,
        parts: list[tuple[int, float]] | None = None,
    ):
        """`lesson` is what `Lessons.of_epoch` gives, for each of the inputs.

        `parts` tells of how many images each part of the inputs is, and how often
        an epoch shows each of them: 2 is twice, 0.1 a random tenth of them.
        """
        self.order = random_order(parts or [(len(inputs), 1)], generator).to(inputs.device)
        self.maps, self.pens, self.answers = None, None, None
        if lesson is not None:
            self.maps, self.pens, self.answers = (
                None if drawn is None else drawn[self.order] for drawn in lesson
            )
        elif augmentation is not None:
            self.maps, self.pens = random_distortions(
                len(self.order), augmentation, inputs.shape[-1], generator, inputs.device
            )

    def tensors(self) -> tuple:
        """Order, maps, pens and answers, each a row an image in the epoch's order, or None."""
        return self.order, self.maps, self.pens, self.answers

    def batch(self, inputs: torch.Tensor, rows: slice) -> torch.Tensor:
        """The inputs at these places of the order, distorted."""
        if rows.start == rows.stop:  # a process without a share of the batch
            return inputs[:0]
        maps, pens = (None if drawn is None else drawn[rows] for drawn in (self.maps, self.pens))
        return distort(inputs[self.order[rows]], maps, pens)


def random_distortions(
    count: int, amount: Augmentation, side: int, generator: torch.Generator, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`random_maps` and `random_pens` on a device."""
    maps = random_maps(count, amount, side, generator).to(device)
    pens = random_pens(count, amount, generator)
    return maps, None if pens is None else pens.to(device)


class Lessons:
    """What a teacher says of the training images, each seen in `VIEWS` random distortions.

    A small network learns more from a larger one's probabilities than from
    labels (Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural
    Network", 2015), most of all from those for the very picture that it sees
    and over a very long training (Beyer et al., "Knowledge distillation: A good
    teacher is patient and consistent", 2022). The teacher is asked once about
    each view; the epochs go through the views in turn.
    """

    VIEWS = 20

    def __init__(
        self,
        teacher: nn.Module,
        inputs: torch.Tensor,
        augmentation: Augmentation,
        seed: int,
        temperature: float = 1.0,
    ):
        self.teacher, self.inputs, self.augmentation = teacher, inputs, augmentation
        self.seed, self.temperature = seed, temperature
        self.answers: dict[int, torch.Tensor] = {}

    def of_epoch(self, epoch: int) -> tuple:
        """The maps and pens of an epoch for `distort`, and the teacher's probabilities, N×classes."""
        view = epoch % self.VIEWS
        generator = torch.Generator().manual_seed((self.seed * self.VIEWS + view) % 2**63)
        count, side, device = len(self.inputs), self.inputs.shape[-1], self.inputs.device
        maps, pens = random_distortions(count, self.augmentation, side, generator, device)
        if view not in self.answers:
            self.answers[view] = self.ask(maps, pens)
        return maps, pens, self.answers[view]

    @torch.no_grad()
    def ask(self, maps: torch.Tensor, pens: torch.Tensor | None) -> torch.Tensor:
        """The teacher's probabilities, N×classes, of the inputs distorted by N×2×K maps and N×3 pens.

        Each process asks for its share of them.
        """
        self.teacher.eval()
        answers, mine = [], distributed.share(0, len(self.inputs))
        for rows in torch.arange(mine.start, mine.stop).split(BATCH_SIZE):
            batch = distort(self.inputs[rows], maps[rows], None if pens is None else pens[rows])
            answers.append((forward(self.teacher, batch) / self.temperature).softmax(dim=1))
        return distributed.rows_of_all(torch.cat(answers)).to(self.inputs.device)


def soft_cross_entropy(temperature: float):
    """The loss of N×classes logits against a teacher's answers at the same temperature.

    Hinton, Vinyals, Dean, 2015, section 2: the gradient of the softened logits
    is smaller by the square of the temperature, by which it is multiplied here.
    """
    return lambda logits, answers: F.cross_entropy(logits / temperature, answers) * temperature**2


def outlier_exposure(label_smoothing: float = 0.0, weight: float = 0.5):
    """The cross-entropy, with images of `NO_CLASS` for which all classes shall be as likely.

    Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier Exposure",
    2019, equation 1. `weight` is that of one such image beside one with a class;
    theirs, 0.5, is that of the mean over all such images.
    """

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        known = labels != NO_CLASS
        # Sums over the whole batch, so that a batch without any of one kind is no special case.
        value = F.cross_entropy(
            logits, labels, ignore_index=NO_CLASS, label_smoothing=label_smoothing, reduction="sum"
        )
        uniform = -(logits.log_softmax(dim=1).mean(dim=1) * ~known).sum()
        return (value + weight * uniform) / len(labels)

    return loss


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
    rows = distributed.share(whole.start, whole.stop)
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
    distributed.add_up(sums)
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


class Average:
    """A network whose weights are the running mean of another's over its last steps.

    The mean of the steps around a minimum lies nearer to it than any of them
    (Polyak and Juditsky, 1992; Izmailov et al., "Averaging Weights Leads to
    Wider Optima", 2018). `decay` is the share that the mean keeps in a step:
    0.999 averages over about 1,000 steps. Early on it keeps less, so that the
    first weights are soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.net, self.decay, self.steps = copy.deepcopy(net), decay, 0

    @torch.no_grad()
    def add(self, net: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for mine, theirs in zip(self.net.parameters(), net.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)
        for mine, theirs in zip(self.net.buffers(), net.buffers(), strict=True):
            mine.copy_(theirs)
