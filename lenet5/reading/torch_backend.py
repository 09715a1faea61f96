"""The back end of PyTorch: 28×28 pictures to logits; `onnx_backend.py` does without PyTorch."""

from __future__ import annotations

import os

import numpy as np
import torch

from lenet5.evaluation.metrics import compute_logits
from lenet5.imaging.inputs import Inputs, to_input
from lenet5.networks.devices import pick_device
from lenet5.networks.finder import FinderNetwork
from lenet5.networks.weights import load_weights
from lenet5.runtime import distributed

# Pictures at a time: few enough to stay in the cache together with the inputs that they become.
BATCH_SIZE = 250


class TrainedNetwork:
    """The network `net` of a weights file on a device, with its `metadata` (`load_weights`).

    Raises UserError for weights that cannot be used and a device that is not there.
    """

    def __init__(self, path, arch: str | None = None, device: str = "auto"):
        self.path = os.fspath(path)
        self.device = distributed.own_device(pick_device(device))
        self.net, self.metadata = load_weights(self.path, arch)
        self.net.to(self.device)
        self.arch = self.net.arch

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """The network's N×1×32×32 inputs of N×28×28 uint8 pictures, on its device."""
        return to_input(images.to(self.device), self.metadata["mean"], self.metadata["std"])

    def logits(self, images: torch.Tensor | np.ndarray) -> torch.Tensor:
        """N×classes float32 logits on the CPU of N×28×28 uint8 pictures."""
        if isinstance(images, np.ndarray):
            # PyTorch has no tensors that must not be written to, or that are read backwards.
            images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        inputs = Inputs(images.to(self.device), self.metadata["mean"], self.metadata["std"])
        return compute_logits(self.net, inputs, BATCH_SIZE)

    def load_finder(self) -> FinderNetwork:
        """The finder on the same device."""
        return FinderNetwork(device=self.device)

    @staticmethod
    def softmax(logits: torch.Tensor) -> np.ndarray:
        """N×classes probabilities of its logits."""
        return logits.softmax(dim=1).numpy()
