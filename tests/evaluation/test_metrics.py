import math

import pytest
import torch
from torch import nn

from lenet5.evaluation.metrics import (
    Evaluation,
    compute_logits,
    evaluate,
    fit_temperature,
    metrics_dict,
    metrics_table,
)


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


def test_nothing_to_evaluate_is_an_error():
    for images, labels in ((0, 0), (3, 2)):
        with pytest.raises(ValueError, match="cannot be evaluated"):
            evaluate(Fixed(torch.zeros(3, 10)), numbered(images), torch.zeros(labels, dtype=torch.long))


def random_result(seed=0, count=400, classes=10, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator) * sharpness
    labels = torch.randint(0, classes, (count,), generator=generator)
    right = torch.rand(count, generator=generator) < 0.7
    labels[right] = logits.argmax(dim=1)[right]
    return evaluate(Fixed(logits), numbered(count), labels)


def test_reliability_and_calibration_error_against_a_loop_over_bins():
    result = random_result()
    confidences, right = result.confidences.tolist(), result.correct.tolist()
    reliability, error = result.reliability(), 0.0
    for i, (images, confidence, accuracy) in enumerate(torch.stack([*reliability]).T.tolist()):
        members = [k for k, c in enumerate(confidences) if i / 15 < c <= (i + 1) / 15]
        assert images == len(members)
        if not members:
            assert math.isnan(confidence)
            assert math.isnan(accuracy)
            continue
        assert confidence == pytest.approx(sum(confidences[k] for k in members) / len(members))
        assert accuracy == pytest.approx(sum(right[k] for k in members) / len(members))
        error += len(members) / len(confidences) * abs(confidence - accuracy)
    assert reliability.images.sum() == len(confidences)
    assert result.calibration_error() == pytest.approx(error, abs=1e-6)


def test_the_area_under_the_coverage_curve_against_its_points():
    result = random_result(count=60)
    confidences = result.confidences.tolist()
    right = (result.predictions == result.labels).tolist()
    surest = sorted(range(60), key=lambda k: -confidences[k])
    points = [sum(right[k] for k in surest[:n]) / n for n in range(1, 61)]
    assert result.coverage_area() == pytest.approx(sum(points) / 60)
    # One mistake of four, and it is the least sure: 1, 1, 1, 3/4.
    logits = torch.tensor([[4.0, 0.0], [3.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    sorted_out = Evaluation(0.0, 0.75, logits, torch.tensor([0, 0, 0, 1]))
    assert sorted_out.coverage_area() == pytest.approx(3.75 / 4)


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 8.0])
def test_the_fitted_temperature_is_that_of_the_truth(sharpness):
    """Labels drawn from the probabilities, whose logits are then made sharper or softer."""
    generator = torch.Generator().manual_seed(1)
    truth = 2 * torch.randn(20_000, 10, generator=generator)
    labels = truth.softmax(dim=1).multinomial(1, generator=generator).squeeze(1)
    result = evaluate(Fixed(sharpness * truth), numbered(len(truth)), labels)
    best = fit_temperature(result.logits, labels)
    assert best == pytest.approx(sharpness, rel=0.03)

    def loss(temperature):
        return nn.functional.cross_entropy(result.logits.double() / temperature, labels).item()

    assert all(loss(best) < loss(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))
    warm = result.at_temperature(best)
    assert torch.equal(warm.predictions, result.predictions)
    assert warm.calibration_error() < 0.015
    assert warm.calibration_error() < result.calibration_error()


def test_a_temperature_stays_finite_where_all_is_right():
    labels = torch.arange(10)
    assert 0.04 < fit_temperature(10 * torch.eye(10), labels) < 0.06
    assert 19 < fit_temperature(-10 * torch.eye(10), labels) < 21


def test_precision_and_recall_against_counting():
    result = random_result(classes=4)
    metrics = metrics_dict(result)
    pairs = list(zip(result.labels.tolist(), result.predictions.tolist(), strict=True))
    for k in range(4):
        hits = sum(label == k == read for label, read in pairs)
        assert metrics["precision"][k] == pytest.approx(hits / sum(read == k for _, read in pairs))
        assert metrics["recall"][k] == pytest.approx(hits / sum(label == k for label, _ in pairs))


def test_hits_begin_with_the_least_sure_and_mistakes_with_the_surest():
    result = random_result()
    hits, mistakes = result.unsure_hits(), result.mistakes()
    assert (result.predictions[hits] == result.labels[hits]).all()
    assert (result.confidences[hits].diff() >= 0).all()
    assert (result.confidences[mistakes].diff() <= 0).all()
    assert sorted([*hits.tolist(), *mistakes.tolist()]) == list(range(len(result.labels)))


def test_the_report_fits_a_terminal_and_a_missing_class_is_no_error():
    logits = torch.zeros(50_000, 10)
    logits[:, 3] = 9.0
    labels = torch.arange(50_000) % 9  # no class 9
    result = Evaluation(1.0, 0.1, logits, labels)
    lines = metrics_table(result, list(range(10)), temperature=1.5)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "uncalibrated" in text
    assert metrics_dict(result)["recall"][9] is None
    assert metrics_dict(result)["precision"][0] is None
    names = [f"a long name {i}" for i in range(10)]
    assert "a long name 0 read as a long name 3: 5,556" in "\n".join(metrics_table(result, names))
