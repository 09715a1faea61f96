"""The order of an epoch's images and their distortions."""

import torch

from lenet5.data.augmentation import Augmentation, random_strokes, random_warps, vary_strokes, warp


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
    return images if pens is None else vary_strokes(images, pens)


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
    """`random_warps` and `random_strokes` on a device."""
    maps = random_warps(count, amount, side, generator).to(device)
    pens = random_strokes(count, amount, generator)
    return maps, None if pens is None else pens.to(device)
