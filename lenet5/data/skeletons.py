"""Digits as pens, stencils and displays draw them: skeletons with random control points.

    >>> fields = skeleton_fields(10, seed=0)  # 100×64×64 distances to the strokes

MNIST's writers are American. The skeletons add the world's other ways to write a digit: a 1
with a flag and a base, a 7 with a bar, open and closed 4, a curled 9, a 0 with a slash, a 2
with a loop, and the seven segments of displays. There are also the signs that stand in numbers.
"""

import numpy as np

FIELD = 64  # pixels, the side of a field; the digit's box is at most BOX of them
BOX = 40
POINTS = 6  # of a curve between two of its control points
DISPLAYS = 0.15  # share of digits of seven segments
JITTER = 0.04  # of the box: the deviation of a control point

# A stroke is a string of control points: "xy xy ..." with x and y in 0-9 from the left and the
# top of the digit's box. A curve passes through them all; a stroke that starts with "|" is a
# polyline.
SKELETONS = {
    0: [
        ["50 20 03 06 29 59 79 96 93 70 50"],
        ["61 30 12 05 17 49 78 95 82 50 30 23"],
        ["50 20 03 06 29 59 79 96 93 70 50", "|81 18"],
        ["50 20 03 06 29 59 79 96 93 70 50", "|72 27"],
        ["|20 70 92 97 79 29 07 02 20"],
    ],
    1: [
        ["|50 49"],
        ["|60 39"],
        ["|23 50 59"],
        ["|14 60 59"],
        ["|06 60 69"],
        ["|22 50 59", "|29 89"],
        ["|13 50 59", "|19 99"],
        ["|50 59", "|29 89", "|30 70"],
        ["32 50", "|50 59", "28 59 88"],
    ],
    2: [
        ["12 30 60 83 75 47 09", "|09 99"],
        ["12 31 60 83 75 47 18 09 29 59 98"],
        ["02 20 60 82 65 28 07 16 38 69 98"],
        ["11 40 72 64 28 19 17 37 58 99"],
        ["|10 90 09 99"],
    ],
    3: [
        ["11 40 71 73 54 34", "34 64 86 78 49 08"],
        ["|10 80 44", "44 74 86 78 49 08"],
        ["02 30 71 63 34 64 97 69 29 07"],
        ["|10 80 84 34", "|84 89 19"],
    ],
    4: [
        ["|20 06 96", "|70 79"],
        ["|60 06 96", "|60 69"],
        ["|10 15 85", "|70 59"],
        ["20 13 15 45 75 93", "|80 69"],
        ["|70 16 96", "|70 79", "|59 99"],
        ["|30 05 85", "|53 59"],
    ],
    5: [
        ["|80 10 14", "14 43 74 86 78 49 08"],
        ["10 14 53 85 78 39 08", "|10 90"],
        ["|90 20 14", "14 54 96 69 18"],
        ["70 30 13 43 75 78 39 08"],
    ],
    6: [
        ["70 42 15 08 39 78 86 65 35 17"],
        ["81 50 22 05 08 49 89 86 54 16 08"],
        ["60 21 05 07 29 69 88 75 45 16"],
    ],
    7: [
        ["|00 90 39"],
        ["|00 90 55 49"],
        ["|02 00 90 49"],
        ["|00 90 39", "|25 85"],
        ["|01 90 49", "|14 84"],
        ["11 30 60 90 64 49", "|35 85"],
        ["|02 00 90 59", "|35 85"],
        ["00 40 90 63 45 39"],
    ],
    8: [
        ["71 40 11 13 44 75 88 59 19 07 15 44 73 81 60 40"],
        ["50 20 12 34 64 82 70 50", "44 15 07 29 69 97 85 54 44"],
        ["80 40 12 44 86 69 29 07 44 82 80"],
        ["82 50 11 33 65 87 59 19 17 45 82"],
    ],
    9: [
        ["82 50 12 14 45 74 82", "82 85 79"],
        ["82 50 12 14 45 74 82", "|81 89"],
        ["82 50 12 14 45 74 82", "82 86 69 28 17"],
        ["80 40 12 24 54 81", "|80 59"],
        ["70 30 02 25 65 92 70", "92 85 49"],
    ],
}
#   0
#  5 1
#   6
#  4 2
#   3
SEGMENTS = ["|20 80", "|91 94", "|95 98", "|29 89", "|05 08", "|01 04", "|25 85"]
LIT = ["012345", "12", "01346", "01236", "1256", "02356", "023456", "012", "0123456", "012356"]


