"""Made-up pictures of whole numbers, each with a mask of its writing and with its digits.

    pictures, masks, numbers, places = make_numbers(pool, 32, (48, 160), seed=0)

A number is written by one hand: the slant, size, pen, slope and spacing are the writer's and drift
along the number. Signs, currency and letters stand between its digits.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from lenet5.data.backgrounds import background, draw_security_print, two_colours
from lenet5.data.camera import bilevel, camera
from lenet5.data.dice import Dice, covered, over
from lenet5.data.finder_pictures import Hand, draw_ink, mask_of, write, write_neighbours
from lenet5.data.glyphs import FIRST_SIGN, Pool
from lenet5.data.skeletons import SIGNS

MOST_CHARACTERS = 14  # of a number
SLOTS = MOST_CHARACTERS + 4  # with the strokes that join some of them
# How numbers are written, and how often: d is a digit, a a letter, s any sign, _ a wider gap; others
# are signs. * repeats what is before it.
PATTERNS = {
    "d*": 40,
    "s*a*": 5,
    "d,ddd,ddd": 2,
    "d.ddd.ddd": 2,
    "dd.ddd,dd": 3,
    "$d*.dd": 2,
    "£d*.dd": 1,
    "d*,dd€": 2,
    "d*.dd": 5,
    "d*,dd": 3,
    "d*,dd-": 2,
    "d*,--": 2,
    "d*.-": 2,
    "=d*=": 2,
    "#d*#": 1,
    "*d*,dd*": 1,
    "d*=": 3,
    "d*~": 3,
    "d*-": 2,
    "-d*": 1,
    "dd/dd/dd": 2,
    "dd-dd-dddd": 2,
    "d.d*": 2,
    "(d*)": 2,
    "d*_d*": 4,
    "ddd_ddd_ddd": 3,
    "ddd'ddd": 1,
    "dd:dd": 2,
    "a*_d*": 3,
    "d*a": 2,
    "d*%": 1,
}
ABOVE_AND_BELOW = ((-1, False), (1, False))
IN_CELLS = 0.12  # of the numbers are written in a form's boxes or stand on wheels, at one pitch


class Mix(NamedTuple):
    """What numbers to make. The finder learned from the defaults."""

    plain: float = 0.0  # share on even paper, seen by no camera
    mnist: float = 0.5  # share in digits of MNIST, of which each has another hand
    digits: int = PATTERNS["d*"]  # how often, beside the other patterns, digits stand alone
    zeros: float = 0.2  # share of the digits that are zeros, beside a tenth of the others


class Slots(NamedTuple):
    """The characters of N numbers: N×S arrays, of which the last ones of a number may be unused.

    Lengths are in heights of a digit, from the first character's middle to the right and downwards.
    """

    glyphs: np.ndarray  # places in the pool
    x: np.ndarray  # the middle of each box
    y: np.ndarray
    size: np.ndarray  # its longer side
    half: np.ndarray  # of its width
    lean: np.ndarray  # how much farther right it leans than the first
    used: np.ndarray  # 1 or 0
    cell: np.ndarray  # the width of a form's box or a wheel's window around it, 0 without one


class Glyphs(NamedTuple):
    """Where a pool's glyphs stand, for writing numbers."""

    digits: list[np.ndarray]  # of MNIST
    hands: np.ndarray  # the 0 of ten digits in order, of a font or a hand
    letters: np.ndarray
    signs: np.ndarray  # hands×signs
    widths: np.ndarray  # of the box, as a share of its longer side


