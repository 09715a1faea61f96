"""Made-up pictures of digits, each with masks of its ink: what the finder learns from.

    pictures, masks, labels = make_pictures(pool, 32, (96, 96), seed=0)

Glyphs come from the pool of `glyphs.py`. Backgrounds, lines, neighbours, light and camera are
drawn for a whole batch at a time.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from lenet5.data.camera import bilevel, camera
from lenet5.data.dice import Dice, covered, over
from lenet5.data.glyphs import Pool
from lenet5.data.skeletons import BOX, FIELD


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


def make_pictures(
    pool: Pool, count: int, size: tuple[int, int], seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """N×3×H×W pictures from 0 to 1, N×2×H×W masks, N labels.

    The first mask is the digit's ink, the second that of all writing. Letters and blank pictures
    have the label -1; the first mask of a letter is its ink. In a strip (`is_strip`) any digit of
    a row may be the one that is meant.
    """
    dice = Dice(count, size, seed)
    hand, x, y = random_hand(dice)
    is_digit = dice.chance(0.93)[:, 0, 0] > 0
    others = (pool.labels < 0).nonzero()[:, 0]
    places = torch.where(is_digit, dice.choose(pool.digits()), dice.choose(others))
    there = dice.chance(0.96)  # the others are blank
    field = write(pool, places, hand, x, y, dice)
    write_others = write_row if is_strip(size) else write_neighbours
    neighbours = write_others(pool, hand, x, y, dice)
    # A thin line's mask is a pixel wide, however faint it is.
    thin = (0.6 - hand.width).clamp(min=0) * pool.is_skeleton[places][:, None, None]
    digit = covered(field) * there
    target = covered(field - thin) * there
    writing = torch.maximum(target, covered(neighbours))
    target = target * (1 - covered(neighbours))
    paper, ink = two_colours(dice)
    picture = background(dice, paper, ink)
    picture = draw_surroundings(picture, dice, hand, x, y, ink)
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


def is_strip(size: tuple[int, int]) -> bool:
    """Whether a picture of this height and width is of a row of digits."""
    return size[1] > 1.9 * size[0]


def random_hand(dice: Dice) -> tuple[Hand, torch.Tensor, torch.Tensor]:
    """A writer's hand, and where the digit's middle is."""
    # Most digits are a third to nearly all of a picture; some are small, some go from rim to rim.
    shorter = min(dice.size) / dice.longer
    usual, small = dice.uniform(0.3, 0.95), dice.log_uniform(0.1, 0.35)
    size = torch.where(dice.chance(0.75) > 0, usual, small)
    size = torch.where(dice.chance(0.12) > 0, dice.uniform(0.9, 1.15), size)
    if is_strip(dice.size):
        size = shorter * torch.where(dice.chance(0.85) > 0, usual, small)
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


def write_neighbours(pool: Pool, hand: Hand, x, y, dice: Dice) -> torch.Tensor:
    """N×H×W: signed distances to other writing, most of it cut by the rim."""
    nearest = torch.full((dice.count, *dice.size), 99.0)
    everything = torch.arange(len(pool.labels))
    half = [side / dice.longer / 2 for side in dice.size[::-1]]
    for side, level in ((-1, True), (1, True), (-1, False), (1, False)):
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


def write_row(pool: Pool, hand: Hand, x, y, dice: Dice) -> torch.Tensor:
    """N×H×W: signed distances to the rest of a row of digits, with a letter or a sign now and then."""
    nearest = torch.full((dice.count, *dice.size), 99.0)
    everything = torch.arange(len(pool.labels))
    usual = hand.size * dice.log_uniform(0.55, 1.1)
    for side in (-1, 1):
        middle, on = x, torch.ones_like(x)
        for _ in range(round(1.6 * dice.size[1] / dice.size[0])):
            middle = middle + side * usual * dice.log_uniform(0.85, 1.2)
            on = on * dice.chance(0.88)  # the row ends
            places = torch.where(
                dice.chance(0.9)[:, 0, 0] > 0, dice.choose(pool.digits()), dice.choose(everything)
            )
            field = write(pool, places, hand, middle, y + hand.size * dice.normal(0.05), dice)
            nearest = torch.minimum(nearest, torch.where(on > 0, field, 99.0))
    return nearest


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
        off = (along / period - (along / period).round()).abs() * period
        lines = covered(off - dice.uniform(0.2, 0.9).minimum(0.25 * period))
        amount = lines * dice.uniform(0.1, 0.7) * dice.chance(0.12)
        picture = over(picture, amount, dice.colour())
    return draw_squares(picture, dice, ink)


def draw_squares(picture: torch.Tensor, dice: Dice, ink: torch.Tensor) -> torch.Tensor:
    """Squared paper, whose lines may be as strong as the pen's."""
    period, half = dice.log_uniform(6, 40), dice.log_uniform(0.2, 1.2)
    colour = torch.where(dice.chance(0.5)[..., None] > 0, ink, dice.colour())
    strength, angle = dice.uniform(0.3, 1) * dice.chance(0.08), dice.normal(0.06)
    for turn in (0, math.pi / 2):
        along = dice.distance_to_line(angle + turn, dice.uniform(0, 1))
        off = (along / period - (along / period).round()).abs() * period
        picture = over(picture, covered(off - half.minimum(0.15 * period)) * strength, colour)
    return picture


def draw_surroundings(picture, dice: Dice, hand: Hand, x, y, ink) -> torch.Tensor:
    """What stands around a digit: labels behind it, boxes, underlines, lines and bars at the rim."""
    size = hand.size
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
    outlined = dice.chance(0.06) * (digit.amax(dim=(1, 2), keepdim=True) > 0)
    inner = covered(field + dice.uniform(0.03, 0.09) * 40 * 0.5)
    return over(picture, inner * outlined, dice.colour())
