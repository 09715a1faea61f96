"""The finder: a small fully convolutional network that marks a digit's ink in a picture.

After Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", 2015: four levels, each at half the resolution of the one above, and back.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from lenet5.networks.weights import read_state_dict
from lenet5.runtime.errors import UserError, reason
from lenet5.runtime.project_files import project_file

PRETRAINED = project_file("pretrained/finder.pth")
WIDTHS = (12, 18, 24, 34)  # channels of each level
LEAST_DEVIATION = 0.02  # is added to a picture's, so that noise on blank paper stays faint


class ConvBlock(nn.Sequential):
    """3×3 convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, out: int):
        super().__init__(
            nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )

    def fold(self) -> None:
        """Take the batch normalisation into the convolution, which gives the same in less time."""
        convolution, norm, _ = self
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self[0], self[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class Finder(nn.Module):
    """N×3×H×W pictures in [0, 1], H and W multiples of 16, to N×2×H×W logits.

    The first output is the ink of the digit that is meant, the second that of all writing.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        a, b, c, d = widths
        # Every 2×2 pixels are one place of the first level, and 2×2 logits come out of it.
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvBlock(12, a))
        self.down = nn.ModuleList(
            nn.Sequential(ConvBlock(i, o), ConvBlock(o, o)) for i, o in ((a, a), (a, b), (b, c), (c, d))
        )
        self.up = nn.ModuleList(ConvBlock(i + o, o) for i, o in ((d, c), (c, b), (b, a)))
        self.output = nn.Sequential(nn.Conv2d(a, 8, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(normalised(x))
        levels = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            levels.append(x)
        # What the whole picture is like helps to tell the digit from the rest.
        x = x + x.mean(dim=(2, 3), keepdim=True)
        for block, skip in zip(self.up, levels[-2::-1], strict=True):
            x = block(torch.cat([skip, F.interpolate(x, scale_factor=2.0)], dim=1))
        return self.output(x)


def normalised(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures with mean 0 and deviation 1 each, so that faint ink counts as much as strong."""
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    deviation = (pictures - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return (pictures - mean) / (deviation + LEAST_DEVIATION)


class FinderNetwork:
    """The finder of a weights file on a device, as the pre-processing wants it.

    Raises UserError for weights that cannot be used.
    """

    def __init__(self, path=PRETRAINED, device: str | torch.device = "cpu"):
        net = Finder()
        try:
            net.load_state_dict(read_state_dict(path)[0])
        except RuntimeError as error:
            raise UserError(f"{path} holds no finder's weights: {reason(error)[:200]}") from error
        for block in net.eval().modules():
            if isinstance(block, ConvBlock):
                block.fold()
        self.net = net.to(memory_format=torch.channels_last).to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """N×3×H×W uint8 pictures to N×2×H×W float32 from 0 to 1: the digit's ink, and all writing."""
        pixels = torch.from_numpy(np.require(pictures, requirements=["C", "W"]))
        inputs = pixels.to(self.device).float() / 255
        return self.net(inputs).sigmoid().cpu().numpy()