def make_numbers(
    pool: Pool, count: int, size: tuple[int, int], seed: int, mix: Mix | None = None
) -> tuple[torch.Tensor, torch.Tensor, list[str], torch.Tensor]:
    """N×3×H×W pictures from 0 to 1, N×1×H×W masks of all writing, each number's digits, their places.

    The places are N×H×W uint8: 1 where the first digit has its ink, 2 for the second; 0 elsewhere.
    """
    mix = mix or Mix()
    dice, rng = Dice(count, size, seed), np.random.default_rng(seed)
    glyphs = glyphs_of(pool)
    slots = Slots(*map(np.array, zip(*[lay_out(glyphs, rng, mix) for _ in range(count)], strict=True)))
    hand, x, y = random_place(slots, glyphs, dice, rng)
    fields = torch.full((count, *size), 99.0)
    masks = torch.zeros(count, *size)
    chosen = torch.from_numpy(slots.glyphs.astype(np.int64))
    labels = np.where(slots.used > 0, pool.labels[chosen].numpy(), -1)
    order = np.where(labels >= 0, np.cumsum(labels >= 0, axis=1), 0)  # of the digits, from 1 on
    digits = torch.zeros(count, *size)
    for i in range(int(np.flatnonzero(slots.used.any(axis=0)).max()) + 1):
        places = chosen[:, i]
        own = hand._replace(
            size=hand.size * column(slots.size, i), shear=hand.shear + column(slots.lean, i)
        )
        field = write(pool, places, own, x[:, i, None, None], y[:, i, None, None], dice)
        used = column(slots.used, i) > 0
        fields = torch.minimum(fields, torch.where(used, field, 99.0))
        mask = torch.where(used, mask_of(field, pool, places, hand), 0.0)
        masks = torch.maximum(masks, mask)
        digit = column(order, i)
        digits = torch.where((mask > 0.5) & (digit > 0), digit, digits)
    ink_there = covered(fields)
    some = torch.from_numpy(rng.integers(0, 3, count))[:, None]
    across, down = (torch.take_along_dim(where, some, 1)[..., None] for where in (x, y))
    others = covered(write_neighbours(pool, hand, across, down, dice, ABOVE_AND_BELOW))
    writing = torch.maximum(torch.maximum(masks, ink_there), others)
    paper, ink = two_colours(dice)
    picture = draw_security_print(background(dice, paper, ink), dice, ink, 0.25)
    picture = draw_form(picture, dice, slots, hand, x, y, ink)
    is_plain = torch.from_numpy(rng.random(count) < mix.plain)[:, None, None, None]
    picture = torch.where(is_plain, paper, picture)
    picture = draw_ink(picture, dice, fields, ink_there, others, ink)
    picture = torch.where(is_plain, picture, camera(picture, dice, hand.size))
    numbers = ["".join(str(digit) for digit in row if digit >= 0) for row in labels.tolist()]
    return bilevel(picture, writing, dice), writing[:, None], numbers, digits.byte()


def column(values: np.ndarray, i: int) -> torch.Tensor:
    """N×1×1 of N×S values."""
    return torch.from_numpy(values[:, i].astype(np.float32))[:, None, None]


def glyphs_of(pool: Pool) -> Glyphs:
    labels, hands = pool.labels.numpy(), pool.hands().numpy()
    of_mnist = labels[: hands[0]]
    return Glyphs(
        [np.flatnonzero(of_mnist == digit) for digit in range(10)],
        hands,
        np.flatnonzero(labels == -1),
        np.flatnonzero(labels <= FIRST_SIGN).reshape(-1, len(SIGNS)),
        pool.widths.numpy(),
    )


def characters(rng: np.random.Generator, digits: int = PATTERNS["d*"]) -> str:
    """The characters of a random pattern: d, a, s, _ and signs. `digits`: see `Mix`."""
    often = np.array([digits if pattern == "d*" else n for pattern, n in PATTERNS.items()], float)
    pattern = list(PATTERNS)[rng.choice(len(PATTERNS), p=often / often.sum())]
    written = ""
    for before, one in pairwise(" " + pattern):
        more = one == "*" and before in "das"
        written += before * int(rng.integers(0, 8)) if more else one
    return written[:MOST_CHARACTERS]


