"""Warps, strokes and low resolution, beside PyTorch's own functions and direct computations."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lenet5.data.augmentation import (
    AUGMENTATIONS,
    KNOTS,
    Augmentation,
    clamp_grid,
    knot_weights,
    low_resolution,
    random_strokes,
    random_warps,
    vary_strokes,
    warp,
)
from lenet5.imaging.centring import bounding_box


def warps(count=10_000, name=None, seed=0, **limits):
    """Random warps of 32×32 images with these limits, all others 0."""
    nothing = {"rotation": 0, "shift": 0, "scale": 0, "shear": 0}
    amount = AUGMENTATIONS[name] if name else Augmentation(**(nothing | limits))
    return random_warps(count, amount, 32, torch.Generator().manual_seed(seed))


def test_warp_is_affine_grid_and_grid_sample():
    images, maps = torch.randn(7, 1, 32, 32), warps(7, "affine-strong")
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    theirs = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(warp(images, maps), theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(warp(images, warps(7)), images, rtol=1e-4, atol=1e-5)  # the identity
    # No grey frame: the border keeps the background's level, whatever the normalisation.
    flat = torch.full((7, 1, 32, 32), -0.42)
    torch.testing.assert_close(warp(flat, maps), flat)


def test_border_padding_by_a_clamped_grid():
    """What MPS gets, against grid_sample's own padding."""
    images, grid = torch.randn(4, 1, 20, 24), torch.rand(4, 20, 24, 2) * 4 - 2
    theirs = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    ours = F.grid_sample(images, clamp_grid(grid), align_corners=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_limits_of_the_warps():
    """Each parameter is uniform within its limit: its deviation is the limit over √3."""
    shifted = warps(shift=3.0)[:, :, 2] * 32 / 2  # pixels
    assert shifted.abs().max() <= 3
    assert shifted.std().item() == pytest.approx(3 / math.sqrt(3), rel=0.03)
    turned = warps(rotation=10.0)
    torch.testing.assert_close(torch.linalg.det(turned[:, :, :2]), torch.ones(10_000))
    angles = torch.rad2deg(torch.atan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert 9.9 < angles.abs().max() <= 10.001
    factor = 1 / warps(scale=0.1)[:, 0, 0]
    assert math.exp(-0.1) <= factor.min() < 0.91
    assert 1.1 < factor.max() <= math.exp(0.1)
    sheared = warps(shear=0.2)
    assert 0.19 < sheared[:, 0, 1].abs().max() <= 0.2
    assert torch.equal(sheared[:, 1, 0], torch.zeros(10_000))
    squeezed = warps(squeeze=0.2)  # wider by as much as lower
    across, down = squeezed[:, 0, 0], squeezed[:, 1, 1]
    torch.testing.assert_close(across * down, torch.ones(10_000))
    assert across.log().abs().max() <= 0.2
    assert across.log().std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.03)


def test_a_shift_moves_an_image_by_pixels():
    images = torch.randn(1, 1, 32, 32)
    maps = torch.tensor([[[1.0, 0.0, 2 * 3 / 32], [0.0, 1.0, 0.0]]])  # 3 pixels, as random_warps scales
    torch.testing.assert_close(warp(images, maps)[..., :-3], images[..., 3:], rtol=1e-4, atol=1e-5)


def test_the_papers_distortions_leave_a_tenth_of_the_images():
    maps = warps(name="1998")
    left_alone = (maps == torch.eye(2, 3)).all(dim=2).all(dim=1)
    # 60,000 of 600,000, with a deviation of 0.3 %.
    assert left_alone.float().mean().item() == pytest.approx(0.1, abs=0.012)
    # Translation, scaling, squeezing and horizontal shear, but no rotation: rows stay level.
    assert maps[:, 1, 0].eq(0).all()


def test_warps_are_seeded_and_differ_from_image_to_image():
    first, again, other = (warps(100, "affine", seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique(dim=0)) == 100


def test_a_knot_moves_its_neighbourhood_alone():
    middle = knot_weights(33, 33, torch.device("cpu"))[:, KNOTS**2 // 2].reshape(33, 33)
    # 33 pixels and 5 knots: one at every eighth pixel, the middle one at pixel 16.
    assert middle[16, 16].item() == pytest.approx(1)
    for other in (0, 8, 24, 32):
        assert middle[other].abs().max() < 1e-6
    assert middle[16, 12].item() == pytest.approx(middle[16, 20].item(), abs=1e-6)
    assert 0.4 < middle[16, 12] < 0.7


def test_an_elastic_distortion_is_measured_in_pixels():
    maps = warps(2_000, elastic=1.5)
    moves = maps[:, :, 3:] * 32 / 2
    assert moves.shape == (2_000, 2, KNOTS**2)
    assert moves.std().item() == pytest.approx(1.5, rel=0.01)
    assert torch.equal(maps[:, :, :3], torch.eye(2, 3).expand(2_000, 2, 3))
    images = torch.randn(1, 1, 32, 32).expand(20, 1, 32, 32)
    assert len(warp(images, maps[:20]).unique(dim=0)) == 20


def test_strokes_and_blur_against_a_direct_computation():
    images = torch.rand(5, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    strokes = [[0.0, 0.0, 0], [0.6, 0.0, 0], [-0.4, 0.0, 0], [0.0, 0.5, 0], [-0.7, 0.9, 0]]
    ours = vary_strokes(images, torch.tensor(strokes))
    for n, (stroke, blur, _) in enumerate(strokes):
        drawn = torch.empty(9, 8)
        for y in range(9):
            for x in range(8):
                around = images[n, 0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                most = around.max() if stroke > 0 else around.min()
                drawn[y, x] = images[n, 0, y, x] + abs(stroke) * (most - images[n, 0, y, x])
        for y in range(9):
            for x in range(8):
                mean = drawn[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean()
                expected = (1 - blur) * drawn[y, x] + blur * mean
                assert ours[n, 0, y, x].item() == pytest.approx(expected.item(), abs=1e-6)


def test_coarse_pixels_are_means_that_are_enlarged_again():
    """Against PyTorch's own pooling and enlargement: 40 pixels a side become 16."""
    images = torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(F.adaptive_avg_pool2d(images, 16), 40, mode="bilinear")
    ours = vary_strokes(images, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(ours[[0, 2]], wanted[[0, 2]])
    assert torch.equal(ours[1], images[1])


def test_random_strokes_stay_in_their_limits():
    amount = Augmentation(0, 0, 0, 0, stroke=0.7, blur=0.6, coarse=0.2)
    strokes = random_strokes(30_000, amount, torch.Generator().manual_seed(0))
    assert strokes[:, 0].abs().max() <= 0.7
    assert strokes[:, 0].mean().abs() < 0.01
    assert strokes[:, 1].min() >= 0
    assert 0.55 < strokes[:, 1].max() <= 0.6
    assert (strokes[:, 1] > 0).float().mean() == pytest.approx(1 / 3, abs=0.01)
    assert set(strokes[:, 2].tolist()) == {0.0, 1.0}
    assert strokes[:, 2].mean() == pytest.approx(0.2, abs=0.01)
    assert random_strokes(3, AUGMENTATIONS["elastic"], torch.Generator()) is None


def test_digits_in_few_pixels_are_stretched(mnist):
    chosen = mnist.train_images[:300]
    ours = low_resolution(chosen, seed=0)
    assert (ours.shape, ours.dtype) == (chosen.shape, torch.uint8)
    assert torch.equal(ours, low_resolution(chosen, seed=0))
    assert not torch.equal(ours, low_resolution(chosen, seed=1))

    def aspects(images):
        boxes = [bounding_box(image.astype(np.float32)) for image in images.numpy()]
        return np.array([(right - left) / (bottom - top) for left, top, right, bottom in boxes])

    before, after = aspects(chosen), aspects(ours)
    slim = before < 0.35
    assert slim.sum() > 10
    # Half of the height and more; soft edges and whole pixels of 8 take and give some.
    assert (after[slim] > 0.35).all()
    assert after[slim].mean() > 0.5
    assert (after[before > 0.85] > 0.65).all()  # what is wide is not made slim
    blank = torch.zeros(1, 28, 28, dtype=torch.uint8)
    assert torch.equal(low_resolution(blank, seed=0), blank)
