"""Losses: of soft targets, of non-digits."""

import torch
import torch.nn.functional as F

NO_CLASS = -1  # the label of what is none of the classes


def soft_cross_entropy(temperature: float):
    """The loss of N×classes logits against a teacher's answers at the same temperature.

    Hinton, Vinyals, Dean, 2015, section 2: the gradient of the softened logits
    is smaller by the square of the temperature, by which it is multiplied here.
    """
    return lambda logits, answers: F.cross_entropy(logits / temperature, answers) * temperature**2


def outlier_exposure(label_smoothing: float = 0.0, weight: float = 0.5):
    """The cross-entropy, with images of `NO_CLASS` for which all classes shall be as likely.

    Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with Outlier Exposure",
    2019, equation 1. `weight` is that of one such image beside one with a class;
    theirs, 0.5, is that of the mean over all such images.
    """

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        known = labels != NO_CLASS
        # Sums over the whole batch, so that a batch without any of one kind is no special case.
        value = F.cross_entropy(
            logits, labels, ignore_index=NO_CLASS, label_smoothing=label_smoothing, reduction="sum"
        )
        uniform = -(logits.log_softmax(dim=1).mean(dim=1) * ~known).sum()
        return (value + weight * uniform) / len(labels)

    return loss
