"""What a network's answers mean: probabilities, evidence, and what is refused.

    >>> import numpy as np
    >>> from lenet5.evaluation.confidence import evidence, softmax
    >>> logits = np.array([[0.0, 0.0, 9.0]])
    >>> softmax(logits).round(4)
    array([[0.0001, 0.0001, 0.9998]])
    >>> evidence(logits).round(2)
    array([4.9])

With NumPy alone, so that weights and an exported network (`exported.py`), which is run
without PyTorch, answer by the same rules. Where logits are asked for, a tensor on the CPU
will do too.
"""

import math
from typing import NamedTuple

import numpy as np

REJECT_BELOW = 0.5  # confidence, for weights that do not bring limits of their own


def softmax(logits) -> np.ndarray:
    """N×classes probabilities of N×classes logits, in the same precision."""
    logits = np.asarray(logits)
    # Without the largest, which changes no probability, no power is infinite.
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def evidence(logits) -> np.ndarray:
    """How far N×classes logits are from being sure of nothing: N numbers of nats, 0 or more.

    The divergence of the answer from one that finds all classes as likely, which
    is what a network with `--non-digits` learns to say of them. A digit has its
    evidence against each of the nine others too; the largest probability does
    not see it, and is as large for much that is no digit.
    """
    logits = np.asarray(logits, np.float64)  # ten of the largest float32 have no sum in float32
    below = logits - logits.max(axis=1, keepdims=True)
    # The mean of -log(probability), of which log(classes) is what all as likely have.
    return np.log(np.exp(below).sum(axis=1)) - below.mean(axis=1) - math.log(logits.shape[1])


class Limits(NamedTuple):
    """What an answer is refused below."""

    confidence: float  # the largest probability: below it, the network is unsure which class it is
    evidence: float  # nats: below it, it is hardly any class

    def kept(self, logits) -> np.ndarray:
        """Which of N×classes logits are answers that are not refused, N booleans."""
        sure = softmax(logits).max(axis=1) >= self.confidence
        return sure & (evidence(logits) >= self.evidence)


def rejection_limits(logits, kept: float = 0.99) -> Limits:
    """The limits that N×classes logits of digits pass in a share `kept`, to the nearest one.

    Half of the others fail by their confidence, and of the rest as many as are
    still to be refused by their evidence. To be fitted on validation images; they
    go with the weights.
    """
    logits = np.asarray(logits, np.float64)
    refused = round((1 - kept) * len(logits))
    confidence = softmax(logits).max(axis=1)
    sure = np.sort(confidence)[refused // 2]
    rest = np.sort(evidence(logits)[confidence >= sure])
    return Limits(float(sure), float(rest[refused - refused // 2]))


def limits_of(metadata: dict) -> Limits:
    """The limits that come with a network, or else those that are usual."""
    return Limits(metadata.get("reject_below", REJECT_BELOW), metadata.get("least_evidence", 0.0))