def lay_out(glyphs: Glyphs, rng: np.random.Generator, mix: Mix) -> tuple:
    """One number's row of `Slots`."""
    text = characters(rng, mix.digits)
    hand = int(rng.choice(glyphs.hands)) if rng.random() < 1 - mix.mnist else None
    gap = rng.choice([rng.uniform(-0.2, 0.05), rng.uniform(0.05, 0.35), rng.uniform(0.3, 0.9)])
    uneven, jitter = (rng.choice([0.01, rng.uniform(0.01, most)]) for most in (0.3, 0.12))
    pitch = rng.uniform(0.7, 1.6) if rng.random() < IN_CELLS else 0.0
    box = rng.choice([0.0, 1.0, rng.uniform(0.8, 1.0)])  # how much of the pitch a cell takes
    zeros, end = (rng.uniform(0.5, 0.9) if rng.random() < 0.15 else 1.0 for _ in range(2))
    size_drift, slope, lean_drift = rng.normal(0, 0.1), rng.normal(0, 0.03), rng.normal(0, 0.1)
    sign_hand, joined = rng.integers(len(glyphs.signs)), rng.random() < 0.12
    rows, at = np.zeros((len(Slots._fields), SLOTS)), 0.0
    for i, one in enumerate(text):
        share = i / MOST_CHARACTERS
        if one == "_":
            at += rng.uniform(0.3, 0.8)
            continue
        side, down = (1 + size_drift * share) * math.exp(rng.normal(0, jitter)), rng.normal(0, jitter)
        if one == "d":
            digit = int(rng.integers(10)) if rng.random() >= mix.zeros else 0
            glyph = int(rng.choice(glyphs.digits[digit])) if hand is None else hand + digit
            smaller = (zeros if digit == 0 else 1.0) * (end if i >= len(text) - 2 else 1.0)
            down += rng.uniform(-0.5, 0.5) * (1 - smaller)
            side *= smaller
        elif one == "a":
            glyph = int(rng.choice(glyphs.letters))
        else:
            sign = list(SIGNS).index(one) if one in SIGNS else int(rng.integers(len(SIGNS)))
            glyph = int(glyphs.signs[sign_hand, sign])
            of_digit, middle, _ = list(SIGNS.values())[sign]
            side, down = side * of_digit * math.exp(rng.normal(0, 0.15)), down + middle
        half = max(0.03, 0.5 * side * glyphs.widths[glyph])
        own_gap = gap + rng.normal(0, uneven)
        middle = i * pitch if pitch else at + max(own_gap, -0.5 * half) + half
        at = middle + half
        rows[:, i] = glyph, middle, down + slope * middle, side, half, lean_drift * share, 1, pitch * box
    if joined:
        join(rows, len(text), int(glyphs.signs[sign_hand, list(SIGNS).index("-")]), rng)
    return (*rows,)


def join(rows: np.ndarray, length: int, stroke: int, rng: np.random.Generator) -> None:
    """Fill a number's last slots with strokes from one character to the next."""
    slots = Slots(*rows)
    height = rng.choice([-0.45, 0.35, 0.45])
    for slot, i in enumerate(rng.permutation(max(0, length - 1))[: SLOTS - length][:4], length):
        if not slots.used[i] * slots.used[i + 1]:
            continue
        start, end = slots.x[i], slots.x[i + 1]
        down = (slots.y[i] + slots.y[i + 1]) / 2 + height * slots.size[i]
        rows[:, slot] = stroke, (start + end) / 2, down, end - start, 0.0, slots.lean[i], 1, 0


