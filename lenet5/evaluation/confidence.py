"""Probabilities of logits, and the rejection of unsure answers; NumPy alone, no PyTorch.

    >>> import numpy as np
    >>> from lenet5.evaluation.confidence import kl_from_uniform, softmax
    >>> logits = np.array([[0.0, 0.0, 9.0]])
    >>> softmax(logits).round(4).tolist()
    [[0.0001, 0.0001, 0.9998]]
    >>> kl_from_uniform(logits).round(2)
    array([4.9])

Logits may be arrays or tensors on the CPU.
"""

import math
from typing import NamedTuple

import numpy as np

REJECT_BELOW = 0.5  # confidence, for weights without limits of their own


def softmax(logits) -> np.ndarray:
    """N×classes probabilities of N×classes logits, in the same precision."""
    logits = np.asarray(logits)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))  # the difference avoids overflow
    return powers / powers.sum(axis=1, keepdims=True)


def kl_from_uniform(logits) -> np.ndarray:
    """KL divergence of each answer's probabilities from the uniform ones: N numbers, nats.

    A network trained with `--non-digits` gives nearly uniform probabilities for non-digits.
    The divergence looks at all classes, the confidence only at the likeliest one.
    """
    logits = np.asarray(logits, np.float64)  # a sum of ten large float32 numbers may overflow
    below = logits - logits.max(axis=1, keepdims=True)
    # The mean of -log(probability), less log(classes).
    return np.log(np.exp(below).sum(axis=1)) - below.mean(axis=1) - math.log(logits.shape[1])


class Limits(NamedTuple):
    """The least confidence and divergence of an answer that is accepted."""

    confidence: float  # largest probability; below it the class is unsure
    evidence: float  # nats from uniform; below it the picture is hardly any class

    def kept(self, logits) -> np.ndarray:
        """Which of N×classes logits are accepted, N booleans."""
        sure = softmax(logits).max(axis=1) >= self.confidence
        return sure & (kl_from_uniform(logits) >= self.evidence)


def rejection_limits(logits, kept: float = 0.99) -> Limits:
    """Limits that accept a share `kept` of N×classes logits; fit them on validation images.

    Half of the rejected fail by their confidence, the others by their divergence.
    """
    logits = np.asarray(logits, np.float64)
    refused = round((1 - kept) * len(logits))
    confidence = softmax(logits).max(axis=1)
    sure = np.sort(confidence)[refused // 2]
    rest = np.sort(kl_from_uniform(logits)[confidence >= sure])
    return Limits(float(sure), float(rest[refused - refused // 2]))


def limits_of(metadata: dict) -> Limits:
    """The limits in a network's metadata, else the defaults."""
    return Limits(metadata.get("reject_below", REJECT_BELOW), metadata.get("least_evidence", 0.0))
