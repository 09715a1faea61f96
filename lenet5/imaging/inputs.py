"""28×28 pictures to network inputs: normalised and padded to 32×32."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lenet5.imaging.mnist_format import PADDING

if TYPE_CHECKING:
    import torch


def to_input(
    images: torch.Tensor, mean: float, std: float, padding: tuple[int, ...] = (PADDING,) * 4
) -> torch.Tensor:
    """N×28×28 uint8 pictures as the network's N×1×32×32 float32 input, on the same device.

    Pixels are scaled to [0, 1], padded with background by 2 on each side and
    normalised: (pixel - mean) / std. The strip of a whole number has a `padding` of its own:
    left, right, top, bottom.
    """
    import torch.nn.functional as F  # takes a second, and preparing pictures does not need it

    return F.pad(normalised(images, mean, std), padding, value=-mean / std).unsqueeze(1)


def normalised(levels, mean: float, std: float):
    """(level / 255 - mean) / std of an array of float32, or of a tensor: both give the same bits."""
    return levels * (1 / (255 * std)) - mean / std


@dataclasses.dataclass(frozen=True)
class Inputs:
    """N×28×28 uint8 pictures that become inputs, N×1×32×32 float32, when they are indexed.

    A fifth of the memory of a tensor of inputs, in whose place training and evaluation use it.
    """

    pictures: torch.Tensor
    mean: float
    std: float

    def of(self, pictures: torch.Tensor) -> Inputs:
        """Other pictures, for the same network."""
        return dataclasses.replace(self, pictures=pictures)

    def with_more(self, other: Inputs) -> Inputs:
        """These pictures and then those of `other`, for the same network."""
        import torch

        return self.of(torch.cat([self.pictures, other.pictures]))

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), 1, *(side + 2 * PADDING for side in self.pictures.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.pictures.device

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index) -> torch.Tensor:
        return to_input(self.pictures[index], self.mean, self.std)

    def narrow(self, dim: int, start: int, length: int) -> Inputs:
        return self.of(self.pictures.narrow(dim, start, length))

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Inputs of `size` pictures at a time."""
        return (to_input(pictures, self.mean, self.std) for pictures in self.pictures.split(size))


def to_pixels(inputs: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """The inverse of `to_input`'s normalisation: N×1×H×W floats to N×H×W in [0, 1]."""
    return inputs.squeeze(1).mul(std).add(mean).clamp(0, 1)