def random_place(
    slots: Slots, glyphs: Glyphs, dice: Dice, rng
) -> tuple[Hand, torch.Tensor, torch.Tensor]:
    """Each number's hand, and where its characters are: N×S, in shares of the picture's longer side."""
    used = slots.used > 0
    stretch = np.exp(rng.uniform(-0.22, 0.22, (len(used), 1)))
    x, half = slots.x * stretch, slots.half * stretch
    left, right = (np.where(used, x + side * half, side * -99.0) for side in (-1, 1))
    top, bottom = (np.where(used, slots.y + side * slots.size / 2, side * -99.0) for side in (-1, 1))
    left, right, top, bottom = left.min(1), right.max(1), top.min(1), bottom.max(1)
    high, wide = (side / dice.longer for side in dice.size)
    size = np.minimum(
        high * rng.uniform(0.4, 0.95, len(used)) / (bottom - top).clip(1.0),
        wide * rng.uniform(0.6, 0.98, len(used)) / (right - left).clip(0.5),
    )
    # What is left of the picture's sides, and how much of it is before the number. Some numbers
    # begin beyond the picture's edge, with a part of their first digit.
    before = [rng.uniform(0, 1, len(used)) for _ in range(2)]
    room = wide - size * (right - left), high - size * (bottom - top)
    cut = (rng.random(len(used)) < 0.06) * rng.uniform(0, 0.3, len(used)) * 2 * half[:, 0] * size
    first = -wide / 2 + np.where(cut > 0, -cut, room[0] * before[0]) - size * left
    above = -high / 2 + room[1] * before[1] - size * top
    x, y = first[:, None] + size[:, None] * x, above[:, None] + size[:, None] * slots.y
    size = torch.from_numpy(size).float()[:, None, None]
    angle = dice.normal(0.03)
    x, y = (torch.from_numpy(where).float() for where in (x, y))
    cos, sin = angle[..., 0].cos(), angle[..., 0].sin()
    x, y = x * cos - y * sin, x * sin + y * cos
    pixels = size * dice.longer
    hand = Hand(
        size=size,
        angle=angle,
        shear=dice.normal(0.2),
        stretch=torch.from_numpy(stretch).float()[..., None],
        width=(pixels * dice.log_uniform(0.012, 0.09)).clamp(min=0.35),
        weight=pixels * dice.normal(0.012),
    )
    return hand, x, y


def draw_form(picture, dice: Dice, slots: Slots, hand: Hand, x, y, ink) -> torch.Tensor:
    """A form's boxes, a table's lines, a meter's windows and a base line."""
    ink_or_other = torch.where(dice.chance(0.5)[..., None] > 0, ink, dice.colour())
    half_height, radius = hand.size * dice.uniform(0.55, 0.9), dice.uniform(0, 0.2) * hand.size
    inside = torch.full((dice.count, *dice.size), 99.0)
    line = inside
    level = y[:, :1, None]
    for i in range(MOST_CHARACTERS):
        half = column(slots.cell, i) / 2 * hand.size * hand.stretch
        there = half > 0
        box = dice.distance_to_box(x[:, i, None, None], level, half, half_height, radius)
        inside = torch.minimum(inside, torch.where(there, box, 99.0))
        line = torch.minimum(line, torch.where(there, box.abs(), 99.0))
    picture = over(picture, covered(inside) * dice.chance(0.3), dice.colour())
    thick = dice.log_uniform(0.3, 2.5)
    picture = over(
        picture, covered(line - thick) * dice.chance(0.8) * dice.uniform(0.3, 1), ink_or_other
    )
    # One box around the number, a base line through or below it, and lines at the rim.
    half = (x.amax(1) - x.amin(1))[:, None, None] / 2 + hand.size * dice.uniform(0.5, 1.5)
    middle = (x.amax(1) + x.amin(1))[:, None, None] / 2
    box = dice.distance_to_box(middle, level, half, half_height, radius)
    picture = over(picture, covered(box.abs() - thick) * dice.chance(0.1), ink_or_other)
    below = dice.distance_to_line(
        math.pi / 2 + dice.normal(0.02), level + hand.size * dice.uniform(0.3, 0.8)
    )
    base = covered(below.abs() - dice.log_uniform(0.3, 2)) * dice.uniform(0.2, 1)
    picture = over(picture, base * dice.chance(0.2), ink_or_other)
    for k in range(4):
        side = dice.size[1 - k % 2] / dice.longer / 2
        rim = dice.distance_to_line(k * math.pi / 2 + dice.normal(0.02), side * dice.uniform(0.85, 1.0))
        picture = over(picture, covered(-rim) * dice.chance(0.05), dice.colour())
        edge = covered(rim.abs() - dice.log_uniform(0.3, 3)) * dice.uniform(0.3, 1)
        picture = over(picture, edge * dice.chance(0.12), ink_or_other)
    return picture
