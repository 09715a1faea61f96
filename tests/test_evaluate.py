import math

import pytest
import torch
from torch import nn

from evaluate import Evaluation, compute_logits, confusion_matrix, evaluate, rejection_threshold
from model import LeNet5


class Fixed(nn.Module):
    """Answers each input, which holds its own index, with a row of a table."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", table)
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return self.table[x[:, 0, 0, 0].long()]


def numbered(count):
    return torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 32, 32)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_against_a_slow_direct_computation(batch_size):
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 10) * 3, torch.randint(0, 10, (50,))
    result = evaluate(Fixed(logits), numbered(50), labels, batch_size)
    loss, right, in_three, confusion = 0.0, 0, 0, [[0] * 10 for _ in range(10)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        loss -= math.log(math.exp(row[label]) / sum(math.exp(z) for z in row))
        order = sorted(range(10), key=lambda i: -row[i])
        right += order[0] == label
        in_three += label in order[:3]
        confusion[label][order[0]] += 1
    assert result.loss == pytest.approx(loss / 50, rel=1e-6)
    assert result.accuracy == right / 50
    assert result.top_k(1) == pytest.approx(right / 50)
    assert result.top_k(3) == pytest.approx(in_three / 50)
    assert result.top_k(99) == 1
    assert result.confusion().tolist() == confusion
    assert torch.equal(result.logits, logits)


def test_evaluation_leaves_the_mode_and_builds_no_gradients():
    net = Fixed(torch.zeros(5, 10))
    for mode in (True, False):
        net.train(mode)
        logits = compute_logits(net, numbered(5))
        assert net.training is mode
        assert not logits.requires_grad
    assert net.modes == [False, False]


def test_batch_and_single_agree():
    torch.manual_seed(0)
    net, x = LeNet5(), torch.randn(9, 1, 32, 32)
    single = torch.cat([compute_logits(net, row) for row in x.split(1)])
    torch.testing.assert_close(compute_logits(net, x), single, rtol=1e-4, atol=1e-5)


def test_nothing_to_evaluate_is_an_error():
    for images, labels in ((0, 0), (3, 2)):
        with pytest.raises(ValueError, match="cannot be evaluated"):
            evaluate(Fixed(torch.zeros(3, 10)), numbered(images), torch.zeros(labels, dtype=torch.long))


def test_confusion_matrix_has_labels_in_rows():
    matrix = confusion_matrix(torch.tensor([0, 0, 2]), torch.tensor([1, 1, 2]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_rejection_threshold_keeps_the_share_asked_for():
    torch.manual_seed(0)
    logits = torch.randn(10_000, 10) * 4
    threshold = rejection_threshold(logits, kept=0.99)
    confidence = logits.softmax(1).max(1).values
    assert (confidence >= threshold).double().mean().item() == pytest.approx(0.99, abs=0.0002)


def test_evaluation_predicts_the_largest():
    result = Evaluation(0.0, 0.0, torch.tensor([[1.0, 5.0], [3.0, 2.0]]), torch.tensor([0, 0]))
    assert result.predictions.tolist() == [1, 0]
