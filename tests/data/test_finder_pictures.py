"""Made-up pictures for the finder: distances by geometry, masks that cover the ink."""

import numpy as np
import pytest
import torch

from lenet5.data.camera import blurred
from lenet5.data.finder_pictures import make_pictures, make_textures
from lenet5.data.found_digits import found_digits, overlap
from lenet5.data.glyphs import REACH, Pool, distances_to, signed_distances
from lenet5.data.skeletons import BOX, FIELD, LIT, SKELETONS, curve, field, skeleton_fields
from tests.data.conftest import small_pool


def test_distance_to_a_stroke_is_that_of_geometry():
    found = field([np.array([[16.5, 32.5], [48.5, 32.5]])])
    rows, columns = np.mgrid[:FIELD, :FIELD]
    beyond = np.maximum(np.maximum(16 - columns, columns - 48), 0)
    np.testing.assert_allclose(found, np.hypot(rows - 32, beyond), atol=1e-4)


def test_a_curve_passes_through_its_control_points():
    points = np.random.default_rng(0).uniform(0, 1, (5, 2))
    found = curve(points)
    assert np.abs(found[:, None] - points).sum(axis=2).min(axis=0).max() < 1e-9


@pytest.mark.parametrize("digit", range(10))
def test_every_digit_has_skeletons_that_fit_their_box(digit):
    assert SKELETONS[digit]
    assert LIT[digit]
    found = skeleton_fields(20, seed=1)[digit::10]
    rows, columns = (found < 1).any(axis=2), (found < 1).any(axis=1)
    longer = np.maximum(rows.sum(axis=1), columns.sum(axis=1))
    assert (rows.any(axis=1)).all()
    assert longer.min() >= BOX - 6
    assert longer.max() <= BOX + 3


def test_distances_are_those_of_a_brute_force_search():
    mask = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) < 0.01
    mask[:, 5, 5] = True
    places = torch.cartesian_prod(torch.arange(20), torch.arange(30)).float()
    for one, found in zip(mask, distances_to(mask), strict=True):
        all_distances = torch.cdist(places, one.nonzero().float()).min(dim=1).values
        torch.testing.assert_close(found.flatten(), all_distances.clamp(max=REACH))


def test_signed_distance_of_a_disc_is_that_of_geometry():
    y, x = np.mgrid[:64, :64] + 0.5 - 32
    away = np.hypot(x, y) - BOX / 2
    disc = torch.from_numpy((np.clip(0.5 - away, 0, 1) * 255).astype(np.uint8))[None]
    found = signed_distances(disc)[0].float().numpy()
    near = np.abs(away) < REACH - 1
    assert np.abs(found - away)[near].max() < 1.2
    assert np.abs(found - away)[np.abs(away) < 1].max() < 0.6


def test_blur_is_a_gaussian_of_each_picture():
    point = torch.zeros(2, 3, 41, 41)
    point[:, :, 20, 20] = 1
    found = blurred(point, torch.tensor([1.0, 3.0]).reshape(2, 1, 1))
    places = torch.arange(-20, 21.0)
    for sigma, picture in zip((1.0, 3.0), found, strict=True):
        spread = (picture.sum(dim=1) * places.square()).sum(dim=1).sqrt()
        torch.testing.assert_close(spread, torch.full((3,), sigma), rtol=0.1, atol=0)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return small_pool()


@pytest.mark.parametrize("size", [(96, 96), (96, 48), (64, 96)])
def test_pictures_and_masks_are_reproducible_and_in_range(pool, size):
    pictures, masks, _ = make_pictures(pool, 16, size, seed=3)
    assert pictures.shape == (16, 3, *size)
    assert masks.shape == (16, 2, *size)
    for part in (pictures, masks):
        assert part.min() >= 0
        assert part.max() <= 1 + 1e-6
    assert (masks[:, 1] >= masks[:, 0] - 1e-6).all()  # the digit is writing too
    again, _, _ = make_pictures(pool, 16, size, seed=3)
    assert torch.equal(pictures, again)
    other, _, _ = make_pictures(pool, 16, size, seed=4)
    assert not torch.equal(pictures, other)


def test_ink_differs_from_what_is_around_it(pool):
    """In most pictures the levels under the mask are not those beside it."""
    pictures, masks, _ = make_pictures(pool, 200, (96, 96), seed=0)
    differs = []
    for picture, (mask, writing) in zip(pictures, masks, strict=True):
        if mask.sum() > 100:
            beside = torch.nn.functional.max_pool2d(mask[None], 9, 1, 4)[0] - writing > 0.5
            apart = picture[:, mask > 0.9].mean(dim=1) - picture[:, beside].mean(dim=1)
            differs.append(bool(apart.abs().max() > 0.02))
    assert len(differs) > 100
    assert np.mean(differs) > 0.85


def test_textures_are_reproducible_and_differ():
    textures = make_textures(8, (64, 96), seed=1)
    assert textures.shape == (8, 3, 64, 96)
    assert textures.min() >= 0
    assert textures.max() <= 1
    assert torch.equal(textures, make_textures(8, (64, 96), seed=1))
    assert textures.std(dim=(1, 2, 3)).max() > 0.05


def test_overlap_of_coarse_digits_by_hand():
    digits = np.zeros((3, 28, 28), np.uint8)
    digits[0, 4:8, 4:8] = 100
    digits[1, 4:8, 8:12] = 100
    digits[2, 5, 4:8] = 200  # a shift inside of the same coarse pixel does not count
    others = np.repeat(digits[:1], 3, axis=0)
    np.testing.assert_allclose(overlap(digits, others), [1, 0, 2 * 800 / (1600 + 800)])
    assert overlap(np.zeros((1, 28, 28), np.uint8), digits[:1]) == 0


def test_found_digits_are_kept_in_a_file(pool, tmp_path, monkeypatch):
    images, labels = found_digits(pool, 150, 0, tmp_path)
    assert images.shape == (len(labels), 28, 28)
    assert images.dtype == torch.uint8
    assert images[labels >= 0].amax(dim=(1, 2)).min() > 0  # what is blank is no digit
    assert set(range(10)) < set(labels.tolist()) <= set(range(-1, 10))
    assert len(labels) > 50
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("lenet5.data.picture_workers.picture_workers", None)  # not called again
    for again, first in zip(found_digits(pool, 150, 0, tmp_path), (images, labels), strict=True):
        assert torch.equal(again, first)
