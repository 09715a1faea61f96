"""What made-up pictures show besides writing: paper, prints on it, frames, lines, things around."""

import math

import torch

from lenet5.data.dice import Dice, covered, distance_to_nearest, over


def two_colours(dice: Dice) -> tuple[torch.Tensor, torch.Tensor]:
    """N×3×1×1 colours of paper and ink that differ by at least some contrast."""
    paper, ink = dice.colour(), dice.colour()
    # A good part of all pictures is dark ink on bright paper.
    usual = dice.chance(0.4)[..., None]
    paper = paper.lerp(1 - 0.3 * paper, usual)
    ink = ink.lerp(0.6 * ink, usual)
    needed = dice.log_uniform(0.06, 0.6)[..., None]
    contrast = (paper - ink).abs().mean(dim=1, keepdim=True)
    direction = torch.where(paper.mean(dim=1, keepdim=True) > 0.5, -1.0, 1.0)
    return paper, ink + direction * (needed - contrast).clamp(min=0) * 1.3


def background(dice: Dice, paper: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
    """N×3×H×W: paper with its texture, prints and rules on it."""
    picture = paper.expand(-1, -1, *dice.size)
    grain = dice.noise(4) * dice.uniform(0, 0.06) + dice.noise(14) * dice.uniform(0, 0.04)
    grain = grain + dice.noise(40) * dice.uniform(0, 0.04) * dice.chance(0.3)
    picture = picture + grain[:, None] * dice.chance(0.7)[..., None]
    # Patches of other colours, as on a photograph of things.
    patches = covered(dice.noise(5) * 8 + dice.uniform(2, 14)) * dice.chance(0.12)
    picture = over(picture, patches * dice.uniform(0.1, 0.6), dice.colour())
    # Rulings, squares, halftone: waves across, with a share of their period inked.
    for k in range(2):
        period = dice.log_uniform(2.5, 40)
        angle = dice.normal(0.05) + k * math.pi / 2
        angle = torch.where(dice.chance(0.2) > 0, dice.uniform(0, math.pi), angle)
        along = dice.distance_to_line(angle, dice.uniform(0, 1)) + dice.noise(3) * dice.chance(0.2)
        off = distance_to_nearest(along, period)
        lines = covered(off - dice.uniform(0.2, 0.9).minimum(0.25 * period))
        amount = lines * dice.uniform(0.1, 0.7) * dice.chance(0.12)
        picture = over(picture, amount, dice.colour())
    return draw_squares(picture, dice, ink)


def draw_squares(picture: torch.Tensor, dice: Dice, ink: torch.Tensor) -> torch.Tensor:
    """Squared paper, whose lines may be as strong as the pen's."""
    period, half = dice.log_uniform(6, 40), dice.log_uniform(0.2, 1.2)
    colour = torch.where(dice.chance(0.5)[..., None] > 0, ink, dice.colour())
    strength, angle = dice.uniform(0.3, 1) * dice.chance(0.1), dice.normal(0.06)
    for turn in (0, math.pi / 2):
        along = dice.distance_to_line(angle + turn, dice.uniform(0, 1))
        off = distance_to_nearest(along, period)
        picture = over(picture, covered(off - half.minimum(0.15 * period)) * strength, colour)
    return picture


def draw_security_print(
    picture: torch.Tensor, dice: Dice, ink: torch.Tensor, share: float
) -> torch.Tensor:
    """Fine lines, hatching and dots as on cheques, behind that share of the pictures."""
    there, colour = dice.chance(share), torch.where(dice.chance(0.4)[..., None] > 0, ink, dice.colour())
    period, angle, bend = dice.log_uniform(2, 8), dice.uniform(0, math.pi), dice.noise(6)
    crossed, dotted = dice.chance(0.4), dice.chance(0.3)
    waves = []
    for turn in (0, dice.uniform(0.8, 1.6)):
        along = dice.distance_to_line(angle + turn, dice.uniform(0, 1))
        along = along + bend * dice.uniform(0, 3) * dice.chance(0.5)
        off = distance_to_nearest(along, period)
        waves.append(covered(off - dice.uniform(0.1, 0.35) * period))
    one, two = waves
    amount = torch.where(dotted > 0, one * two, torch.where(crossed > 0, torch.maximum(one, two), one))
    return over(picture, amount * there * dice.uniform(0.08, 0.7), colour)


def draw_surroundings(picture, dice: Dice, size, x, y, ink) -> torch.Tensor:
    """What stands around a digit: labels behind it, boxes, underlines, lines and bars at the rim.

    `size` and `x`, `y`: the digit's and its middle's, in shares of the longer side.
    """
    ink_or_other = torch.where(dice.chance(0.6)[..., None] > 0, ink, dice.colour())
    # A disc, a window or a label behind the digit; beyond it there is something else.
    half = size * dice.uniform(0.55, 0.95)
    radius = half * torch.where(dice.chance(0.4) > 0, torch.ones_like(half), dice.uniform(0, 0.5))
    wide = torch.where(radius < half, half * dice.uniform(0.75, 1.6), half)
    label = dice.distance_to_box(x, y, wide, half, radius)
    picture = over(picture, (1 - covered(label)) * dice.chance(0.12), dice.colour())
    # A box, a circle or a comb's cell around it, once or twice.
    half = size * dice.uniform(0.58, 1.0)
    radius = half * torch.where(dice.chance(0.35) > 0, torch.ones_like(half), dice.uniform(0, 0.3))
    wide = torch.where(radius < half, half * dice.uniform(0.75, 1.6), half)
    box = dice.distance_to_box(x, y, wide, half, radius)
    line = dice.log_uniform(0.3, 2.5)
    ring = torch.minimum(box.abs(), torch.where(dice.chance(0.3) > 0, (box - 3 * line - 1).abs(), 99.0))
    picture = over(picture, covered(ring - line) * dice.chance(0.15), ink_or_other)
    # Dots beside it, as colons and decimal points.
    across = x + size * dice.uniform(0.5, 0.9) * (2 * dice.chance(0.5) - 1)
    spot = 0.5 * size * dice.log_uniform(0.04, 0.14)
    for down in (dice.uniform(-0.4, 0.5), dice.uniform(-0.4, 0.5)):
        dot = dice.distance_to_box(across, y + size * down, spot, spot, spot * dice.uniform(0, 1))
        picture = over(picture, covered(dot) * dice.chance(0.06), ink_or_other)
    # An underline.
    under = dice.distance_to_line(math.pi / 2 + dice.normal(0.04), y + size * dice.uniform(0.56, 0.8))
    ends = (dice.x - x).abs() * dice.longer - dice.uniform(0.3, 2) * size * dice.longer
    bar = torch.maximum(under.abs() - dice.log_uniform(0.3, 2), ends)
    picture = over(picture, covered(bar) * dice.chance(0.06), ink_or_other)
    # Lines at the rim, as of cells, windows and the sheet; and what lies beyond them.
    half_sides = [side / dice.longer / 2 for side in dice.size[::-1]]
    for k in range(4):
        angle = k * math.pi / 2 + dice.normal(0.04)
        offset = half_sides[k % 2] * dice.uniform(0.72, 1.0)
        clear = (size * 0.5 * dice.uniform(0.9, 1.2)) + torch.where(
            torch.tensor(k % 2 == 0), x * (1 - k), y * (2 - k)
        )
        offset = torch.maximum(offset, clear)
        rim = dice.distance_to_line(angle, offset) + dice.noise(2) * dice.uniform(0, 1)
        beyond = dice.chance(0.15)
        picture = over(picture, covered(-rim) * beyond, dice.colour())
        line = covered(rim.abs() - dice.log_uniform(0.3, 4)) * dice.uniform(0.3, 1)
        picture = over(picture, line * dice.chance(0.25), ink_or_other)
    # A line anywhere through the picture, thin.
    angle = dice.normal(0.05) + dice.chance(0.5) * math.pi / 2
    stray = dice.distance_to_line(angle, dice.uniform(-0.5, 0.5)).abs()
    return over(picture, covered(stray - dice.uniform(0.2, 0.9)) * dice.chance(0.1), ink_or_other)
