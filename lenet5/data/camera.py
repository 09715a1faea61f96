"""What light, a camera and a file do to made-up pictures."""

import io
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lenet5.data.dice import Dice

FEWEST = 8  # pixels of a digit


def camera(picture: torch.Tensor, dice: Dice, size: torch.Tensor) -> torch.Tensor:
    """The picture in uneven light, with a shadow, out of focus, in few pixels, with noise and JPEG.

    `size`, N×1×1, is the digit's, as a share of the longer side: no blur is so wide that it is lost.
    """
    light = 1 + dice.noise(2) * dice.uniform(0, 0.2) * dice.chance(0.6)
    edge = dice.distance_to_line(dice.uniform(0, 2 * math.pi), dice.uniform(-0.4, 0.4))
    shade = dice.uniform(0.1, 0.6) * dice.chance(0.2)
    shadow = 1 - torch.sigmoid(edge / dice.log_uniform(0.5, 20)) * shade
    picture = picture * (light * shadow)[:, None].clamp(0.1, 1.8)
    spot = dice.distance_to_box(dice.uniform(-0.5, 0.5), dice.uniform(-0.5, 0.5), 0.01, 0.01, 0)
    glare = torch.exp(-spot.square() / dice.log_uniform(30, 600)) * dice.chance(0.06)
    picture = picture.lerp(torch.ones_like(picture), 0.9 * glare[:, None])
    widest = (0.09 * size * dice.longer).clamp(0.4, 6)
    sigma = torch.exp(dice.uniform(0, 1) * (widest / 0.3).log()) * 0.3 * dice.chance(0.7)
    # As out of focus as a small print in a telephone's photograph.
    sigma = torch.where(dice.chance(0.2) > 0, widest * dice.uniform(0.6, 1.1), sigma)
    picture = blurred(picture, sigma)
    # Half of the pictures have fewer pixels than the finder sees.
    ends = [0, dice.count // 2, 3 * dice.count // 4, dice.count - dice.tiny, dice.count]
    spans = torch.tensor([1.2, 3.0, 6.0])
    fewer = torch.tensor([1.2, 1.2, 5.0]) + torch.rand(3, generator=dice.generator) * spans
    parts = []
    for (start, end), factor in zip(pairwise(ends), (1.0, *fewer.tolist()), strict=True):
        if start == end:
            continue
        rows = slice(start, end)
        factor = max(1.0, min(factor, float(size[rows].median()) * dice.longer / FEWEST))
        coarse = F.interpolate(
            picture[rows], scale_factor=1 / factor, mode="area", recompute_scale_factor=True
        )
        # A camera's sharpening leaves halos.
        amount = (dice.uniform(0, 2.5) * dice.chance(0.3))[rows, ..., None]
        coarse = coarse + (coarse - blurred(coarse, dice.uniform(0.6, 2.0)[rows])) * amount
        noise = torch.randn(coarse.shape, generator=dice.generator)
        coarse = coarse + noise * (dice.uniform(0, 0.05) * dice.chance(0.5))[rows, ..., None]
        # Thin ink on a sheet of many pixels is faint when the sheet is reduced.
        squeeze = torch.where(dice.chance(0.07) > 0, dice.log_uniform(0.06, 0.5), 1.0)[rows, ..., None]
        mean = coarse.mean(dim=(1, 2, 3), keepdim=True)
        coarse = mean + (coarse - mean) * squeeze
        coarse = as_jpeg(coarse.clamp(0, 1), dice.generator)
        parts.append(F.interpolate(coarse, picture.shape[2:], mode="bilinear", align_corners=False))
    return torch.cat(parts)


def bilevel(picture: torch.Tensor, writing: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Some pictures as scanners of one bit give them, in few pixels or many."""
    luma = picture.mean(dim=1)
    amount = writing.sum(dim=(1, 2), keepdim=True)
    ink = (luma * writing).sum(dim=(1, 2), keepdim=True) / amount.clamp(min=1)
    paper = (luma * (1 - writing)).mean(dim=(1, 2), keepdim=True) / (1 - writing).mean(
        dim=(1, 2), keepdim=True
    ).clamp(min=0.01)
    black = (luma > (ink + paper) / 2).float()
    softer = F.avg_pool2d(black[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    black = torch.where(dice.chance(0.5) > 0, softer, black)
    there = dice.chance(0.06) * (amount > 1) * ((ink - paper).abs() > 0.1)
    return torch.where(there[..., None] > 0, black[:, None], picture)


def blurred(picture: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of N×3×H×W with a deviation of pixels for each, N×1×1."""
    count, channels = picture.shape[:2]
    reach = min(max(1, math.ceil(2.5 * float(sigma.max()))), min(picture.shape[2:]) - 1)
    taps = torch.arange(-reach, reach + 1.0)
    kernel = torch.exp(-0.5 * (taps / sigma.reshape(-1, 1).clamp(min=0.05)).square())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = F.pad(picture, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    return flat.reshape(picture.shape)


def as_jpeg(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """8-bit pixels; a quarter of the pictures as JPEG leaves them."""
    pixels = (picture * 255).round().byte()
    qualities = torch.randint(-225, 90, (len(picture),), generator=generator).tolist()
    for i, quality in enumerate(qualities):
        if quality >= 15:
            file = io.BytesIO()
            Image.fromarray(pixels[i].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
            pixels[i] = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    return pixels.float() / 255
