"""One epoch of training: what is shown, what is learned from it, and what is kept.

    >>> from dataset import AUGMENTATIONS
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

from dataset import Augmentation, random_maps, random_pens, redraw, warp
from evaluate import BATCH_SIZE, loss_function
from lenet1998 import DiagonalLevenbergMarquardt


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
    "sdlm": (DiagonalLevenbergMarquardt, {}),  # stochastic, for lenet5-1998 alone
}


def make_optimizer(
    net: nn.Module, name: str, lr: float, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """An optimiser of a network by its `--optimizer` name."""
    kind, options = OPTIMIZERS[name]
    if weight_decay is not None:
        options = {**options, "weight_decay": weight_decay}
    # Only sdlm takes the network itself, layer by layer.
    return kind(net if kind is DiagonalLevenbergMarquardt else net.parameters(), lr, **options)


NO_CLASS = -1  # the label of what is none of the classes


class Tally:
    """Loss and hits of an epoch so far, kept on the device until somebody asks."""

    def __init__(self, device: torch.device, values=(0.0, 0.0, 0.0)):
        # float32, since MPS knows no float64; hits and images stay exact up to 2^24.
        self.values = torch.tensor(values, dtype=torch.float32, device=device)

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        hits = (logits.argmax(dim=1) == labels).sum()
        known = (labels != NO_CLASS).sum()
        self.values += torch.stack([loss * known, hits.to(loss.dtype), known.to(loss.dtype)])

    def result(self) -> tuple[float, float]:
        """Mean loss and accuracy (0 to 1) of the images that have a class."""
        loss, hits, count = self.values.tolist()
        return loss / max(count, 1), hits / max(count, 1)


class EpochPlan:
    """What one epoch does, drawn before it begins: the order of images and their distortions."""

    def __init__(
        self,
        inputs: torch.Tensor,
        augmentation: Augmentation | None,
        generator: torch.Generator,
        lesson: tuple[torch.Tensor, torch.Tensor] | None = None,
    ):
        """`lesson` has maps and a teacher's answers in the order of the images: `Lessons.of_epoch`."""
        count, side = len(inputs), inputs.shape[-1]
        self.order = torch.randperm(count, generator=generator).to(inputs.device)
        self.maps, self.answers, self.pens = None, None, None
        if lesson is not None:
            maps, answers = lesson
            self.maps, self.answers = maps[self.order], answers[self.order]
        elif augmentation is not None:
            maps = random_maps(count, augmentation, side, generator)
            self.maps = maps.to(inputs.device)
        pens = None if augmentation is None else random_pens(count, augmentation, generator)
        if pens is not None:
            self.pens = pens.to(inputs.device)

    def batch(self, inputs: torch.Tensor, rows: slice) -> torch.Tensor:
        """The inputs at these places of the order, distorted."""
        images = inputs[self.order[rows]]
        if self.maps is not None:
            images = warp(images, self.maps[rows])
        if self.pens is not None:
            images = redraw(images, self.pens[rows])
        return images


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

    def of_epoch(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The maps of an epoch, N×2×K for `warp`, and the teacher's probabilities, N×classes."""
        view = epoch % self.VIEWS
        generator = torch.Generator().manual_seed((self.seed * self.VIEWS + view) % 2**63)
        maps = random_maps(len(self.inputs), self.augmentation, self.inputs.shape[-1], generator)
        maps = maps.to(self.inputs.device)
        if view not in self.answers:
            self.answers[view] = self.ask(maps)
        return maps, self.answers[view]

    @torch.no_grad()
    def ask(self, maps: torch.Tensor) -> torch.Tensor:
        self.teacher.eval()
        batches = zip(self.inputs.split(BATCH_SIZE), maps.split(BATCH_SIZE), strict=True)
        answers = [(self.teacher(warp(*batch)) / self.temperature).softmax(dim=1) for batch in batches]
        return torch.cat(answers)


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
) -> tuple[int, Tally]:
    """One pass over N×1×32×32 inputs and their labels, in batches.

    `before_step(step)` is called before each step, sets the learning rate if it
    likes, and ends the epoch by returning False; `after_step()` is called after it.
    Returns the number of the step
    at which the epoch ended and the running loss and hits, from which, given
    back as `first_step` and `tally`, the same epoch goes on. `loss(logits,
    targets)` takes the place of the network's own; targets are the labels, or a
    teacher's probabilities where the plan has them.
    """
    net.train()
    loss = loss or loss_function(net)
    tally = tally or Tally(inputs.device)
    one_by_one = isinstance(optimizer, DiagonalLevenbergMarquardt)
    for step in range(first_step, math.ceil(len(inputs) / batch_size)):
        if not before_step(step):
            return step, tally
        rows = slice(step * batch_size, (step + 1) * batch_size)
        batch, truth = plan.batch(inputs, rows), labels[plan.order[rows]]
        if one_by_one:
            if optimizer.is_due(begins_pass=step == 0):
                following = plan.order[rows.start : rows.start + optimizer.PATTERNS]
                optimizer.measure_curvature(inputs[following])
            value, logits = optimizer.learn(batch, truth)
        else:
            targets = truth if plan.answers is None else plan.answers[rows]
            value, logits = backpropagate(net, batch, targets, loss)
            optimizer.step()
        after_step()
        tally.add(value, logits, truth)
    return math.ceil(len(inputs) / batch_size), tally


def backpropagate(
    net: nn.Module, batch: torch.Tensor, targets: torch.Tensor, loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and logits of a batch; leaves the gradient of the loss in the parameters."""
    logits = net(batch)
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
        theirs = net.state_dict()
        for name, mine in self.net.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], 1 - decay)
            else:
                mine.copy_(theirs[name])