# What stands in and beside numbers and is no digit: the side and the middle of its box, in heights
# of a digit from the digit's middle downwards, and its strokes.
SIGNS = {
    ".": (0.05, 0.47, ["|44 55"]),
    ",": (0.25, 0.54, ["52 54 36"]),
    "'": (0.2, -0.45, ["|50 47"]),
    ":": (0.45, 0.15, ["|40 41", "|48 49"]),
    "-": (0.5, 0.0, ["03 43 93"]),
    "~": (1.3, 0.1, ["06 23 54 75 93"]),
    "=": (0.45, 0.0, ["|03 93", "|06 96"]),
    "+": (0.5, 0.0, ["|05 95", "|50 59"]),
    "/": (1.2, 0.0, ["|70 29"]),
    "(": (1.25, 0.0, ["60 43 46 69"]),
    ")": (1.25, 0.0, ["40 63 66 49"]),
    "#": (0.8, 0.0, ["|30 29", "|70 69", "|03 93", "|06 96"]),
    "*": (0.4, -0.1, ["|50 59", "|12 87", "|82 17"]),
    "%": (0.9, 0.0, ["|80 19", "20 01 23 42 20", "79 58 76 97 79"]),
    "$": (1.2, 0.0, ["82 51 22 44 65 87 58 17", "|50 59"]),
    "€": (0.9, 0.0, ["91 61 33 36 68 98", "|04 74", "|06 66"]),
    "£": (0.9, 0.0, ["82 60 42 45 37 19", "|19 89", "|15 75"]),
}


def skeleton_fields(hands: int, seed: int) -> np.ndarray:
    """N×FIELD×FIELD float32: each pixel's distance in pixels to the strokes of a digit.

    Every hand writes the ten digits, in order.
    """
    rng = np.random.default_rng(seed)
    fields = []
    for _ in range(hands):
        on_display, own = rng.random() < DISPLAYS, random_writer(rng)
        for digit in range(10):
            if on_display:
                fields.append(field(strokes([SEGMENTS[int(i)] for i in LIT[digit]], own, 0.0, rng)))
                continue
            way = SKELETONS[digit][rng.integers(len(SKELETONS[digit]))]
            fields.append(field(strokes(way, own, JITTER, rng)))
    return np.stack(fields)


def sign_fields(hands: int, seed: int) -> np.ndarray:
    """N×FIELD×FIELD float32, as `skeleton_fields`, of the `SIGNS`: all of each hand, in order."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(hands):
        own = random_writer(rng)
        found += [field(strokes(way, own, JITTER, rng)) for _, _, way in SIGNS.values()]
    return np.stack(found)


def random_writer(rng: np.random.Generator) -> tuple[float, float, float]:
    """Width, slant and turn of a writer's digits."""
    return rng.uniform(0.45, 1.0), rng.normal(0, 0.15), rng.normal(0, 0.06)


def strokes(
    way: list[str], writer: tuple[float, float, float], jitter: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """The strokes of a digit or sign in pixels of its field, K×2 points each."""
    wide, slant, turn = writer
    found = []
    for stroke in way:
        points = (
            np.array([[int(place[0]), int(place[1])] for place in stroke.lstrip("|").split()]) / 9 - 0.5
        )
        points += rng.normal(0, jitter, points.shape)
        if not stroke.startswith("|"):
            points = curve(points)
        x, y = points.T * [[wide], [1.0]]
        x, y = x - slant * y, y
        x, y = x - turn * y, y + turn * x
        found.append(np.stack([x, y], axis=1))
    box = np.concatenate(found)
    low, high = box.min(axis=0), box.max(axis=0)
    scale = BOX / max(high - low)
    return [(stroke - (low + high) / 2) * scale + FIELD / 2 for stroke in found]


def curve(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom spline through K×2 points."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, POINTS, endpoint=False)[:, None]
    before, start, end, after = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    parts = start + 0.5 * t * (
        end
        - before
        + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    return np.concatenate([parts.reshape(-1, 2), points[-1:]])


def field(found: list[np.ndarray]) -> np.ndarray:
    """FIELD×FIELD float32: the distance of each pixel's centre to the nearest stroke, in pixels."""
    starts = np.concatenate([stroke[:-1] for stroke in found]).astype(np.float32)
    steps = np.concatenate([np.diff(stroke, axis=0) for stroke in found]).astype(np.float32)
    places = (np.mgrid[:FIELD, :FIELD][::-1].reshape(2, -1).T + 0.5).astype(np.float32)
    away = places[:, None] - starts  # P×S×2
    along = (away * steps).sum(2) / np.maximum((steps * steps).sum(1), 1e-6)
    rest = away - along.clip(0, 1)[..., None] * steps
    return np.sqrt((rest * rest).sum(2).min(1)).reshape(FIELD, FIELD)
