"""Augmentation of whole batches: random warps and strokes."""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lenet5.imaging.centring import bounding_box, centre_digit
from lenet5.imaging.mnist_format import SIDE


def low_resolution(images: torch.Tensor, seed: int) -> torch.Tensor:
    """N×28×28 uint8 digits, reduced to 8 to 12 pixels a side and centred again.

    Data sets of so few pixels often stretch every digit to one box, and a 1 becomes a broad
    bar (NIST's form-based handprint system, 1994: 20×32 pixels). A digit gets the picture's
    full height and 0.5 to 0.8 of its width, or more where the digit is wider.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for image in images.numpy():
        left, top, right, bottom = bounding_box(image.astype(np.float32)) or (0, 0, SIDE, SIDE)
        digit = image[top:bottom, left:right]
        side, stretched = int(rng.integers(8, 13)), rng.uniform(0.5, 0.8)
        width = min(side, round(side * max(stretched, digit.shape[1] / digit.shape[0])))
        small = Image.fromarray(digit).resize((width, side), Image.Resampling.BILINEAR)
        pictures.append(centre_digit(np.asarray(small, np.float32)))
    return torch.from_numpy(np.stack(pictures))


class Augmentation(NamedTuple):
    """Limits of the random changes to a training image, in either direction."""

    rotation: float  # degrees
    shift: float  # pixels
    scale: float  # natural logarithm: 0.1 is 10 % larger or smaller
    shear: float  # how far a row moves sideways for each row further down
    squeeze: float = 0.0  # natural logarithm: wider by as much as lower, or the reverse
    share: float = 1.0  # of the images; the others stay as they are
    elastic: float = 0.0  # pixels, standard deviation
    stroke: float = 0.0  # wider or thinner, as a share of one pixel on each side
    blur: float = 0.0  # as a share of the mean over 5×5 pixels
    coarse: float = 0.0  # share of the images reduced to COARSE of their pixels a side and enlarged


STROKES = {"stroke": 0.7, "blur": 0.7, "coarse": 0.1}
ELASTIC = Augmentation(rotation=8.0, shift=1.5, scale=0.08, shear=0.1, elastic=0.8)
ELASTIC_MILD = Augmentation(rotation=6.0, shift=1.0, scale=0.06, shear=0.08, elastic=0.6)
# Chosen on validation images: benchmarks/tune.py recipe, table in docs/results.md.
AUGMENTATIONS = {
    "none": None,
    "affine": Augmentation(rotation=8.0, shift=1.5, scale=0.08, shear=0.1),
    "affine-strong": Augmentation(rotation=15.0, shift=2.0, scale=0.15, shear=0.2),
    # The paper's distortions (section III.A; amounts are ours) for 9 of 10 patterns, as there.
    "1998": Augmentation(rotation=0.0, shift=1.5, scale=0.1, shear=0.2, squeeze=0.1, share=0.9),
    "elastic": ELASTIC,
    "elastic-mild": ELASTIC_MILD,
    "elastic-centred": ELASTIC._replace(shift=0.7),
    "elastic-strong": Augmentation(rotation=10.0, shift=1.5, scale=0.1, shear=0.15, elastic=1.2),
    "pens": ELASTIC._replace(**STROKES),
    "pens-mild": ELASTIC_MILD._replace(**STROKES),
}
COARSE = 0.4  # of a side's pixels: a digit of 20 becomes one of 8, as in the smallest pictures
KNOTS = 5  # a side: an elastic distortion moves 5×5 points and interpolates between them


def random_warps(
    count: int, amount: Augmentation, side: int, generator: torch.Generator
) -> torch.Tensor:
    """`count` random warps of side×side images, for `warp`.

    Affine warps are count×2×3, as for `F.affine_grid`, each parameter uniform. Elastic ones
    are count×2×(3 + KNOTS²): the affine part, then each knot's normally distributed
    displacement in x and y, after Simard, Steinkraus, Platt, "Best Practices for
    Convolutional Neural Networks", 2003, who smooth a displacement of every pixel
    instead. Drawn on the CPU: a seed means the same on every device.
    """

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(amount.rotation))
    size = uniform(amount.scale).exp()
    shear = uniform(amount.shear)
    # affine_grid measures in half sides: the image spans -1 to 1.
    x, y = uniform(2 * amount.shift / side), uniform(2 * amount.shift / side)
    # Rotation, then shear, over the scale: the map from where a pixel goes to where it comes from.
    cos, sin = angle.cos() / size, angle.sin() / size
    top = torch.stack([cos, shear * cos - sin, x], dim=1)
    bottom = torch.stack([sin, shear * sin + cos, y], dim=1)
    if amount.squeeze:
        squeeze = uniform(amount.squeeze).exp()[:, None]
        top, bottom = top * squeeze, bottom / squeeze
    warps = torch.stack([top, bottom], dim=1)
    if amount.elastic:
        moves = torch.randn(count, 2, KNOTS * KNOTS, generator=generator)
        warps = torch.cat([warps, moves * (2 * amount.elastic / side)], dim=2)
    if amount.share < 1:
        unchanged = torch.rand(count, generator=generator) >= amount.share
        warps[unchanged] = torch.eye(2, warps.shape[2])
    return warps


def warp(images: torch.Tensor, warps: torch.Tensor) -> torch.Tensor:
    """N×1×H×W images under N×2×K warps of `random_warps`: bilinear, with the edges repeated."""
    count, _, height, width = images.shape
    # For K = 3 the same as F.affine_grid, which takes five times as long for small images.
    points = pixel_centres(height, width, images.device)
    if warps.shape[2] > 3:
        points = torch.cat([points, knot_weights(height, width, images.device)], dim=1)
    grid = (points @ warps.reshape(count * 2, -1).T).reshape(height, width, count, 2)
    grid = grid.permute(2, 0, 1, 3)
    if images.device.type == "mps":  # has no border padding before torch 2.13
        return F.grid_sample(images, clamp_grid(grid), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def random_strokes(count: int, amount: Augmentation, generator: torch.Generator) -> torch.Tensor | None:
    """count×3 random amounts for `vary_strokes`: stroke, blur, coarse; None if all limits are 0.

    The stroke is uniform, so is the blur of every third image; coarse is 1 or 0.
    """
    if not amount.stroke and not amount.blur and not amount.coarse:
        return None
    stroke, blur, coarse = torch.rand(3, count, generator=generator)
    stroke = (stroke * 2 - 1) * amount.stroke
    blur = (blur * 3 - 2).clamp(min=0) * amount.blur
    return torch.stack([stroke, blur, (coarse < amount.coarse).float()], dim=1)


def vary_strokes(images: torch.Tensor, strokes: torch.Tensor) -> torch.Tensor:
    """N×1×H×W images of bright ink with wider, thinner, softer or coarser strokes.

    `strokes` is N×3, from `random_strokes`. A stroke s > 0 blends in the maximum of 3×3
    neighbours (dilation), s < 0 the minimum (erosion).
    """
    stroke, blur, coarse = strokes.unbind(1)
    amount = stroke.reshape(-1, 1, 1, 1)
    # The minimum is the negative maximum of the negative picture.
    sign = torch.where(amount > 0, 1.0, -1.0)
    signed = images * sign
    images = signed.lerp(neighbourhood_max(signed), amount.abs()) * sign
    for resample, share in ((box_blur_matrix, blur), (coarse_matrix, coarse)):
        places = share.nonzero().squeeze(1)  # a third of the images are blurred, a tenth coarse
        chosen = images[places]
        down, across = (resample(side, images.device) for side in images.shape[2:])
        softer = chosen.lerp(down @ chosen @ across.T, share[places].reshape(-1, 1, 1, 1))
        images = images.index_copy(0, places, softer)
    return images


def neighbourhood_max(images: torch.Tensor) -> torch.Tensor:
    """The maximum of each pixel's 3×3 neighbourhood in N×1×H×W images."""
    # Slices of a padded image, since F.max_pool2d takes 16 times as long here: benchmarks/step.py.
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 2:]), padded[:, :, 1:-1])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 2:]), rows[..., 1:-1])


