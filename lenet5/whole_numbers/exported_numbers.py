"""The network of numbers of an .onnx file, run by onnxruntime."""

from __future__ import annotations

import numpy as np

from lenet5.imaging.mnist_format import STRIP_HEIGHT
from lenet5.reading.onnx_backend import INPUT, OUTPUT, ExportedFile
from lenet5.whole_numbers.windows import strip_input, window_count

WIDE = 40  # pixels of a strip to try


class ExportedNumbers(ExportedFile):
    """What `TrainedNumbers` is with PyTorch: see `ExportedFile`."""

    def __init__(self, path, arch: str | None = None, device: str = "auto"):
        super().__init__(path, arch, device)
        shape = 2, window_count(WIDE), len(self.metadata["classes"])
        self.check(self.logits, (2, STRIP_HEIGHT, WIDE), shape)

    def logits(self, strips: np.ndarray) -> np.ndarray:
        """N×T×11 float32 logits of the windows of N×32×W uint8 strips."""
        inputs = strip_input(strips, self.metadata["mean"], self.metadata["std"])
        return self.session.run([OUTPUT], {INPUT: inputs})[0]
