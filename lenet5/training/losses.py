"""Losses for soft targets and for outlier exposure."""

import torch
import torch.nn.functional as F

IGNORE_INDEX = -1  # the label of an image of none of the classes


def soft_cross_entropy(temperature: float):
    """Cross-entropy of N×classes logits with a teacher's probabilities at the same temperature.

    Times the square of the temperature, by which the gradient of the softened logits
    shrinks (Hinton, Vinyals, Dean, 2015, section 2).
    """
    return lambda logits, targets: F.cross_entropy(logits / temperature, targets) * temperature**2


def outlier_exposure(label_smoothing: float = 0.0, weight: float = 0.5):
    """Cross-entropy, with a uniform target for images labelled `IGNORE_INDEX` (outlier exposure).

    Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier Exposure",
    2019, equation 1. `weight` is that of one such image beside one with a class;
    theirs, 0.5, is that of the mean over all such images.
    """

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        known = labels != IGNORE_INDEX
        # Sums over the whole batch, so that a batch without any of one kind is no special case.
        value = F.cross_entropy(
            logits, labels, ignore_index=IGNORE_INDEX, label_smoothing=label_smoothing, reduction="sum"
        )
        uniform = -(logits.log_softmax(dim=1).mean(dim=1) * ~known).sum()
        return (value + weight * uniform) / len(labels)

    return loss
