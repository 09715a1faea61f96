"""Pictures as inputs of the network."""

import pytest
import torch

from lenet5.imaging.inputs import Inputs, to_input, to_pixels


def test_to_input_and_back():
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8)
    inputs = to_input(images, 0.1307, 0.3081)
    assert inputs.shape == (5, 1, 32, 32)
    assert inputs.dtype == torch.float32
    by_hand = (images[3, 10, 20].item() / 255 - 0.1307) / 0.3081
    assert inputs[3, 0, 12, 22].item() == pytest.approx(by_hand, abs=1e-6)
    background = -0.1307 / 0.3081
    assert inputs[:, :, :2].flatten().tolist() == pytest.approx([background] * 5 * 2 * 32)
    pixels = to_pixels(inputs, 0.1307, 0.3081)[:, 2:-2, 2:-2]
    assert torch.equal((pixels * 255).round().to(torch.uint8), images)
    beyond = torch.tensor([-9.0, 0.0, 1.0, 9.0]).view(1, 1, 2, 2)
    assert to_pixels(beyond, 0.5, 0.25).tolist() == [[[0, 0.5], [0.75, 1]]]


def test_inputs_are_those_of_the_whole_set():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (11, 28, 28), generator=generator).to(torch.uint8)
    inputs, whole = Inputs(pictures, 0.25, 0.5), to_input(pictures, 0.25, 0.5)
    assert (len(inputs), inputs.shape, inputs.device) == (11, whole.shape, whole.device)
    for index in (slice(None), slice(3, 7), slice(0, 0), torch.tensor([5, 0, 5])):
        assert torch.equal(inputs[index], whole[index])
    part, wanted = inputs.narrow(0, 2, 7), whole.narrow(0, 2, 7)
    for mine, theirs in zip(part.split(3), wanted.split(3), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(inputs.of(pictures.flip(0))[:], whole.flip(0))
    assert part.pictures.data_ptr() == pictures[2:].data_ptr()  # nothing was copied
