"""The one evaluation: logits to loss, top-k accuracy, confusion and confidence.

Used by train.py after every epoch and by inference.py for its probabilities, so
that a figure means the same wherever it is printed.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.networks.fast_forward import forward
from lenet5.runtime import distributed
from lenet5.runtime.errors import one_line

BATCH_SIZE = 500  # images at a time: 250 to 1,000 are fastest on 2 cores, 2,000 fall out of the cache
BINS = 15  # of confidence, for calibration


class Reliability(NamedTuple):
    """How often answers are right, by how sure they are: a number for each bin of confidence."""

    images: torch.Tensor  # int64
    confidence: torch.Tensor  # mean, 0 to 1; NaN where the bin is empty, as the next
    accuracy: torch.Tensor  # share that is right


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
        return (best == self.labels[:, None]).any(dim=1).double().mean().item()

    def confusion(self) -> torch.Tensor:
        """classes×classes counts: row the label, column the prediction."""
        return confusion_matrix(self.labels, self.predictions, self.logits.shape[1])

    def precision(self) -> torch.Tensor:
        """For each class the share of what was read as it that is it; NaN where nothing was."""
        confusion = self.confusion().double()
        return confusion.diagonal() / confusion.sum(dim=0)

    def recall(self) -> torch.Tensor:
        """For each class the share of its images that was read as it; NaN where there are none."""
        confusion = self.confusion().double()
        return confusion.diagonal() / confusion.sum(dim=1)

    def unsure_hits(self) -> torch.Tensor:
        """Indices of the images that were read right, the least confident first."""
        right = (self.predictions == self.labels).nonzero().squeeze(1)
        return right[self.confidences[right].argsort(stable=True)]

    def reliability(self, bins: int = BINS) -> "Reliability":
        """Confidence beside the share that is right, in bins of equal width."""
        confidence = self.confidences.double()
        right = (self.predictions == self.labels).double()
        place = (confidence * bins).ceil().long().clamp(1, bins) - 1
        images, sure, hits = (
            torch.bincount(place, weights=weights, minlength=bins)
            for weights in (torch.ones_like(right), confidence, right)
        )
        return Reliability(images.long(), sure / images, hits / images)

    def calibration_error(self, bins: int = BINS) -> float:
        """By how much confidence differs from the share that is right, 0 to 1.

        The expected calibration error: over bins of equal width, weighted by
        their images (Guo et al., "On Calibration of Modern Neural Networks",
        2017, equation 3).
        """
        images, confidence, accuracy = self.reliability(bins)
        gaps = (accuracy - confidence).abs() * images  # NaN where there are no images
        return gaps.nansum().item() / len(self.labels)

    def coverage_area(self) -> float:
        """The area under the accuracy-coverage curve, 0 to 1.

        The mean, over all k, of the share that is right among the k images whose
        answers are surest: the later the mistakes come among them the larger it is,
        and 1 without any (Geifman and El-Yaniv, "Selective Classification for
        Deep Neural Networks", 2017, whose risk is 1 minus that share).
        """
        surest = self.confidences.argsort(descending=True, stable=True)
        right = (self.predictions == self.labels)[surest].double()
        return (right.cumsum(0) / torch.arange(1, len(right) + 1)).mean().item()

    def at_temperature(self, temperature: float) -> "Evaluation":
        """The same with the logits divided by a temperature: other confidences, the same answers."""
        return self._replace(logits=self.logits / temperature)


def loss_function(net: nn.Module | type[nn.Module]):
    """What a network or its class is trained to make small: a loss of its own, or the cross-entropy."""
    return getattr(net, "loss", F.cross_entropy)


def confusion_matrix(labels: torch.Tensor, predictions: torch.Tensor, classes: int) -> torch.Tensor:
    """classes×classes counts: row the label, column the prediction."""
    pairs = labels * classes + predictions
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@torch.inference_mode()
def compute_logits(net: nn.Module, inputs: torch.Tensor, batch_size: int = BATCH_SIZE) -> torch.Tensor:
    """N×classes logits, float32 on the CPU, of N×1×32×32 inputs on the network's device.

    `inputs` is a tensor or `preprocess.Inputs`. The network is in evaluation mode
    meanwhile, and in its own mode afterwards.
    """
    was_training = net.training
    net.eval()
    batches = [forward(net, batch) for batch in inputs.split(batch_size)]
    net.train(was_training)
    return torch.cat(batches).float().cpu()


def evaluate(
    net: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int = BATCH_SIZE,
    together: bool = False,
) -> Evaluation:
    """Run a network over N×1×32×32 inputs, a tensor or `preprocess.Inputs`, and compare with N labels.

    Processes that evaluate `together`, all with the same arguments, each run it over their
    share; every one then has all logits, so each image counts once.

    Raises ValueError where there is nothing to evaluate.
    """
    if len(inputs) == 0 or len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} images and {len(labels)} labels cannot be evaluated")
    mine = distributed.shard(0, len(inputs)) if together else slice(0, len(inputs))
    # Of fewer images than processes, some have none.
    own = inputs.narrow(0, mine.start, mine.stop - mine.start)
    logits = compute_logits(net, own, batch_size) if len(own) else None
    logits = distributed.all_gather_rows(logits) if together else logits
    return compare(logits, labels.cpu(), loss_function(net))


def compare(logits: torch.Tensor, labels: torch.Tensor, loss) -> Evaluation:
    """What N×classes logits are worth beside N labels, both on the CPU; `loss` is the network's own."""
    # In double precision, since a sum of 60,000 float32 losses has lost its last digits.
    mean = loss(logits.double(), labels).item()
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    return Evaluation(mean, accuracy, logits, labels)


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature at which N×classes logits have the least cross-entropy (Guo et al., 2017, 4.2).

    To be fitted on held-out images. The cross-entropy is convex in the inverse
    of the temperature, so its slope is halved away between 1/20 and 20.
    """
    logits = logits.double()
    truth = logits.gather(1, labels[:, None]).squeeze(1)
    low, high = math.log(1 / 20), math.log(20)
    for _ in range(50):
        middle = (low + high) / 2
        inverse = math.exp(-middle)
        slope = ((inverse * logits).softmax(dim=1) * logits).sum(dim=1).mean() - truth.mean()
        # A slope above 0 asks for a smaller inverse: a higher temperature.
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)


def figures(result: Evaluation, temperature: float = 1.0) -> dict:
    """An evaluation's figures as plain numbers and lists; None where a class has no images."""

    def shares(values: torch.Tensor) -> list:
        return [value if value == value else None for value in values.tolist()]

    return {
        "images": len(result.labels),
        "top_1": result.accuracy,
        "top_3": result.top_k(3),
        "loss": result.loss,
        "temperature": temperature,
        "calibration_error": result.at_temperature(temperature).calibration_error(),
        "calibration_error_uncalibrated": result.calibration_error(),
        "coverage_area": result.at_temperature(temperature).coverage_area(),
        "precision": shares(result.precision()),
        "recall": shares(result.recall()),
        "confusion": result.confusion().tolist(),
    }


def report(result: Evaluation, classes: list, temperature: float = 1.0) -> list[str]:
    """An evaluation in words and tables of at most 80 columns, for up to ten classes."""
    classes = [one_line(name) for name in classes]
    warm = result.at_temperature(temperature)
    before = f" ({100 * result.calibration_error():.2f} % uncalibrated)" if temperature != 1 else ""
    lines = [
        f"images             {len(result.labels):,}",
        f"top-1              {100 * result.accuracy:.2f} %",
        f"top-3              {100 * result.top_k(3):.2f} %",
        f"loss               {result.loss:.4f}",
        f"calibration error  {100 * warm.calibration_error():.2f} %{before}",
        f"accuracy-coverage  {warm.coverage_area():.4f}, the area under the curve",
        "",
        f"{'class':>12}  images  precision    recall",
    ]
    confusion = result.confusion()
    images = confusion.sum(dim=1).tolist()
    for name, count, *shares in zip(classes, images, result.precision(), result.recall(), strict=True):
        shown = "  ".join(f"{100 * share:7.2f} %" if share == share else "      -  " for share in shares)
        lines.append(f"{name!s:>12}  {count:6,}  {shown}")
    lines.append("")
    if len(classes) <= 10 and all(len(str(name)) <= 5 for name in classes):
        lines.append("      read as" + "".join(f"{name!s:>6}" for name in classes))
        for name, row in zip(classes, confusion.tolist(), strict=True):
            lines.append(f"{'is ' + str(name):>13}" + "".join(f"{n:6,}" if n else "     ." for n in row))
    else:
        pairs = (
            (n, i, j) for i, row in enumerate(confusion.tolist()) for j, n in enumerate(row) if i != j
        )
        for n, i, j in sorted(pairs, reverse=True)[:10]:
            if n:
                lines.append(f"  {classes[i]} read as {classes[j]}: {n:,}")
    return lines
