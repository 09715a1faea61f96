"""Made-up pictures of digits, each with masks of its ink: what the finder learns from.

    pictures, masks, labels = make_pictures(pool, 32, (96, 96), seed=0)

Glyphs come from the pool of `glyphs.py`. Backgrounds, lines, neighbours, light and camera are
drawn for a whole batch at a time.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from lenet5.data.backgrounds import background, draw_security_print, draw_surroundings, two_colours
from lenet5.data.camera import bilevel, camera
from lenet5.data.dice import Dice, covered, over
from lenet5.data.glyphs import Pool
from lenet5.data.skeletons import BOX, FIELD

AROUND = ((-1, True), (1, True), (-1, False), (1, False))


class Hand(NamedTuple):
    """How the glyphs of a picture are written; one writer writes the digit and its neighbours."""

    size: torch.Tensor  # of the glyph's box, as a share of the longer side
    angle: torch.Tensor
    shear: torch.Tensor
    stretch: torch.Tensor
    width: torch.Tensor  # pixels: half the stroke's width for skeletons
    weight: torch.Tensor  # pixels: how much bolder other glyphs are


def write(pool: Pool, places: torch.Tensor, hand: Hand, x, y, dice: Dice) -> torch.Tensor:
    """N×H×W: signed distances in pixels to glyphs whose boxes have their middle at (x, y)."""
    size = hand.size.flatten()
    cos, sin = hand.angle.flatten().cos(), hand.angle.flatten().sin()
    shear, stretch = hand.shear.flatten(), hand.stretch.flatten()
    # From a place in the picture, in shares of its longer side, to one in the field, from -1 to 1.
    scale = 2 * BOX / FIELD / size
    a, b = cos / stretch, (sin + shear * cos) / stretch
    c, d = -sin, cos - shear * sin
    height, width = dice.size
    across, down = width / dice.longer / 2, height / dice.longer / 2
    x, y = x.flatten(), y.flatten()
    warp = (
        torch.stack(
            [
                torch.stack([a * across, b * down, -(a * x + b * y)], dim=1),
                torch.stack([c * across, d * down, -(c * x + d * y)], dim=1),
            ],
            dim=1,
        )
        * scale[:, None, None]
    )
    grid = F.affine_grid(warp, [dice.count, 1, height, width], align_corners=False)
    fields = pool.fields[places].float()[:, None]
    field = F.grid_sample(fields, grid, padding_mode="border", align_corners=False)[:, 0]
    # Beyond the field's rim the distance goes on.
    beyond = (grid.abs() - 1).clamp(min=0).amax(dim=3) * FIELD / 2
    pixels = hand.size * dice.longer / BOX  # of the picture for one of the field
    thick = torch.where(pool.is_skeleton[places][:, None, None], hand.width, hand.weight)
    return (field + beyond) * pixels - thick


def mask_of(field: torch.Tensor, pool: Pool, places: torch.Tensor, hand: Hand) -> torch.Tensor:
    """N×H×W masks of what `write` gave; that of a thin line is a pixel wide, however faint it is."""
    thin = (0.6 - hand.width).clamp(min=0) * pool.is_skeleton[places][:, None, None]
    return covered(field - thin)


def make_pictures(
    pool: Pool, count: int, size: tuple[int, int], seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """N×3×H×W pictures from 0 to 1, N×2×H×W masks, N labels.

    The first mask is the digit's ink, the second that of all writing. Letters and blank pictures
    have the label -1; the first mask of a letter is its ink.
    """
    dice = Dice(count, size, seed, tiny=count // 8)
    hand, x, y = random_hand(dice)
    is_digit = dice.chance(0.93)[:, 0, 0] > 0
    others = (pool.labels == -1).nonzero()[:, 0]
    places = torch.where(is_digit, dice.choose(pool.digits()), dice.choose(others))
    there = dice.chance(0.96)  # the others are blank
    field = write(pool, places, hand, x, y, dice)
    neighbours = write_neighbours(pool, hand, x, y, dice)
    digit = covered(field) * there
    target = mask_of(field, pool, places, hand) * there
    writing = torch.maximum(target, covered(neighbours))
    target = target * (1 - covered(neighbours))
    paper, ink = two_colours(dice)
    picture = draw_security_print(background(dice, paper, ink), dice, ink, 0.06)
    picture = draw_surroundings(picture, dice, hand.size, x, y, ink)
    picture = draw_ink(picture, dice, field, digit, covered(neighbours), ink)
    picture = camera(picture, dice, hand.size)
    labels = torch.where(there[:, 0, 0] > 0, pool.labels[places], -1)
    return bilevel(picture, writing, dice), torch.stack([target, writing], dim=1), labels


def make_textures(count: int, size: tuple[int, int], seed: int) -> torch.Tensor:
    """N×3×H×W pictures from 0 to 1 without any writing: what else a photograph may show."""
    dice = Dice(count, size, seed)
    picture = dice.colour().expand(-1, -1, *size)
    for knots in (2, 4, 9, 20, 45):
        shade = dice.noise(knots)
        edged = (shade * dice.log_uniform(1, 40)).clamp(-1, 1)  # from a soft slope to a sharp edge
        shade = torch.where(dice.chance(0.5) > 0, edged, shade)
        amount = dice.uniform(0, 0.4) * dice.chance(0.5)
        picture = picture + (shade * amount)[:, None] * (dice.colour() - 0.5).sign()
    return camera(picture.clamp(0, 1), dice, torch.ones(count, 1, 1))


def random_hand(dice: Dice) -> tuple[Hand, torch.Tensor, torch.Tensor]:
    """A writer's hand, and where the digit's middle is."""
    # Most digits are a third to nearly all of a picture; some are small, some go from rim to rim.
    shorter = min(dice.size) / dice.longer
    usual, small = dice.uniform(0.3, 0.95), dice.log_uniform(0.1, 0.35)
    size = torch.where(dice.chance(0.75) > 0, usual, small)
    size = torch.where(dice.chance(0.12) > 0, dice.uniform(0.9, 1.15), size)
    size[dice.count - dice.tiny :] = dice.uniform(0.75, 1.1)[dice.count - dice.tiny :]
    size = torch.minimum(size, 1.5 * torch.full_like(size, shorter))
    pixels = size * dice.longer
    hand = Hand(
        size=size,
        angle=dice.normal(0.1),
        shear=dice.normal(0.1),
        stretch=dice.log_uniform(0.75, 1.33),
        width=(pixels * dice.log_uniform(0.012, 0.11)).clamp(min=0.35),
        weight=pixels * dice.normal(0.012),
    )
    half_width, half_height = (side / dice.longer / 2 for side in dice.size[::-1])
    across = (half_width - 0.36 * size).clamp(min=0.04)
    down = (half_height - 0.5 * size).clamp(min=0.03)
    # Where a digit was cut out on purpose it is nearly in the middle.
    x, y = dice.uniform(-1, 1) * across, dice.uniform(-1, 1) * down
    middle = torch.where(dice.chance(0.5) > 0, dice.uniform(0, 0.4), torch.ones_like(x))
    return hand, x * middle, y * middle


def write_neighbours(pool: Pool, hand: Hand, x, y, dice: Dice, sides=AROUND) -> torch.Tensor:
    """N×H×W: signed distances to other writing that the rim cuts.

    `sides`: each with a sign, and whether it is on the level of the digit.
    """
    nearest = torch.full((dice.count, *dice.size), 99.0)
    everything = torch.arange(len(pool.labels))
    half = [side / dice.longer / 2 for side in dice.size[::-1]]
    for side, level in sides:
        places = dice.choose(pool.digits() if level else everything)
        gap = hand.size * dice.uniform(0.62, 1.1)
        aside = hand.size * dice.normal(0.06)
        along, start, end = (0, x, half[0]) if level else (1, y, half[1])
        middle = start + side * gap * (1.0 if level else 1.35)
        # Only what reaches out of the picture: a whole second digit might be the one that is meant.
        cut = (middle * side > end - 0.3 * hand.size).float()
        on = dice.chance(0.2 if along == 0 else 0.1) * cut
        where = (middle, y + aside) if level else (x + aside, middle)
        field = write(pool, places, hand, *where, dice)
        nearest = torch.minimum(nearest, torch.where(on > 0, field, 99.0))
    return nearest


def draw_ink(picture, dice: Dice, field, digit, neighbours, ink) -> torch.Tensor:
    """The digit and its neighbours: plain, outlined, or with a shadow; even, as pencil, or as paint."""
    # The shadow of a raised digit, or the light edge of an engraved one.
    step = (dice.count, *dice.size)
    shifted = F.pad(digit[:, None], (2, 0, 2, 0))[:, 0, : step[1], : step[2]]
    picture = over(picture, shifted * dice.chance(0.06) * dice.uniform(0.3, 1), dice.colour())
    strength = dice.uniform(0.75, 1.0)
    # Pencil and chalk leave out grains of the paper; a pen's pressure varies.
    grains = (dice.noise(45) * dice.uniform(0, 0.35) * dice.chance(0.25) + 1).clamp(0, 1.2)
    pressure = (1 + dice.noise(4) * dice.uniform(0, 0.25) * dice.chance(0.4)).clamp(0.35, 1.3)
    amount = (torch.maximum(digit, neighbours) * strength * grains * pressure).clamp(0, 1)
    picture = over(picture, amount, ink)
    # An outline of another colour, or an outline alone, filled with anything.
    outlined = dice.chance(0.1) * (digit.amax(dim=(1, 2), keepdim=True) > 0)
    inner = covered(field + dice.uniform(0.03, 0.09) * 40 * 0.5)
    return over(picture, inner * outlined, dice.colour())
