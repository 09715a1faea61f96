"""Read digits from pictures with a trained network."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lenet5.evaluation.confidence import kl_from_uniform, limits_of
from lenet5.imaging.mnist_format import SIDE
from lenet5.imaging.opening import ROW, PictureError, path_of
from lenet5.imaging.preprocess import INVERT, Finder, all_mnist_like, digits_of
from lenet5.reading.onnx_backend import ExportedNetwork
from lenet5.reading.results import Result
from lenet5.runtime.atomic_files import sha256_of
from lenet5.runtime.errors import UserError, one_line, say
from lenet5.runtime.project_files import project_file

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lenet5.reading.torch_backend import TrainedNetwork


WEIGHTS = "lenet5_model.pth"
PRETRAINED = project_file("pretrained/lenet5.pth")
LONGEST_NAME = 100  # characters of a path in a message


class ImageClassifier:
    """Reads pictures with the network of a weights file.

        classifier = ImageClassifier("lenet5_model.pth")
        classifier.predict("digit.png")                  # 7
        classifier.predict_batch(["a.png", "b.jpg"])     # two Results

    weights  a .pth file, or an exported .onnx file, which needs no PyTorch; by default
             lenet5_model.pth, else the pretrained weights
    device   "auto", "cpu", "cuda" or "mps"
    arch     the network's name, for weights without metadata
    invert   "auto", "yes" (dark ink) or "no" (bright ink)
    top_k    number of classes in `Result.top`
    reject   refuse blank, unsure and non-digit pictures, with limits that accept 99 % of the
             validation images

    Raises UserError for unusable weights and a missing device.
    """

    def __init__(
        self,
        weights: str | os.PathLike | None = None,
        *,
        device: str = "auto",
        arch: str | None = None,
        invert: str = "auto",
        top_k: int = 3,
        reject: bool = False,
    ):
        if invert not in INVERT:
            raise UserError(f"invert is {invert!r}, which is none of auto, yes and no")
        self.network: ExportedNetwork | TrainedNetwork
        if weights and os.fspath(weights).lower().endswith(".onnx"):
            self.network = ExportedNetwork(weights, arch, device)
        else:
            from lenet5.reading.torch_backend import TrainedNetwork  # imports PyTorch

            self.network = TrainedNetwork(weights or default_weights(), arch, device)
        self.weights, self.metadata = self.network.path, self.network.metadata
        names = self.metadata["classes"]
        self.classes = [int(n) if n.isascii() and n.isdigit() and str(int(n)) == n else n for n in names]
        self.invert, self.top_k = invert, min(checked_top_k(top_k), len(self.classes))
        self.temperature = self.metadata.get("temperature", 1.0)
        self.reject, self.limits = reject, limits_of(self.metadata)

    @property
    def name(self) -> str:
        """The network's name, and the file's name if it differs."""
        file, arch = os.path.basename(self.weights), str(self.network.arch)
        return arch if file == f"{arch}.pth" else f"{arch} ({file})"

    @property
    def trained(self) -> TrainedNetwork:
        """The network in PyTorch. Raises UserError for an exported one, which hides its layers."""
        if isinstance(self.network, ExportedNetwork):
            raise UserError(
                f"{self.weights} does not show its layers, which are wanted here: "
                "take the .pth that it was made from"
            )
        return self.network

    @property
    def net(self) -> nn.Module:
        """The PyTorch module."""
        return self.trained.net

    @functools.cached_property
    def finder(self) -> Finder:
        """The network that finds a digit's ink, loaded when the first picture needs it."""
        return self.network.load_finder()

    def find(self, pictures: np.ndarray) -> np.ndarray:
        """The ink in N×3×H×W uint8 pictures, N×2×H×W float32 from 0 to 1: see `preprocess.Finder`."""
        return self.finder(pictures)

    def identity(self) -> dict[str, str]:
        """What its answers depend on beside the picture: the weights, and the flags."""
        flags = f"arch={self.network.arch} invert={self.invert} reject={self.reject} top-k={self.top_k}"
        return {"weights": sha256_of(self.weights), "flags": flags}

    def predict(self, picture) -> int | str | None:
        """The class of any source that `open_picture` knows; None if `reject` refuses it.

        Raises PictureError for an unreadable picture.
        """
        return only_prediction(self.predict_batch([picture]))

    def predict_batch(self, pictures: Iterable, prepared: list[tuple] | None = None) -> list[Result]:
        """A Result for each source that `open_picture` knows; unreadable ones have their `error` set.

        `prepared` is `prepare(pictures)`, if another process has computed it.
        """
        pictures = several(pictures)
        if prepared is None:
            digits = all_mnist_like(pictures, self.find, self.invert)
        else:
            digits = digits_of(prepared, self.find, self.invert)
        results = []
        for picture, (image, error) in zip(pictures, digits, strict=True):
            path = path_of(picture)
            label = None if path is None else self.label_of(path)
            results.append(Result(path=path, label=label, image=image, error=error))
        self.answer(results)
        return results

    def answer(self, results: list[Result]) -> None:
        """Fill in what the network reads in each result that has an image."""
        readable = [(result, result.image) for result in results if result.image is not None]
        if not readable:
            return
        logits = self.logits(np.stack([image for _, image in readable]))
        answers = zip(readable, self.network.softmax(logits), kl_from_uniform(logits), strict=True)
        for (result, image), probabilities, divergence in answers:
            order = np.argsort(-probabilities, kind="stable")[: self.top_k]
            result.probabilities = probabilities
            result.top = [(self.classes[i], float(probabilities[i])) for i in order]
            result.prediction, result.confidence = result.top[0]
            if self.reject:
                result.reason = self.doubt(image, float(probabilities.max()), divergence)
                result.prediction = result.prediction if result.reason is None else None

    def doubt(self, image: np.ndarray, confidence: float, divergence: float) -> str | None:
        """The reason to refuse an answer, or None."""
        if not image.any():
            return "blank: there is no ink in the picture"
        little = f"evidence {divergence:.2f}, which is below {self.limits.evidence:.2f}"
        has_little = divergence < self.limits.evidence
        # Only a network that was trained with non-digits can name them.
        if has_little and self.metadata.get("non_digits") is True:
            return f"not a digit: {little}"
        if confidence < self.limits.confidence:
            return f"unsure: {confidence:.3f} sure, which is below {self.limits.confidence:.3f}"
        return f"unsure: {little}" if has_little else None

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """N×1×32×32 inputs of `net`, on its device, from N×28×28 uint8 images."""
        return self.trained.inputs(images)

    def logits(self, images: np.ndarray | torch.Tensor) -> Any:
        """N×classes calibrated logits of N×28×28 uint8 images as in MNIST.

        PyTorch's network gives a tensor, an exported one an array. Raises ValueError for other
        images, UserError for logits that are not finite.
        """
        is_bytes = str(images.dtype) in ("uint8", "torch.uint8")
        if not is_bytes or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
            raise ValueError(f"N×28×28 uint8 are wanted, not {tuple(images.shape)} of {images.dtype}")
        logits = self.network.logits(images) / self.temperature
        if not np.isfinite(np.asarray(logits)).all():
            raise UserError("the network's answers are not finite numbers: train its weights anew")
        return logits

    def probabilities(self, images: np.ndarray | torch.Tensor) -> np.ndarray:
        """N×classes calibrated probabilities of N×28×28 uint8 images as in MNIST.

        classifier.probabilities(image[None])[0]  # of one image in memory
        """
        return self.network.softmax(self.logits(images))

    def label_of(self, path: str) -> int | str | None:
        """The true class if the name (digit_N….png) or a folder is one, else None.

        Of the folders the nearest counts, as in 7/writer2/a.png: the picture's own, or one that a
        relative path names.
        """
        name = re.match(r"digit_(\d)(?!\d)", os.path.basename(path))
        above = os.path.dirname(os.path.abspath(path))
        given = os.path.dirname(path).split(os.sep)
        folders = [os.path.basename(above), *(() if os.path.isabs(path) else given[::-1])]
        labels = [name[1]] if name else folders
        return next((c for label in labels for c in self.classes if str(c) == label), None)


