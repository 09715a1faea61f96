"""Over-segmentation: cuts, the graph, and its best path beside all paths."""

import itertools

import numpy as np
import pytest
import torch

from benchmarks.made_up_numbers import PLAIN, make_strings
from lenet5.reading.classifier import ImageClassifier
from lenet5.whole_numbers.segmentation import (
    Graph,
    cut_columns,
    digit_scores,
    graphs_of,
    likeliest_path,
    picture_of,
    pieces,
    pieces_at,
)
from lenet5.whole_numbers.viterbi import viterbi
from tests.conftest import PRETRAINED

CLEAN = PLAIN._replace(noise=0.0)


@pytest.fixture(scope="module")
def classify():
    return ImageClassifier(PRETRAINED, device="cpu").logits


@pytest.fixture(scope="module")
def apart(mnist):
    """Numbers of three digits, 10 pixels apart, as strips, and the numbers."""
    images, labels = mnist.train_images[:1000], mnist.train_labels[:1000]
    made = make_strings(images, labels, 20, 0, lengths=(3, 3), spacing=10, style=CLEAN)
    return made.strips(), made


def two_bars(gap: int) -> np.ndarray:
    strip = np.zeros((32, 40), np.uint8)
    strip[6:26, 8:11] = strip[6:26, 11 + gap : 14 + gap] = 255
    return strip


def test_pieces_are_the_components_from_left_to_right_without_dust():
    strip = two_bars(6)
    strip[1:3, 30:33] = 255  # 6 pixels
    found = pieces(strip)
    assert found.boxes == [(8, 6, 3, 20), (17, 6, 3, 20)]
    assert set(np.unique(found.labels)) == {0, 1, 2}
    assert pieces(np.zeros((32, 20), np.uint8)).boxes == []


def test_joined_strokes_are_cut_where_there_is_least_ink():
    strip = two_bars(12)
    strip[15:17, 8:26] = 255  # a ligature
    assert len(cut_columns(strip[6:26, 8:26])) >= 1
    found = pieces(strip)
    assert len(found.boxes) >= 2
    assert found.labels.astype(bool).sum() == (strip > 0).sum()  # no ink is lost
    left, right = pieces_at(strip, [9, 24]).boxes
    assert (left[0], left[0] + left[2]) == (8, right[0])
    assert 11 < right[0] < 23


def all_ways(count, edges):
    for size in range(1, count + 1):
        for way in itertools.permutations(range(len(edges)), size):
            ends = [0, *(edges[i][1] for i in way)]
            if ends[-1] == count and all(edges[i][0] == a for i, a in zip(way, ends, strict=False)):
                yield list(way)


@pytest.mark.parametrize("seed", range(10))
def test_viterbi_finds_the_best_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    edges = [(a, b) for a in range(4) for b in range(a + 1, 5) if rng.random() < 0.8 or b == a + 1]
    scores = rng.normal(size=len(edges))
    best = max(all_ways(4, edges), key=lambda way: scores[way].sum())
    assert viterbi(4, edges, scores) == best
    assert viterbi(2, [(0, 1)], [0.0]) == []


@pytest.mark.parametrize("seed", range(6))
def test_the_likeliest_path_of_a_graph_is_that_of_the_best_digits(seed):
    rng = np.random.default_rng(seed)
    ends = [(a, b) for a in range(4) for b in range(a + 1, 5)]
    scores = -rng.exponential(size=(len(ends), 10))
    wanted = max(all_ways(4, ends), key=lambda way: scores[way].max(axis=1).sum())
    assert likeliest_path(Graph(4, ends, [(0, 0, 1, 1)] * len(ends), scores)) == wanted


def test_graphs_have_the_scores_of_their_own_segments():
    """Two strips and an empty one together, by a classifier that tells how wide a digit is."""

    def classify(pictures):
        return 10.0 * np.eye(10)[(pictures[:, 14] > 0).sum(axis=1) // 3]

    strips = [two_bars(6), two_bars(12), np.zeros((32, 40), np.uint8)]
    together = graphs_of(strips, classify)
    for strip, graph in zip(strips, together, strict=True):
        (alone,) = graphs_of([strip], classify)
        assert graph[:3] == alone[:3]
        np.testing.assert_array_equal(graph.scores, alone.scores)
        assert len(graph.scores) == len(graph.ends) == len(graph.boxes)
    assert [graph.last for graph in together] == [2, 2, 0]
    assert likeliest_path(together[2]) == []


def test_separated_digits_are_read(apart, classify):
    strips, made = apart
    found = [
        "".join(map(str, graph.scores[likeliest_path(graph)].argmax(axis=1)))
        for graph in graphs_of(strips, classify)
    ]
    right = sum(a == b for a, b in zip(found, made.texts(), strict=True))
    assert right >= 18  # of 20; those digits were learned


def test_what_is_no_digit_and_what_is_low_score_less():
    sure, unsure = torch.zeros(1, 10), torch.zeros(1, 10)
    sure[0, 4] = 20.0
    boxes = [(0, 0, 10, 20), (20, 0, 10, 20), (40, 16, 4, 4)]
    scores = digit_scores(boxes, torch.cat([sure, unsure, sure]))
    assert scores[0, 4] > -0.01
    assert scores[1].max() < -5  # no evidence of any digit
    assert scores[2, 4] == pytest.approx(scores[0, 4] - 2)  # LOW_COST


def test_ink_goes_to_the_digit_in_whose_middle_it_is(apart):
    strips, made = apart
    away = []
    for n, strip in enumerate(strips):
        found = pieces_at(strip, made.middles()[n, :3].tolist())
        away.append(np.abs(np.array(found.boxes) - made.boxes[n, :3].numpy()).max())
    # Those boxes are by each digit's own strongest ink, these by the strip's: a faint end of a
    # stroke may be missing.
    assert np.mean(np.array(away) <= 1) >= 0.8
    assert max(away) <= 5


def test_a_digit_without_ink_has_an_empty_box():
    found = pieces_at(two_bars(12), [9, 17, 24])
    assert found.boxes[1] == (17, 0, 0, 0)
    assert not picture_of(two_bars(12), found, found.boxes[1], 1, 2).any()
    assert pieces_at(two_bars(12), []).boxes == []
