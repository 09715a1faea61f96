"""Metrics of a network on labelled images: loss, top-k accuracy, confusion, calibration.

train.py evaluates with it after every epoch, inference.py with `--evaluate`.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lenet5.imaging.inputs import Inputs
from lenet5.networks.fast_forward import forward
from lenet5.runtime import distributed
from lenet5.runtime.errors import one_line

BATCH_SIZE = 500  # images: 250 to 1,000 are fastest on 2 cores, 2,000 do not fit the cache
BINS = 15  # of confidence, for calibration


class Reliability(NamedTuple):
    """Confidence and accuracy in bins of equal width: one number per bin."""

    images: torch.Tensor  # int64
    confidence: torch.Tensor  # mean, 0 to 1; NaN in an empty bin
    accuracy: torch.Tensor  # 0 to 1; NaN in an empty bin


def reliability(confidences: torch.Tensor, correct: torch.Tensor) -> Reliability:
    """Mean confidence and accuracy in BINS bins of equal width, of N confidences and N answers."""
    confidence, correct = confidences.double(), correct.double()
    index = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    images, confident, right = (
        torch.bincount(index, weights=weights, minlength=BINS)
        for weights in (torch.ones_like(correct), confidence, correct)
    )
    return Reliability(images.long(), confident / images, right / images)


def calibration_error(confidences: torch.Tensor, correct: torch.Tensor) -> float:
    """Expected calibration error, 0 to 1, of N confidences and N answers.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
    """
    images, confidence, accuracy = reliability(confidences, correct)
    gaps = (accuracy - confidence).abs() * images  # NaN in empty bins
    return gaps.nansum().item() / len(correct)


class Evaluation(NamedTuple):
    """Predictions of a network for N labelled images, and their metrics."""

    loss: float  # mean of the network's own loss: cross-entropy in nats, or equation 9 of the paper
    accuracy: float  # top-1, 0 to 1
    logits: torch.Tensor  # N×classes float32, on the CPU
    labels: torch.Tensor  # N int64, on the CPU

    @property
    def predictions(self) -> torch.Tensor:
        """Predicted class of each image, N int64."""
        return self.logits.argmax(dim=1)

    @property
    def confidences(self) -> torch.Tensor:
        """Largest probability of each image, N floats from 1/classes to 1."""
        return self.logits.softmax(dim=1).max(dim=1).values

    @property
    def correct(self) -> torch.Tensor:
        """Whether each prediction is the label, N booleans."""
        return self.predictions == self.labels

    def mistakes(self) -> torch.Tensor:
        """Indices of the wrong predictions, the most confident first."""
        wrong = (~self.correct).nonzero().squeeze(1)
        return wrong[self.confidences[wrong].argsort(descending=True, stable=True)]

    def unsure_hits(self) -> torch.Tensor:
        """Indices of the correct predictions, the least confident first."""
        right = self.correct.nonzero().squeeze(1)
        return right[self.confidences[right].argsort(stable=True)]

    def top_k(self, k: int) -> float:
        """Share of images whose label is among the k largest logits, 0 to 1."""
        best = self.logits.topk(min(k, self.logits.shape[1]), dim=1).indices
        return (best == self.labels[:, None]).any(dim=1).double().mean().item()

    def confusion(self) -> torch.Tensor:
        """classes×classes counts: row the label, column the prediction."""
        classes = self.logits.shape[1]
        pairs = self.labels * classes + self.predictions
        return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def recall(self) -> torch.Tensor:
        """Recall of each class, 0 to 1; NaN for a class without images."""
        confusion = self.confusion().double()
        return confusion.diagonal() / confusion.sum(dim=1)

    def reliability(self) -> Reliability:
        """Mean confidence and accuracy in BINS bins of equal width."""
        return reliability(self.confidences, self.correct)

    def calibration_error(self) -> float:
        """Expected calibration error, 0 to 1."""
        return calibration_error(self.confidences, self.correct)

    def coverage_area(self) -> float:
        """Area under the accuracy-coverage curve, 0 to 1: the mean accuracy of the k most confident.

        Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017; their
        risk is 1 minus this accuracy.
        """
        order = self.confidences.argsort(descending=True, stable=True)
        right = self.correct.double()[order]
        return (right.cumsum(0) / torch.arange(1, len(right) + 1)).mean().item()

    def at_temperature(self, temperature: float) -> "Evaluation":
        """The evaluation with logits divided by a temperature: same predictions, other confidences."""
        return self._replace(logits=self.logits / temperature)


def loss_function(net: nn.Module | type[nn.Module] | None):
    """The loss that a network or its class defines, else cross-entropy."""
    return getattr(net, "loss", F.cross_entropy)


@torch.inference_mode()
def compute_logits(
    net: nn.Module, inputs: torch.Tensor | Inputs, batch_size: int = BATCH_SIZE
) -> torch.Tensor:
    """N×classes float32 logits, on the CPU, of N×1×32×32 inputs on the network's device.

    `inputs` is a tensor or `Inputs`. The network runs in evaluation mode and gets its own back.
    """
    was_training = net.training
    net.eval()
    batches = [forward(net, batch) for batch in inputs.split(batch_size)]
    net.train(was_training)
    return torch.cat(batches).float().cpu()


def evaluate(
    net: nn.Module,
    inputs: torch.Tensor | Inputs,
    labels: torch.Tensor,
    batch_size: int = BATCH_SIZE,
    together: bool = False,
) -> Evaluation:
    """Evaluate a network on N×1×32×32 inputs (a tensor or `Inputs`) with N labels.

    `together`: all processes call this with the same arguments, each computes the logits of
    its shard, and each gets all of them. Raises ValueError if N is 0 or differs.
    """
    if len(inputs) == 0 or len(inputs) != len(labels):
        raise ValueError(f"{len(inputs)} images and {len(labels)} labels cannot be evaluated")
    mine = distributed.shard(0, len(inputs)) if together else slice(0, len(inputs))
    # With fewer images than processes, some shards are empty.
    own = inputs.narrow(0, mine.start, mine.stop - mine.start)
    logits: Any = compute_logits(net, own, batch_size) if len(own) else None
    logits = distributed.all_gather_rows(logits) if together else logits
    return evaluate_logits(logits, labels.cpu(), loss_function(net))


def evaluate_logits(logits: torch.Tensor, labels: torch.Tensor, loss) -> Evaluation:
    """The evaluation of N×classes logits with N labels, both on the CPU; `loss(logits, labels)`."""
    # A float32 sum of 60,000 losses loses its last digits.
    mean = loss(logits.double(), labels).item()
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    return Evaluation(mean, accuracy, logits, labels)


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature, 1/20 to 20, with the least cross-entropy; fit it on validation images.

    Bisection on the slope, since cross-entropy is convex in the inverse temperature (Guo et
    al., 2017, section 4.2).
    """
    logits = logits.double()
    truth = logits.gather(1, labels[:, None]).squeeze(1)
    low, high = math.log(1 / 20), math.log(20)
    for _ in range(50):
        middle = (low + high) / 2
        inverse = math.exp(-middle)
        slope = ((inverse * logits).softmax(dim=1) * logits).sum(dim=1).mean() - truth.mean()
        # A positive slope asks for a smaller inverse: a higher temperature.
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)


