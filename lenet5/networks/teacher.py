"""The teacher of `--teacher`: larger than LeNet-5."""

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks.definition import LeNet5, init_he
from lenet5.networks.fast_forward import convolve_and_pool


class Teacher(nn.Module):
    """Not a LeNet-5: a larger network of today, from which `--teacher` lets LeNet-5 learn.

    N×1×32×32 to N×10 logits; 131,722 parameters, 27 times the multiplications
    of LeNet-5. Four convolutions with batch normalisation (Ioffe and Szegedy,
    2015), and the mean of each map (global average pooling) before the outputs.
    """

    arch = "teacher"
    reads, special = "28×28", "teaches lenet5: batch norm, 3×3"
    mean, std = LeNet5.mean, LeNet5.std

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(1, 32, kernel_size=5), nn.BatchNorm2d(32)
        self.c2, self.n2 = nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.c3, self.n3 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.c4, self.n4 = nn.Conv2d(64, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128)
        self.output = nn.Linear(128, num_classes)
        self.apply(init_he)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, 2:-2, 2:-2]  # N×1×28×28: without the background around it
        # Batch normalisation after the pooling has a quarter of the work.
        x = F.relu(self.n1(convolve_and_pool(self.c1, x)))  # N×32×24×24, N×32×12×12
        x = F.relu(self.n2(self.c2(x)))  # N×64×12×12
        x = F.relu(self.n3(F.max_pool2d(self.c3(x), 2)))  # N×64×12×12, N×64×6×6
        x = F.relu(self.n4(F.max_pool2d(self.c4(x), 2)))  # N×128×6×6, N×128×3×3
        return self.output(x.mean(dim=(2, 3)))  # N×10
