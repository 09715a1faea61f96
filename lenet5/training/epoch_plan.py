"""The images of an epoch: how often each is shown, in which order, and how it is augmented."""

import math
from dataclasses import dataclass, field

import torch

from lenet5.data.augmentation import Augmentation, random_strokes, random_warps, vary_strokes, warp
from lenet5.imaging.inputs import Inputs


@dataclass
class TrainingPool:
    """The images that an epoch shows: N×1×32×32 inputs and N labels.

    `repeats` has, for consecutive parts of the pool, the number of images and how often an
    epoch shows each: 2 is twice, 0.1 a random tenth of the part. Default: all of them once.
    The images from `final_strokes` on have the strokes of many pens already, and keep them.
    """

    inputs: torch.Tensor | Inputs
    labels: torch.Tensor
    repeats: list[tuple[int, float]] = field(default_factory=list)
    final_strokes: float = math.inf

    def __post_init__(self):
        self.repeats = self.repeats or [(len(self.inputs), 1)]

    @property
    def epoch_size(self) -> int:
        """How many images an epoch shows."""
        return sum(round(size * times) for size, times in self.repeats)

    def random_order(self, generator: torch.Generator) -> torch.Tensor:
        """Indices into the pool in the order of an epoch, int64."""
        indices, start = [], 0
        for size, times in self.repeats:
            whole, rest = divmod(round(size * times), max(size, 1))
            indices.append(torch.arange(start, start + size).repeat(whole))
            if rest:
                indices.append(start + torch.randperm(size, generator=generator)[:rest])
            start += size
        order = torch.cat(indices)
        return order[torch.randperm(len(order), generator=generator)]

    def add(self, inputs: Inputs, labels: torch.Tensor, repeats: float) -> None:
        """Add images to the pool; `repeats` may be fractional."""
        assert isinstance(self.inputs, Inputs)
        self.inputs = self.inputs.with_more(inputs)
        self.labels = torch.cat([self.labels, labels])
        self.repeats.append((len(labels), repeats))

    def expand(self) -> None:
        """Copy each image as often as an epoch shows it."""
        assert isinstance(self.inputs, Inputs)
        copies = self.random_order(torch.Generator()).sort().values
        self.inputs = self.inputs.of(self.inputs.pictures[copies])
        self.labels = self.labels[copies]
        self.repeats = [(len(copies), 1)]


def distort(
    images: torch.Tensor, warps: torch.Tensor | None, strokes: torch.Tensor | None
) -> torch.Tensor:
    """A batch after its warps and its stroke augmentation; None leaves one of them out."""
    if warps is not None:
        images = warp(images, warps)
    return images if strokes is None else vary_strokes(images, strokes)


def random_distortions(
    count: int, augmentation: Augmentation, side: int, generator: torch.Generator, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The warps and the stroke augmentation of `count` images of side×side pixels, on a device."""
    warps = random_warps(count, augmentation, side, generator).to(device)
    strokes = random_strokes(count, augmentation, generator)
    return warps, None if strokes is None else strokes.to(device)


class EpochPlan:
    """An epoch, drawn before it begins: the order of the pool's images and their distortions.

    `soft_targets` is what `SoftTargets.of_epoch` gives: distortions and a teacher's
    probabilities for each image of the pool.
    """

    def __init__(
        self,
        pool: TrainingPool,
        augmentation: Augmentation | None,
        generator: torch.Generator,
        soft_targets: tuple | None = None,
    ):
        self.inputs, self.labels = pool.inputs, pool.labels
        device, side = self.inputs.device, self.inputs.shape[-1]
        self.order = pool.random_order(generator).to(device)
        drawn: tuple = (None, None, None)
        if soft_targets is not None:
            drawn = tuple(None if part is None else part[self.order] for part in soft_targets)
        elif augmentation is not None:
            count = len(self.order)
            warps, strokes = random_distortions(count, augmentation, side, generator, device)
            if strokes is not None:
                strokes[self.order >= pool.final_strokes] = 0
            drawn = (warps, strokes, None)
        self.warps, self.strokes, self.targets = drawn

    def tensors(self) -> tuple:
        """Order, warps, strokes and targets, each with a row an image of the epoch, or None."""
        return self.order, self.warps, self.strokes, self.targets

    def batch(self, rows: slice) -> torch.Tensor:
        """The distorted images at these rows of the order."""
        if rows.start == rows.stop:  # a process without a share of the batch
            return self.inputs[:0]
        warps, strokes = (None if drawn is None else drawn[rows] for drawn in (self.warps, self.strokes))
        return distort(self.inputs[self.order[rows]], warps, strokes)
