"""Where the ink is in a picture of a digit: uneven light, polarity, lines, frames and dust.

What a scanner or a telephone takes is paper, light and ink, and there is more
on the paper than the digit. These steps leave the digit's ink:

    darkness       polarity: is the ink darker than the paper?
    even_light     the slope of the light, from one side to the other
    absorbed       how much of the light the ink takes, in each colour
    without_frame  a drawn frame, or the table beside the sheet, taken away
    without_lines  ruled and squared paper taken away
    of_the_digit   the digit's pieces, without dust, soft shadows and the sheet's edge

The filters, the lines and the connected components are OpenCV's. Lengths are
shares of the picture's side, so that the size of a picture does not matter.
"""

from typing import NamedTuple

import cv2
import numpy as np

# Of the shorter side: the widest stroke that is looked for, one after the other.
STROKES = (0.08, 0.14, 0.25)
FAINTEST = 8.0  # of 255: ink takes away at least so much of the light
NOISE = 5.0  # times the deviation on bare paper: what is fainter is not ink
EDGE = 0.85  # of the level at the sharpest edges: a little more than their outer half is ink
FRAME = 0.12  # of the picture's side: how deep a frame or a table's edge may reach into it
RIM = 0.05  # of the picture's side: how far from its edge a drawn frame may be
LINE = 0.55  # of the picture's side: what goes straight on for so long, from rim to rim, is a line
BESIDE = 0.15  # of the picture's side: what lies so near to its edge may be that of the sheet
THIN = 0.035  # of the shorter side: no line is thicker
ALIKE = 8.0  # gray levels: what differs less from the paper at the border is paper
UNDECIDED = 1.0  # of `darkness`, for strokes about as wide as what they enclose
ENOUGH = 0.85  # of the sharpness of the whole digit's edges: that of pieces of its strokes is below 0.4
AS_SHARP = 0.4  # of the first piece's mean steepness: a shadow's edge is softer
GRAY = 12  # of 255: colours that differ less are one
SAMPLED = 7  # every seventh pixel is enough to know how most are
DUST = 5  # pixels: what has no more of them is not a digit


class Strokes(NamedTuple):
    """The digit's ink in a picture, and what was found on the way to it."""

    amount: np.ndarray  # H×W float32, 0 to 255: the light that the digit's ink takes away
    everything: np.ndarray  # the same of all that is on the paper
    dark: bool  # whether the ink is darker than the paper
    sharpness: float  # of the digit's edges, to compare one reading of the picture with another
    cleared: np.ndarray  # as `everything`, without lines and frame
    least: float  # of that: what is fainter is not ink
    edge: int  # pixels: twice the width of a stroke's soft edge, and one

    @property
    def writing(self) -> np.ndarray:
        """All that is written, H×W float32: nothing is chosen among it, but grain is no ink."""
        amount = self.cleared
        return amount * (dilated(ink_mask(amount, threshold(amount, self.least)), self.edge) > 0)


def find_strokes(
    picture: np.ndarray, dark: bool | None = None, within: np.ndarray | None = None
) -> Strokes:
    """The digit's ink in an H×W or H×W×3 uint8 picture.

    `dark` says whether the ink is darker than the paper, where that is known;
    `within` is an H×W mask outside which the digit is not, from a first look at
    more of the same picture, which has seen the frame and the lines.
    """
    if picture.ndim == 3 and int(np.ptp(picture, axis=2).max()) < GRAY:
        picture = picture[:, :, 1]
    colours = denoised([colour.astype(np.float32) for colour in cv2.split(picture)])
    paper, is_plain = paper_at_border(colours)
    if not is_plain:
        return of_likelier_polarity(colours, dark, within, 0)
    if dark is None:
        dark = is_darker(mean_of(colours), mean_of(paper))
    # More of the same paper around it, so that no stroke is at the edge.
    margin = max(picture.shape[:2]) // 6
    wider = [
        cv2.copyMakeBorder(colour, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=level)
        for colour, level in zip(colours, paper, strict=True)
    ]
    return of_likelier_polarity(wider, dark, within, margin)


