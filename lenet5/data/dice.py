"""Random numbers and drawing for a batch of made-up pictures at a time."""

import math

import torch
import torch.nn.functional as F


class Dice:
    """Random numbers for a batch, shaped to broadcast over N×H×W."""

    def __init__(self, count: int, size: tuple[int, int], seed: int, tiny: int = 0):
        self.count, self.size = count, size
        self.generator = torch.Generator().manual_seed(seed)
        rows, columns = (torch.arange(side) + 0.5 for side in size)
        self.longer = max(size)
        self.tiny = tiny  # so many of the last pictures have hardly any pixels
        # Pixels from the middle, in shares of the longer side.
        self.y = ((rows - size[0] / 2) / self.longer)[:, None]
        self.x = ((columns - size[1] / 2) / self.longer)[None]

    def uniform(self, low: float, high: float) -> torch.Tensor:
        return torch.rand(self.count, 1, 1, generator=self.generator) * (high - low) + low

    def log_uniform(self, low: float, high: float) -> torch.Tensor:
        return self.uniform(math.log(low), math.log(high)).exp()

    def normal(self, deviation: float = 1.0) -> torch.Tensor:
        return torch.randn(self.count, 1, 1, generator=self.generator) * deviation

    def chance(self, share: float) -> torch.Tensor:
        """1 in that share of the pictures, else 0."""
        return (torch.rand(self.count, 1, 1, generator=self.generator) < share).float()

    def colour(self) -> torch.Tensor:
        """N×3×1×1: half of them gray."""
        colour = torch.rand(self.count, 3, 1, 1, generator=self.generator)
        gray = colour.mean(dim=1, keepdim=True) + 0.06 * torch.randn(
            self.count, 3, 1, 1, generator=self.generator
        )
        return torch.where(self.chance(0.6)[..., None] > 0, gray, colour)

    def noise(self, knots: int, channels: int = 1) -> torch.Tensor:
        """N×H×W (or N×C×H×W) smooth noise, deviation about 1, with `knots` bumps a side."""
        rows, columns = (max(2, round(knots * side / self.longer)) for side in self.size)
        values = torch.randn(self.count, channels, rows, columns, generator=self.generator)
        smooth = F.interpolate(values, self.size, mode="bicubic", align_corners=True)
        return smooth[:, 0] if channels == 1 else smooth

    def choose(self, places: torch.Tensor) -> torch.Tensor:
        return places[torch.randint(len(places), (self.count,), generator=self.generator)]

    def distance_to_line(self, angle: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """N×H×W: signed distance in pixels to a line whose normal has the angle."""
        return (self.x * angle.cos() + self.y * angle.sin() - offset) * self.longer

    def distance_to_box(self, x, y, half_width, half_height, radius) -> torch.Tensor:
        """N×H×W: signed distance in pixels to a box with round corners; below 0 inside."""
        across = (self.x - x).abs() - half_width + radius
        down = (self.y - y).abs() - half_height + radius
        outside = (across.clamp(min=0).square() + down.clamp(min=0).square()).sqrt()
        inside = torch.maximum(across, down).clamp(max=0)
        return (outside + inside - radius) * self.longer


def covered(distance: torch.Tensor) -> torch.Tensor:
    """How much of a pixel is inside, from its signed distance in pixels."""
    return (0.5 - distance).clamp(0, 1)


def distance_to_nearest(along: torch.Tensor, period: torch.Tensor) -> torch.Tensor:
    """The distance to the nearest multiple of the period, all in pixels."""
    return (along / period - (along / period).round()).abs() * period


def over(picture: torch.Tensor, amount: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """An N×3×H×W picture with a colour laid over it by N×H×W amounts from 0 to 1."""
    return picture.lerp(colour.expand_as(picture), amount[:, None])
