"""The finder: shapes, size, and the same answers with its normalisation folded into its kernels."""

import numpy as np
import pytest
import torch

from lenet5.networks.finder import PRETRAINED, Finder, FinderNetwork, normalised
from lenet5.networks.weights import read_state_dict
from lenet5.runtime.errors import UserError
from tests.conftest import PRETRAINED as READER


def test_the_shipped_finder_answers_as_the_network_that_was_trained(find):
    net = Finder().eval()
    net.load_state_dict(read_state_dict(PRETRAINED)[0])
    assert sum(p.numel() for p in net.parameters()) == 59_496
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 96), dtype=np.uint8)
    with torch.inference_mode():
        expected = net(torch.from_numpy(pictures) / 255).sigmoid().numpy()
    found = find(pictures)
    assert (found.shape, found.dtype) == ((2, 2, 48, 96), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pictures_of_a_batch_do_not_mix(find):
    pictures = np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    alone = np.concatenate([find(picture[None]) for picture in pictures])
    np.testing.assert_allclose(find(pictures), alone, atol=1e-5)


def test_contrast_and_brightness_hardly_matter():
    pictures = torch.rand(2, 3, 16, 16)
    assert torch.allclose(normalised(pictures * 0.5 + 0.2), normalised(pictures), atol=0.2)
    assert not normalised(torch.full((1, 3, 16, 16), 0.7)).abs().gt(1e-4).any()  # no contrast at all


@pytest.mark.parametrize("path", ["none.pth", READER])
def test_weights_that_are_no_finders_are_one_line(path):
    with pytest.raises(UserError):
        FinderNetwork(path)