def several(pictures) -> list:
    """The pictures that `predict_batch` is given. Raises UserError for a single one."""
    shape = getattr(pictures, "shape", None)
    kinds = str | bytes | bytearray | memoryview | os.PathLike | Image.Image
    is_one = isinstance(pictures, kinds) or hasattr(pictures, "read")
    if shape is not None:  # N×784 and N×28×28 are several
        is_coloured = len(shape) == 3 and shape[2] in (3, 4)
        is_one = is_one or len(shape) < 2 or (len(shape) == 2 and shape[1] != ROW) or is_coloured
    if is_one:
        raise UserError("predict_batch reads a list of pictures; predict reads one")
    return list(pictures)


def checked_top_k(top_k: int) -> int:
    """A number of choices. Raises UserError unless there is one at least."""
    if not isinstance(top_k, int) or top_k < 1:
        raise UserError(f"top_k is {top_k!r}, and at least 1 is wanted")
    return top_k


def only_prediction(results: list[Result]):
    """The prediction of the only Result. Raises PictureError if it has an error."""
    (result,) = results
    if result.error is not None:
        name = f"{one_line(result.path)[:LONGEST_NAME]}: " if result.path else ""
        raise PictureError(f"{name}{result.error}")
    return result.prediction


def default_weights() -> str:
    """lenet5_model.pth if it exists, else the pretrained weights, which stderr then names."""
    if os.path.exists(WEIGHTS):
        return WEIGHTS
    say(f"no {WEIGHTS} here (python train.py makes it); using {PRETRAINED}")
    return str(PRETRAINED)
