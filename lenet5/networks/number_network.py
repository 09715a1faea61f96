"""The network of whole numbers: LeNet-5 with C5 as a convolution and more maps."""

from torch import nn

from lenet5.networks.definition import LeNet5Conv, init_he


class LeNet5Wide(LeNet5Conv):
    """`LeNet5Conv` with 16, 32, 96 and 84 maps in place of 6, 16, 120 and 84.

    A window of a strip holds a digit at any place, size and slant beside parts of others: that takes
    more kernels than a digit that is centred (docs/experiments.md).
    """

    arch = "lenet5-wide"
    special = "more maps, for whole numbers"

    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.c1 = nn.Conv2d(1, 16, kernel_size=5)  # 416 parameters
        self.c3 = nn.Conv2d(16, 32, kernel_size=5)  # 12,832
        self.c5 = nn.Conv2d(32, 96, kernel_size=5)  # 76,896
        self.f6 = nn.Linear(96, 84)  # 8,148
        self.apply(init_he)
