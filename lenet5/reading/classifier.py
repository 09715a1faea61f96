"""Read digits from pictures with a trained network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lenet5.evaluation.confidence import evidence, limits_of
from lenet5.imaging.mnist_format import SIDE
from lenet5.imaging.opening import PictureError
from lenet5.imaging.preprocess import Steps, all_mnist_like, attempt, steps
from lenet5.reading.onnx_backend import ExportedNetwork, is_exported
from lenet5.reading.results import Result
from lenet5.runtime.errors import UserError, say
from lenet5.runtime.project_files import project_file

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lenet5.reading.torch_backend import TrainedNetwork


WEIGHTS = "lenet5_model.pth"
PRETRAINED = project_file("pretrained/lenet5.pth")


class ImageClassifier:
    """Reads pictures with the network of a weights file.

        classifier = ImageClassifier("lenet5_model.pth")
        classifier.predict("digit.png")                  # 7
        classifier.predict_batch(["a.png", "b.jpg"])     # two Results

    Without a file: lenet5_model.pth, else the weights that come with the
    project. An .onnx file that export.py wrote is read with onnxruntime, without
    PyTorch. `invert`: "auto", "yes" (dark ink) or "no". `top_k`: how many
    classes `Result.top` holds. `reject`: whether to refuse what is blank, unsure
    or hardly a digit: less so than 99 % of the validation images.

    Raises UserError for weights that cannot be used and a device that is not there.
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
        if invert not in ("auto", "yes", "no"):
            raise UserError(f"invert is {invert!r}, which is none of auto, yes and no")
        self.network = open_network(weights, arch, device)
        self.weights, self.metadata = self.network.path, self.network.metadata
        names = self.metadata["classes"]
        self.classes = [int(n) if n.isascii() and n.isdigit() and str(int(n)) == n else n for n in names]
        self.invert, self.top_k = invert, min(top_k, len(self.classes))
        self.temperature = self.metadata.get("temperature", 1.0)
        self.reject, self.limits = reject, limits_of(self.metadata)

    @property
    def name(self) -> str:
        """The network's name, and its file's where that says something else."""
        file, arch = os.path.basename(self.weights), self.network.arch
        return arch if file == f"{arch}.pth" else f"{arch} ({file})"

    @property
    def trained(self) -> TrainedNetwork:
        """The network in PyTorch. Raises UserError for an exported one, whose layers nobody sees."""
        if isinstance(self.network, ExportedNetwork):
            raise UserError(
                f"{self.weights} does not show its layers, which are wanted here: "
                "take the .pth that it was made from"
            )
        return self.network

    @property
    def net(self) -> nn.Module:
        """The module of PyTorch that `trained` has."""
        return self.trained.net

    @property
    def device(self) -> torch.device:
        """What `net` is on."""
        return self.trained.device

    def predict(self, picture) -> int | str | None:
        """The class of one picture: a path, a PIL image or an array.

        Raises PictureError if it cannot be read; None if `reject` refuses it.
        """
        return only_prediction(self.predict_batch([picture]))

    def predict_batch(self, pictures: Iterable, prepared: list[tuple] | None = None) -> list[Result]:
        """One Result for each path, PIL image or array, in their order.

        A picture that cannot be read has its `error` set, and the others are read. `prepared`
        is what `all_mnist_like` gives of them, where another process has called it.
        """
        pictures = list(pictures)
        if prepared is None:
            prepared = all_mnist_like(pictures, self.invert)
        results = [self.result_of(picture) for picture in pictures]
        for result, (image, error) in zip(results, prepared, strict=True):
            result.image, result.error = image, error
        return self.read(results)

    def read(self, results: list[Result]) -> list[Result]:
        """The same Results with what the network says of their pictures."""
        readable = [result for result in results if result.error is None]
        if readable:
            logits = self.logits(np.stack([result.image for result in readable]))
            for result, probabilities in zip(readable, self.network.softmax(logits), strict=True):
                self.decide(result, probabilities)
            if self.reject:
                self.refuse(readable, logits)
        return results

    def prepare(self, picture) -> Result:
        """A Result with the picture as the network will see it, or with the error."""
        return self.prepare_in_steps(picture)[0]

    def prepare_in_steps(self, picture) -> tuple[Result, Steps | None]:
        """The same, and each step of the picture on its way, or None."""
        result = self.result_of(picture)
        found, result.error = attempt(steps, picture, self.invert)
        result.image = None if found is None else found.digit
        return result, found

    def result_of(self, picture) -> Result:
        """A Result that says which picture it is of, and no more yet."""
        path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
        return Result(path=path, label=None if path is None else self.label_of(path))

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """The N×1×32×32 inputs of `net` of N×28×28 uint8 pictures, on its device."""
        return self.trained.inputs(images)

    def logits(self, images: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """N×classes calibrated logits of N×28×28 uint8 pictures, as MNIST has them.

        A tensor of PyTorch's network, and an array of an exported one, whatever the pictures are.
        """
        check_pictures(images)
        logits = self.network.logits(images) / self.temperature
        if not np.isfinite(np.asarray(logits)).all():
            raise UserError("the network's answers are not finite numbers: train its weights anew")
        return logits

    def probabilities(self, images: np.ndarray | torch.Tensor) -> np.ndarray:
        """N×classes calibrated probabilities of N×28×28 uint8 pictures, as MNIST has them.

            classifier.probabilities(image[None])[0]  # of one picture in memory

        The shortest way to an answer, for pictures that need no preparation.
        """
        return self.network.softmax(self.logits(images))

    def decide(self, result: Result, probabilities: np.ndarray) -> None:
        """Fill in what the probabilities say."""
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        result.probabilities = probabilities
        result.top = [(self.classes[i], float(probabilities[i])) for i in order]
        result.prediction, result.confidence = result.top[0]

    def refuse(self, results: list[Result], logits) -> None:
        """Take back the answers of which N×classes calibrated logits are not sure enough."""
        for result, found in zip(results, evidence(logits).tolist(), strict=True):
            if not result.image.any():
                result.reason = "blank: there is no ink in the picture"
            else:
                result.reason = self.doubt(result.confidence, found)
            if result.reason is not None:
                result.prediction = None

    def doubt(self, confidence: float, found: float) -> str | None:
        """Why an answer of this confidence and evidence is refused; None if it is not."""
        little = found < self.limits.evidence
        # Little evidence for any class means more where that was learned from what is no digit.
        if little and self.metadata.get("non_digits") is True:
            return f"not a digit: evidence {found:.2f}, which is below {self.limits.evidence:.2f}"
        if confidence < self.limits.confidence:
            return f"unsure: {confidence:.3f} sure, which is below {self.limits.confidence:.3f}"
        if little:
            return f"unsure: evidence {found:.2f}, which is below {self.limits.evidence:.2f}"
        return None

    def label_of(self, path: str) -> int | str | None:
        """The true class where a name tells it: digit_N….png, or the folder that the file is in."""
        name = re.match(r"digit_(\d)(?!\d)", os.path.basename(path))
        folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
        label = name[1] if name else folder
        return next((c for c in self.classes if str(c) == label), None)


def open_network(weights, arch: str | None, device: str) -> TrainedNetwork | ExportedNetwork:
    """The network of a file, or else of the default weights, with what runs it."""
    if weights and is_exported(weights):
        return ExportedNetwork(weights, arch, device)
    from lenet5.reading.torch_backend import TrainedNetwork  # imports PyTorch

    return TrainedNetwork(weights or default_weights(), arch, device)


def check_pictures(images) -> None:
    """Raise ValueError unless pictures in memory are N×28×28 uint8, an array or a tensor."""
    is_bytes = images.dtype == np.uint8 or str(images.dtype) == "torch.uint8"
    if not is_bytes or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"N×28×28 uint8 are wanted, not {tuple(images.shape)} of {images.dtype}")


def only_prediction(results: list[Result]):
    """What one picture was read as. Raises PictureError if it could not be read."""
    (result,) = results
    if result.error is not None:
        name = f"{result.path}: " if result.path else ""
        raise PictureError(f"{name}{result.error}")
    return result.prediction


def default_weights() -> str:
    """lenet5_model.pth here, else the weights that come with the project; a line says which."""
    if os.path.exists(WEIGHTS):
        return WEIGHTS
    say(f"no {WEIGHTS} here (python train.py makes it); using {PRETRAINED}")
    return str(PRETRAINED)