@functools.lru_cache(maxsize=8)
def box_blur_matrix(side: int, device: torch.device) -> torch.Tensor:
    """side×side matrix that averages up to five neighbours, fewer at the edges."""
    place = torch.arange(side)
    near = ((place - place[:, None]).abs() <= 2).float()
    return (near / near.sum(dim=1, keepdim=True)).to(device)


@functools.lru_cache(maxsize=8)
def coarse_matrix(side: int, device: torch.device) -> torch.Tensor:
    """side×side matrix that averages pixels into coarse ones and enlarges these again."""
    coarse = F.adaptive_avg_pool1d(torch.eye(side), round(COARSE * side))
    return F.interpolate(coarse[None], side, mode="linear").squeeze(0).T.contiguous().to(device)


def clamp_grid(grid: torch.Tensor) -> torch.Tensor:
    """An N×H×W×2 sampling grid clamped to the outermost pixels' centres."""
    height, width = grid.shape[1:3]
    limit = torch.tensor([1 - 1 / width, 1 - 1 / height], device=grid.device)
    return grid.clamp(-limit, limit)


@functools.lru_cache(maxsize=8)
def pixel_centres(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(x, y, 1) of every pixel's centre, (height·width)×3, in an image that spans -1 to 1."""
    x = (torch.arange(width, device=device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=device) * 2 + 1) / height - 1
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    return torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)


@functools.lru_cache(maxsize=8)
def knot_weights(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(height·width)×KNOTS² weights of each knot in each pixel's displacement: bicubic upsampling."""
    knots = torch.eye(KNOTS * KNOTS).reshape(-1, 1, KNOTS, KNOTS)
    weights = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
    return weights.reshape(KNOTS * KNOTS, -1).T.contiguous().to(device)
