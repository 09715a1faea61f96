"""The one evaluation: logits to loss, top-k accuracy, confusion and confidence.

Used by train.py after every epoch and by inference.py for its probabilities, so
that a figure means the same wherever it is printed.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

BATCH_SIZE = 500  # images at a time: 250 to 1,000 are fastest on 2 cores, 2,000 fall out of the cache


class Evaluation(NamedTuple):
    """What a network makes of N images with known labels."""

    loss: float  # the network's own, mean; cross-entropy with the natural logarithm, or equation 9
    accuracy: float  # share of images whose largest logit is the label's, 0 to 1
    logits: torch.Tensor  # N×classes float32, on the CPU
    labels: torch.Tensor  # N int64, on the CPU

    @property
    def predictions(self) -> torch.Tensor:
        """The class with the largest logit for each image, N int64."""
        return self.logits.argmax(dim=1)

    @property
    def confidences(self) -> torch.Tensor:
        """The largest probability for each image, N floats from 1/classes to 1."""
        return self.logits.softmax(dim=1).max(dim=1).values

    def mistakes(self) -> torch.Tensor:
        """Indices of the images that were not read right, the most confident first."""
        wrong = (self.predictions != self.labels).nonzero().squeeze(1)
        return wrong[self.confidences[wrong].argsort(descending=True, stable=True)]

    def top_k(self, k: int) -> float:
        """Share of images whose label is among the k largest logits, 0 to 1."""
        k = min(k, self.logits.shape[1])
        best = self.logits.topk(k, dim=1).indices
        return (best == self.labels[:, None]).any(dim=1).float().mean().item()

    def confusion(self) -> torch.Tensor:
        """classes×classes counts: row the label, column the prediction."""
        return confusion_matrix(self.labels, self.predictions, self.logits.shape[1])


def loss_function(net: nn.Module):
    """What a network is trained to make small: a loss of its own, or else the cross-entropy."""
    return getattr(net, "loss", F.cross_entropy)


def confusion_matrix(labels: torch.Tensor, predictions: torch.Tensor, classes: int) -> torch.Tensor:
    """classes×classes counts: row the label, column the prediction."""
    pairs = labels * classes + predictions
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@torch.inference_mode()
def compute_logits(net: nn.Module, inputs: torch.Tensor, batch_size: int = BATCH_SIZE) -> torch.Tensor:
    """N×classes logits, float32 on the CPU, of N×1×32×32 inputs on the network's device.

    The network is in evaluation mode meanwhile, and in its own mode afterwards.
    """
    was_training = net.training
    net.eval()
    batches = [net(batch) for batch in inputs.split(batch_size)]
    net.train(was_training)
    return torch.cat(batches).float().cpu()


def evaluate(
    net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Run a network over N×1×32×32 inputs and compare with N labels.

    Raises ValueError where there is nothing to evaluate.
    """
    if len(inputs) == 0 or len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} images and {len(labels)} labels cannot be evaluated")
    logits = compute_logits(net, inputs, batch_size)
    labels = labels.cpu()
    # In double precision, since a sum of 60,000 float32 losses has lost its last digits.
    loss = loss_function(net)(logits.double(), labels).item()
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    return Evaluation(loss, accuracy, logits, labels)


def rejection_threshold(logits: torch.Tensor, kept: float = 0.99) -> float:
    """The confidence below which an answer is refused so that a share `kept` of images is answered.

    Measured on validation images: the (1 - kept) quantile of the largest
    probability. It is a choice on held-out images, so it goes with the weights.
    """
    confidence = logits.softmax(dim=1).max(dim=1).values
    return torch.quantile(confidence, 1 - kept).item()