def metrics_dict(result: Evaluation, temperature: float = 1.0) -> dict:
    """An evaluation's metrics as numbers and lists; None for an undefined precision or recall."""
    confusion = result.confusion()
    precision = confusion.diagonal().double() / confusion.sum(dim=0)
    calibrated = result.at_temperature(temperature)
    return {
        "images": len(result.labels),
        "top_1": result.accuracy,
        "top_3": result.top_k(3),
        "loss": result.loss,
        "temperature": temperature,
        "calibration_error": calibrated.calibration_error(),
        "calibration_error_uncalibrated": result.calibration_error(),
        "coverage_area": calibrated.coverage_area(),
        "precision": [None if math.isnan(value) else value for value in precision.tolist()],
        "recall": [None if math.isnan(value) else value for value in result.recall().tolist()],
        "confusion": confusion.tolist(),
    }


def metrics_table(result: Evaluation, classes: list, temperature: float = 1.0) -> list[str]:
    """An evaluation's metrics as lines of at most 80 columns, for up to ten classes."""
    metrics = metrics_dict(result, temperature)
    names = [one_line(name) for name in classes]
    before = f" ({100 * metrics['calibration_error_uncalibrated']:.2f} % uncalibrated)"
    lines = [
        f"images             {metrics['images']:,}",
        f"top-1              {100 * metrics['top_1']:.2f} %",
        f"top-3              {100 * metrics['top_3']:.2f} %",
        f"loss               {metrics['loss']:.4f}",
        f"calibration error  {100 * metrics['calibration_error']:.2f} %{before * (temperature != 1)}",
        f"accuracy-coverage  {metrics['coverage_area']:.4f}, the area under the curve",
        "",
        f"{'class':>12}  images  precision    recall",
    ]
    for i, (name, row) in enumerate(zip(names, metrics["confusion"], strict=True)):
        shares = metrics["precision"][i], metrics["recall"][i]
        cells = "  ".join("      -  " if share is None else f"{100 * share:7.2f} %" for share in shares)
        lines.append(f"{name:>12}  {sum(row):6,}  {cells}")
    return [*lines, "", *confusion_lines(metrics["confusion"], names)]


def confusion_lines(confusion: list[list[int]], names: list[str]) -> list[str]:
    """The confusion matrix of up to ten short names, else the ten most frequent confusions."""
    if len(names) <= 10 and max(map(len, names)) <= 5:
        rows = ("".join(f"{count:6,}" if count else "     ." for count in row) for row in confusion)
        return ["      read as" + "".join(f"{name:>6}" for name in names)] + [
            f"{'is ' + name:>13}{row}" for name, row in zip(names, rows, strict=True)
        ]
    counts = {(i, j): n for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j}
    most = sorted(((n, i, j) for (i, j), n in counts.items()), reverse=True)[:10]
    return [f"  {names[i]} read as {names[j]}: {n:,}" for n, i, j in most]
