"""What answers mean, beside PyTorch's own softmax and a loop."""

import math

import numpy as np
import pytest
import torch

from lenet5.evaluation.confidence import Limits, kl_from_uniform, limits_of, rejection_limits, softmax


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_probabilities_are_those_of_pytorch(kind):
    torch.manual_seed(0)
    logits = torch.randn(1000, 10, dtype=kind) * 20
    found = softmax(logits.numpy())
    assert found.dtype == logits.numpy().dtype
    # An exponential of float32 has an error of some units of the last of its 24 bits.
    close = {torch.float32: 1e-6, torch.float64: 1e-15}[kind]
    np.testing.assert_allclose(found, logits.softmax(dim=1), rtol=0, atol=close)


def test_large_logits_are_no_overflow():
    with np.errstate(all="raise", under="ignore"):
        logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], np.float32)
        np.testing.assert_array_equal(softmax(logits)[0], [1, 0, 0])
        np.testing.assert_allclose(softmax(logits)[1], 1 / 3, rtol=1e-6)
        # The others' shares are e^-10,000 and e^-20,000: their mean is 10,000, less log(3).
        np.testing.assert_allclose(kl_from_uniform(logits), [1e4 - math.log(3), 0], atol=1e-3)
        # Ten times the largest number that a float32 can be is not one.
        largest = np.full((1, 10), np.finfo(np.float32).min)
        largest[0, 3] = 0.0
        assert kl_from_uniform(largest)[0] == pytest.approx(0.9 * -np.float64(largest[0, 0]))


def test_evidence_against_a_loop():
    """The divergence of ten equal shares from each answer: 0 for an answer that is sure of nothing."""
    torch.manual_seed(0)
    logits = torch.cat([torch.randn(5, 10) * 4, torch.full((1, 10), 3.0)])
    for found, answer in zip(kl_from_uniform(logits).tolist(), logits.softmax(1).tolist(), strict=True):
        assert found == pytest.approx(sum(0.1 * math.log(0.1 / p) for p in answer), abs=1e-5)
    assert kl_from_uniform(logits)[-1].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("count", [100, 5000, 9999])
def test_rejection_limits_keep_the_share_asked_for(count):
    torch.manual_seed(0)
    logits = torch.randn(count, 10).double() * 4
    limits = rejection_limits(logits, kept=0.99)
    kept = limits.kept(logits)
    assert (~kept).sum() == round(0.01 * count)
    # The limit is one of them itself, of which PyTorch has the last bit perhaps otherwise.
    unsure = logits.softmax(1).max(1).values < limits.confidence - 1e-12
    assert unsure.sum() == round(0.01 * count) // 2
    assert rejection_limits(logits, kept=1).kept(logits).all()


def test_limits_of_weights_that_bring_none():
    assert limits_of({}) == Limits(0.5, 0.0)  # inference.py refuses what is less than half sure
    assert limits_of({"reject_below": 0.7, "least_evidence": 2.0}) == Limits(0.7, 2.0)