def of_likelier_polarity(colours: list[np.ndarray], dark: bool | None, within, margin: int) -> Strokes:
    """The strokes where it is known whether they are `dark`, or else as they are likely to be.

    `colours` have `margin` more pixels of paper on each side than the picture.
    """
    if dark is None:
        gray = mean_of(colours)
        evidence = darkness(np.log(gray + 16)) + darkness(gray)
        if abs(evidence) <= UNDECIDED:
            # Both ways: what is not the ink has fewer edges than the ink.
            both = [strokes_of(colours, way, within, margin) for way in (True, False)]
            return max(both, key=lambda found: found.sharpness)
        dark = evidence > 0
    return strokes_of(colours, dark, within, margin)


def paper_at_border(colours: list[np.ndarray]) -> tuple[list[float], bool]:
    """The commonest level of the border in each colour; is it that of plain paper?

    It is not if the picture has too little of it, as of a frame, or if a shadow
    goes across the border.
    """
    ring = np.ones(colours[0].shape, bool)
    width = max(1, min(ring.shape) // 28)
    ring[width:-width, width:-width] = False
    levels = [float(np.median(colour[ring])) for colour in colours]
    away = np.max([np.abs(c - level) for c, level in zip(colours, levels, strict=True)], axis=0)
    paper, ink = away < ALIKE, away > 0.6 * np.percentile(away, 99.5)
    # What is as wide as that is no ink, but the light beside a shadow.
    reach = np.ones((round(0.35 * max(ring.shape)),) * 2, np.uint8)
    is_plain = (
        paper[ring].mean() > 0.5
        and paper.mean() > 0.25
        and (paper | ink)[ring].mean() > 0.65
        and not cv2.erode(ink.astype(np.uint8), reach).any()
    )
    return levels, is_plain


def is_darker(gray: np.ndarray, paper: float) -> bool:
    """Whether what differs from the paper is darker, by the sum of the squared differences."""
    difference = gray - paper
    dark, bright = np.minimum(difference, 0), np.maximum(difference, 0)
    return float(np.square(dark).sum()) > float(np.square(bright).sum())


def strokes_of(colours: list[np.ndarray], dark: bool, within, margin: int) -> Strokes:
    """The digit's ink where the polarity is known."""
    # Bright ink on dark paper becomes dark ink on bright paper.
    colours = colours if dark else [255 - colour for colour in colours]
    light = even_light(mean_of(colours))
    flat = [colour / light for colour in colours]
    # Where there are no shadows, the widest look sees all there is.
    shares = STROKES[-1:] if is_evenly_lit(flat) else STROKES
    looks = [look(flat, share, within, dark, margin) for share in shares]
    # A wide reach is for wide strokes; where there are none, it only brings in shadows.
    sharpest = max(found.sharpness for found in looks)
    for i, found in enumerate(looks):
        if found.sharpness >= ENOUGH * sharpest and not any(hollow(found, w) for w in looks[i + 1 :]):
            return found
    return looks[-1]


def is_evenly_lit(colours: list[np.ndarray]) -> bool:
    """Whether nearly all of a picture is paper or strong ink, and little in between, as shadows are."""
    gray = mean_of(colours)
    paper, ink = np.abs(gray - 1) < 0.03, gray < 0.6
    return bool(paper.mean() > 0.4) and bool((paper | ink).mean() > 0.93)


def hollow(narrow: Strokes, wide: Strokes) -> bool:
    """Whether a look for narrow strokes missed what a wider one sees as strong as the ink itself."""
    ink = narrow.amount > 0
    if not ink.any():
        return bool(wide.amount.any())
    level = np.median(wide.everything[ink])
    missed = (wide.amount > 0) & (wide.everything > 0.7 * level) & (narrow.everything < 0.5 * level)
    return bool(missed.sum() > 0.05 * ink.sum())


def mean_of(colours: list):
    """The mean of the colours' pictures, or of their levels."""
    return colours[0] if len(colours) == 1 else sum(colours) / len(colours)


def smoothed(gray: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(gray, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def dilated(mask: np.ndarray, side: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((side, side), np.uint8))


def steepness(gray: np.ndarray) -> np.ndarray:
    """The squared length of the gradient at each pixel."""
    return np.square(cv2.Sobel(gray, cv2.CV_32F, 1, 0)) + np.square(cv2.Sobel(gray, cv2.CV_32F, 0, 1))


def denoised(colours: list[np.ndarray]) -> list[np.ndarray]:
    """The picture smoothed as far as its grain asks for, and not at all if it has none."""
    gray = mean_of(colours)
    # The median does not see the few places where there is a stroke.
    noise = 1.4826 * float(np.median(np.abs(gray - smoothed(gray, 2.0)).ravel()[::SAMPLED]))
    if noise < 0.7:
        return colours
    most = 0.012 * max(min(gray.shape), 100)
    return [smoothed(colour, min(most, 0.4 + 0.3 * noise)) for colour in colours]


def darkness(gray: np.ndarray) -> float:
    """Polarity: above 0 where what is narrow in an H×W float picture is darker than what is around it.

    A stroke is a narrow valley or a narrow ridge. The difference of two
    Gaussians answers to either with its sign, to the edge of a shadow with both
    signs alike, to a slope not at all. The skewness of the answers at each of
    the widths that a stroke may have tells valleys from ridges. In the logarithm
    of the brightness, ink in the shadow counts as much as ink in the light.
    """
    side = min(gray.shape)
    sigma, evidence = max(1.0, side / 160), 0.0
    narrow = smoothed(gray, sigma)
    while sigma < side / 10:
        wide = smoothed(narrow, 1.25 * sigma)  # with what was smoothed before, 1.6 sigma
        detail = narrow - wide
        power = float(np.square(detail).mean())
        evidence -= float((detail * detail * detail).mean()) / (power + 1e-9) ** 1.5
        sigma, narrow = 1.6 * sigma, wide
    return evidence


def even_light(gray: np.ndarray) -> np.ndarray:
    """The brightness of the paper as a parabola of both axes, fitted to an H×W picture with dark ink.

    Least squares in the logarithm, from the brighter half of the picture on,
    again and again without what is far from the last fit (Tukey's biweight), so
    that ink and shadows do not bend it. Bends are made small where they explain
    little, and nothing is brighter or darker than what was seen.
    """
    side = 24
    small = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
    values = np.log(small.ravel() + np.float64(1))  # in float32 the fit would be sure of four digits
    axis = np.linspace(-1, 1, side)
    x, y = (axis_values.ravel() for axis_values in np.meshgrid(axis, axis))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    small_bends = np.diag([0.0, 1, 1, 4, 4, 4])
    # Plain paper has one level, and none of it is to be left out by how that was rounded.
    weights = (values >= np.median(values) - 1e-4).astype(np.float64)
    for _ in range(5):
        weighted = terms * weights[:, None]
        fit = np.linalg.solve(weighted.T @ terms + small_bends, weighted.T @ values)
        rest = values - terms @ fit
        if np.abs(rest[weights > 0]).max() < 0.01:  # as good as it gets
            break
        limit = 4 * 1.4826 * np.median(np.abs(rest[weights > 0])) + 0.02
        weights = np.square(np.maximum(1 - np.square(rest / limit), 0))
    surface = np.exp(np.clip(terms @ fit, values.min(), values.max())).reshape(side, side)
    surface = np.maximum(surface, 1).astype(np.float32)
    return cv2.resize(surface, gray.shape[::-1], interpolation=cv2.INTER_LINEAR)


def absorbed(colour: np.ndarray, width: int) -> tuple[np.ndarray, float]:
    """What dark ink takes of the light, 0 to 255, and the deviation of that on bare paper.

    The paper under strokes of at most `width` pixels is seen by a morphological
    closing (the largest value within reach, then the smallest of those), which
    fills what is dark and narrow and leaves the edges of shadows where they are.
    """
    reach = np.ones((width, width), np.uint8)
    paper = cv2.morphologyEx(colour, cv2.MORPH_CLOSE, reach, borderType=cv2.BORDER_REFLECT)
    amount = 255 * (1 - colour / np.maximum(paper, 1e-3))
    # Closing follows the brightest grains of the paper; most of it is a little darker.
    sample = amount.ravel()[::SAMPLED]
    usual = np.median(sample)
    spread = 1.4826 * float(np.median(np.abs(sample - usual)))
    return amount - usual, spread


def threshold(amount: np.ndarray, least: float) -> float:
    """The amount from which a pixel is ink: that at the steepest edges, halfway from paper to ink."""
    steep = steepness(amount)
    total = float(steep.sum())
    return max(least, EDGE * float((steep * amount).sum()) / total) if total > 0 else least


def look(colours: list[np.ndarray], share: float, within, dark: bool, margin: int) -> Strokes:
    """The digit's ink if its strokes are at most `share` of the shorter side wide."""
    height, width = colours[0].shape
    inside = np.s_[margin : height - margin, margin : width - margin]
    side = min(height, width)
    width = 2 * int(share * side / 2) + 1
    amounts, spreads, weights = [], [], []
    for colour in colours:
        amount, spread = absorbed(colour, width)
        amounts.append(amount)
        spreads.append(spread)
        # The colours in which the ink shows most beside the paper's grain count most.
        weights.append(max(1.0, float(np.percentile(amount, 99.7))) / (spread + 3) ** 2)
    shares = [weight / sum(weights) for weight in weights]
    mixed = sum(s * amount for s, amount in zip(shares, amounts, strict=True))
    everything = np.maximum(mixed, 0)[inside]
    least = max(FAINTEST, NOISE * sum(s * spread for s, spread in zip(shares, spreads, strict=True)))
    # Plain paper, which has a margin here, does not end within the picture, and lines go to its edge.
    is_plain = margin > 0
    if within is None:
        amount = without_frame(everything, least)
        amount = without_lines(amount, least, 0.02 if is_plain else 0.08)
    else:
        amount = everything * (within > 0)
    mask, sharpness = of_the_digit(amount, least, rim=within is None and not is_plain)
    # The soft edge of the strokes belongs to them.
    edge = max(3, side // 100 * 2 + 1)
    chosen = amount * (dilated(mask, edge) > 0)
    return Strokes(chosen, everything, dark, sharpness, amount, least, edge)


def ink_mask(amount: np.ndarray, level: float) -> np.ndarray:
    return (amount > level).astype(np.uint8)


def without_frame(amount: np.ndarray, least: float) -> np.ndarray:
    """The amount of ink without what goes along the whole rim of the picture.

    Where there is nothing else, and it is strong, it is a digit that fills the picture.
    """
    without = amount.copy()
    # A strong frame first, then what of a faint or broken one was below the threshold.
    for level in (threshold(amount, least), least):
        mask = ink_mask(without, level)
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        pieces = [i for i in range(1, count) if is_frame(labels, i, boxes[i])]
        frame = np.isin(labels, pieces).astype(np.uint8)
        without[dilated(frame, 5) > 0] = 0
    if of_the_digit(without, least)[1] > 0 or threshold(amount, least) < 2 * least:
        return without
    return amount


def is_frame(labels: np.ndarray, piece: int, box) -> bool:
    """Whether a piece is a bar along the rim from end to end, or goes around the picture.

    A 1 beside the rim is shorter than it; a 0 that fills the picture leaves the
    corners of its box empty, where a frame's sides meet.
    """
    height, width = labels.shape
    x, y, w, h, area = box
    rim_y, rim_x = RIM * height, RIM * width
    at_rim = (x < rim_x, x + w > width - rim_x, y < rim_y, y + h > height - rim_y)
    level = w > 0.9 * width and h < FRAME * height and (at_rim[2] or at_rim[3])
    upright = h > 0.9 * height and w < FRAME * width and (at_rim[0] or at_rim[1])
    if level or upright:
        return True
    if w < 0.85 * width or h < 0.85 * height or sum(at_rim) < 3:
        return False
    inner = labels[y : y + h, x : x + w] == piece
    b, a = max(1, int(0.08 * h)), max(1, int(0.08 * w))
    corners = (inner[:b, :a], inner[:b, -a:], inner[-b:, :a], inner[-b:, -a:])
    middle = inner[2 * b : -2 * b, 2 * a : -2 * a]
    return sum(corner.any() for corner in corners) >= 3 and middle.sum() < 0.1 * area


def without_lines(amount: np.ndarray, least: float, rim: float = 0.08) -> np.ndarray:
    """The amount of ink without straight lines that go nearly level or upright through the picture.

    They begin and end no farther from its edges than `rim`, a share of its sides.
    Where a stroke crosses a line, the ink goes on across it, and stays. Where
    there is nothing but a line, it is no line but a digit, a 1 perhaps.
    """
    mask = ink_mask(amount, threshold(amount, least))
    rest = mask.copy()
    remove_level_lines(mask, rest, rim)
    remove_level_lines(np.ascontiguousarray(mask.T), rest.T, rim)
    lines = mask - rest
    if not lines.any():
        return amount
    without = amount * ((dilated(lines, 3) == 0) | (rest > 0))
    return without if of_the_digit(without, least)[1] > 0 else amount


def remove_level_lines(mask: np.ndarray, rest: np.ndarray, rim: float) -> None:
    """Take nearly level lines in `mask`, from rim to rim, out of `rest`."""
    height, width = mask.shape
    thin = max(3, round(THIN * min(height, width)))
    thick = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thin + 2, 1), np.uint8))
    found = cv2.HoughLinesP(
        mask - thick,
        rho=1,
        theta=np.pi / 360,
        threshold=int(0.35 * width),
        minLineLength=LINE * width,
        maxLineGap=0.3 * width,  # a digit may stand on the line
    )
    size = np.array([width, height])
    columns = np.arange(width)
    for x1, y1, x2, y2 in [] if found is None else found.reshape(-1, 4).tolist():
        ends = np.array([[x1, y1], [x2, y2]])
        through = ((ends < rim * size) | (ends >= (1 - rim) * size - 1)).any(axis=1).all()
        if through and abs(y2 - y1) < 0.3 * abs(x2 - x1):
            rows = np.rint(y1 + (y2 - y1) * (columns - x1) / (x2 - x1)).astype(int)
            for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
                remove_crossing(mask[:, x], rest[:, x], y, thin)


def remove_crossing(column: np.ndarray, rest: np.ndarray, y: int, thin: int) -> None:
    """Take the run of ink at row y or beside it out of a column, if it is no longer than `thin`."""
    start = next((row for row in (y, y - 1, y + 1) if 0 <= row < len(column) and column[row]), None)
    if start is None:
        return
    top, end = start, start + 1
    while top > 0 and column[top - 1] and end - top <= thin:
        top -= 1
    while end < len(column) and column[end] and end - top <= thin:
        end += 1
    if end - top <= thin:
        rest[top:end] = 0


def of_the_digit(amount: np.ndarray, least: float, rim: bool = False) -> tuple[np.ndarray, float]:
    """A mask of the pieces that make up the digit, and how sharp the edges of the first of them are.

    The first is the piece with the most and steepest edges, which shadows do
    not have; to it belongs what is near and not too small (a broken stroke), or
    far and large (a second digit, which is not for this file to judge), if its
    edges are about as steep. With `rim`, where the paper may end within the
    picture, what runs along the rim is the digit only if there is nothing else.
    """
    mask = ink_mask(amount, threshold(amount, least))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    steep = steepness(amount)
    sharp = np.bincount(labels.ravel(), weights=steep.ravel(), minlength=count)
    edge = np.bincount(labels.ravel(), weights=np.sqrt(steep).ravel(), minlength=count)
    x, y, w, h, area = boxes.T
    sharp[area <= DUST] = 0
    sharp[0] = 0  # the paper
    contrast = sharp / np.maximum(edge, 1e-6)  # mean steepness, gray levels a pixel
    first = int(np.argmax(sharp * contrast))
    if rim:
        along = along_rim(labels, boxes)
        elsewhere = int(np.argmax(np.where(along, 0, sharp * contrast)))
        if along[first] and sharp[elsewhere] > 0 and edge[elsewhere] > 0.1 * edge[first]:
            first = elsewhere
        if not along[first]:
            edge[along] = 0
    if sharp[first] == 0:
        return np.zeros_like(mask), 0.0
    gap = np.maximum(
        np.maximum(x - (x[first] + w[first]), x[first] - (x + w)),
        np.maximum(y - (y[first] + h[first]), y[first] - (y + h)),
    )
    near = gap < 0.25 * max(w[first], h[first])
    chosen = (edge > np.where(near, 0.06, 0.4) * edge[first]) & (area > 0.02 * area[first])
    chosen &= contrast > AS_SHARP * contrast[first]
    chosen[0] = False
    return chosen[labels].astype(np.uint8), float(sharp[first])


def along_rim(labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which pieces are long, thin, nearly all beside the picture's edge, as that of a sheet is."""
    height, width = labels.shape
    inside = np.zeros(labels.shape, bool)
    down, across = round(BESIDE * height), round(BESIDE * width)
    inside[down : height - down, across : width - across] = True
    within = np.bincount(labels[inside], minlength=len(boxes))
    _, _, w, h, area = boxes.T
    long = np.maximum(w / width, h / height) > 0.4
    thin = area < 0.06 * min(height, width) * (w + h)
    along = (within < 0.15 * area) & long & thin
    along[0] = False
    return along
