"""What the figures show: values, order, words."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lenet5.evaluation import evaluation_figures, figures, network_figures, training_figures
from lenet5.evaluation.introspection import Kernels
from lenet5.evaluation.metrics import Evaluation
from lenet5.evaluation.robustness import DISTURBANCES
from lenet5.imaging.inputs import to_input
from model import LeNet5, LeNetGAP

IMAGES = torch.randint(0, 256, (4, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
# Read as 1, 0, 2, 2; the second and the fourth are wrong, the fourth more confidently.
LOGITS = torch.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 9.0]])
RESULT = Evaluation(0.5, 0.5, LOGITS, torch.tensor([1, 2, 2, 0]))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be saved."""
    saved = []
    for module in (figures, network_figures):
        monkeypatch.setattr(module, "save", lambda figure, path: saved.append(figure))
    return saved


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def assert_shown(figure, images):
    """The figure's pictures are the images, in order."""
    for axes, image in zip(figure.axes, images, strict=False):
        shown = torch.as_tensor(np.asarray(axes.get_images()[0].get_array()))
        torch.testing.assert_close(shown[2:-2, 2:-2], image.float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("network", [LeNet5, LeNetGAP])
def test_a_batch_is_denormalised_and_labelled(drawn, network):
    inputs = to_input(IMAGES, network.mean, network.std)
    training_figures.batch_grid(inputs, RESULT.labels, "x.png", network.mean, network.std)
    assert titles(drawn[0]) == ["1", "2", "2", "0"]
    assert_shown(drawn[0], IMAGES)


@pytest.mark.parametrize(("options", "count"), [({}, 4), ({"only_wrong": True}, 2), ({"limit": 1}, 1)])
def test_predictions_begin_with_confident_mistakes(drawn, options, count):
    inputs = to_input(IMAGES, 0.5, 0.5)
    evaluation_figures.prediction_grid(inputs, RESULT, "x.png", 0.5, 0.5, **options)
    # Confidences: e^9/(e^9+2), e/(e+2), e^4/(e^4+2), e/(e+2).
    expected = ["2 (100%), is 0", "0 (58%), is 2", "1 (96%)", "2 (58%)"]
    assert titles(drawn[0]) == expected[:count]
    assert_shown(drawn[0], IMAGES[[3, 1, 0, 2]][:count])
    assert drawn[0].get_suptitle() == "2 of 4 wrong"
    colours = [axes.title.get_color() for axes in drawn[0].axes[:count]]
    assert colours == [figures.RED, figures.RED, figures.GREEN, figures.GREEN][:count]


def test_a_grid_of_no_pictures_and_names_that_the_font_lacks(tmp_path):
    figures.picture_grid(IMAGES[:0].numpy(), [], [], tmp_path / "none.png")
    names = ["😀", "a\nb", "\udcff", "$x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.picture_grid(IMAGES.numpy(), names, [figures.GREY] * 4, tmp_path / "a.png")
    assert all((tmp_path / name).stat().st_size > 0 for name in ("none.png", "a.png"))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (6, 3), (7, 7), (16, 4), (84, 12), (120, 12)])
def test_tiles_fill_whole_rows(count, columns):
    assert network_figures.columns_for(count) == columns


@pytest.mark.parametrize("height", [1, 3])
def test_a_mosaic_has_each_tile_at_its_place(height):
    tiles = torch.rand(5, height, 2).numpy()
    whole, step = network_figures.mosaic(tiles, 2)
    zoom = (step - 1) // 2 if height == 1 else (step - 4) // 2
    gap = step - 2 * zoom
    for i, tile in enumerate(tiles):
        top, left = gap + i // 2 * (height * zoom + gap), gap + i % 2 * step
        block = whole[top : top + height * zoom, left : left + 2 * zoom]
        np.testing.assert_array_equal(block, np.kron(tile, np.ones((zoom, zoom))))
    assert np.isnan(whole[:gap]).all()
    assert np.isfinite(whole).sum() == tiles.size * zoom**2


def test_filters_are_coloured_by_their_sign_and_what_is_missing_is_grey(drawn):
    weight = torch.ones(4, 2, 5, 5)
    weight[1], weight[2, 1] = -1, 0
    network_figures.filters([Kernels("C3", "S2", weight)], "x.png", "title")
    (axes,) = drawn[0].axes
    (image,) = axes.get_images()
    colours = image.cmap(image.norm(image.get_array()))
    # The middle of each of the 4×2 kernels: four maps across, two maps below down.
    step = len(colours) // 2
    middles = colours[step // 2 :: step, step // 2 :: step, :3][:2, :4]
    found = [[to_hex(colour).upper() for colour in row] for row in middles]
    red, blue, grey = figures.RED, figures.BLUE, to_hex(image.cmap(np.nan)).upper()
    assert found == [[red, blue, red, red], [red, blue, grey, red]]
    assert "not connected" in axes.get_title()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("map of C3", "map of S2")
    network_figures.filters([Kernels("C1", "input", torch.rand(20, 1, 5, 5) + 1)], "x.png", "title")
    (axes,) = drawn[1].axes
    assert "first 16 of its 20" in axes.get_title()
    assert len(axes.get_xticks()) == 16


def maps_of(drawn, bitmap=None, classes=("a", "b", "c")):
    layers = [("input", "", torch.rand(1, 32, 32)), ("C1", "convolution", torch.rand(6, 28, 28))]
    layers += [("C5", "full", torch.rand(120)), ("F6", "full", torch.linspace(-1, 2, 84))]
    probabilities = np.linspace(0, 1, len(classes))
    network_figures.maps(layers, (list(classes), probabilities, "read as it"), "x.png", "title", bitmap)
    return drawn[-1]


def test_maps_are_named_in_the_order_of_the_layers(drawn):
    assert titles(maps_of(drawn)) == [
        "input: 32×32\n",
        "C1: 6 maps of 28×28\nconvolution",
        "C5: 120 units\nfull",
        "F6: 84 units\nfull",
        "read as it\n100.00 %",
    ]


def test_f6_beside_its_bitmap_is_read_as_rows_of_seven(drawn):
    bitmap = torch.ones(84)
    bitmap[9] = -1  # the third pixel of the second row
    figure = maps_of(drawn, bitmap)
    assert "F6: 84 units as 7×12" in titles(figure)[3]
    assert "bitmap" in titles(figure)[4]
    image = figure.axes[4].get_images()[0].get_array()
    rows, columns = np.nonzero(image == -1)
    assert 12 * rows.mean() / image.shape[0] == pytest.approx(1.5, abs=0.1)
    assert 7 * columns.mean() / image.shape[1] == pytest.approx(2.5, abs=0.1)


def test_of_many_classes_the_likeliest_twelve_have_a_bar(drawn):
    figure = maps_of(drawn, classes=[f"class {i}" for i in range(47)])
    names = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    assert names == [f"class {i}" for i in range(46, 34, -1)]


def test_reliability_has_a_point_for_each_bin_with_answers(drawn):
    evaluation_figures.evaluation(RESULT, IMAGES, ["0", "1", "2"], "x.png")
    matrix, axes, counts, *_ = drawn[0].axes
    assert {(t.get_position(), t.get_text()) for t in matrix.texts} == {
        ((2, 0), "1"), ((1, 1), "1"), ((0, 2), "1"), ((2, 2), "1")
    }  # fmt: skip
    # Confidences: e/(e+2) = .576 twice, once right; e^4/(e^4+2) = .965, right, and 1.000, wrong.
    x, y = axes.get_lines()[1].get_data()
    assert x == pytest.approx([57.6, 98.2], abs=0.1)
    assert y == pytest.approx([50, 50])
    assert [bar.get_height() for bar in counts.patches] == [0] * 8 + [2] + [0] * 5 + [2]
    assert titles(drawn[0])[2:] == ["2, is 0\n100.0%", "0, is 2\n57.6%", "2\n57.6%", "1\n96.5%"]


@pytest.mark.parametrize(("right", "count"), [(0, 1), (8, 10), (9958, 10_000)])
def test_the_interval_ends_where_the_share_seen_is_on_the_edge(right, count):
    """Wilson's: the true shares of which the one seen is 1.96 standard errors away."""
    seen = right / count
    for true in evaluation_figures.wilson_interval(np.array([seen]), np.array([count])):
        variance = true.item() * (1 - true.item()) / count
        assert (seen - true.item()) ** 2 == pytest.approx(1.96**2 * variance, abs=1e-15)


def test_f6_is_marked_by_class_and_mistakes_have_rings(drawn):
    points, labels = torch.rand(300, 2), torch.arange(300) % 3
    predictions = labels.clone()
    predictions[10] = 2  # a 1
    evaluation_figures.embedding(points, labels, predictions, ["0", "1", "2"], "x.png", "F6")
    (axes,) = drawn[0].axes
    *marks, rings = axes.collections
    assert [len(part.get_offsets()) for part in marks] == [100, 100, 100]
    np.testing.assert_allclose(rings.get_offsets(), points[10:11])
    assert len({to_hex(part.get_facecolor()[0]) for part in marks}) == 3
    assert len({part.get_paths()[0].vertices.shape for part in marks}) == 3  # a shape for each
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["read wrong"]
    assert "here" not in axes.get_title()


def test_of_many_points_some_are_shown_and_names_are_in_the_legend(drawn):
    labels = torch.arange(4000) % 3
    names = ["ankle boot", "$", "_"]  # of which a formula could not be made
    evaluation_figures.embedding(torch.rand(4000, 2), labels, 0 * labels, names, "x.png", "F6")
    (axes,) = drawn[0].axes
    *words, rings = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["ankle boot", r"\$", " _"]
    assert "100 of 2,666" in rings  # 1,334 of the 4,000 are 0
    assert "3,000" in axes.get_title()
    assert sum(len(part.get_offsets()) for part in axes.collections[:3]) == 3000


def test_robustness_has_a_curve_a_network_and_its_pictures_below(drawn):
    curves = {
        name: {kind: [(x, share) for x in what.amounts] for kind, what in DISTURBANCES.items()}
        for name, share in (("one", 0.5), ("two", 0.9))
    }
    examples = {kind: [np.zeros((32, 32))] * len(what.shown) for kind, what in DISTURBANCES.items()}
    evaluation_figures.robustness(curves, examples, "x.png", "title")
    panels, strips = drawn[0].axes[::2], drawn[0].axes[1::2]
    for axes, strip, (kind, what) in zip(panels, strips, DISTURBANCES.items(), strict=True):
        assert axes.get_title().lower() == kind
        first, second, _ = axes.get_lines()
        assert tuple(first.get_xdata()) == what.amounts
        assert (set(first.get_ydata()), set(second.get_ydata())) == ({50}, {90})
        assert first.get_marker() != second.get_marker()
        middles = [sum(image.get_extent()[:2]) / 2 for image in strip.get_images()]
        assert middles == pytest.approx(what.shown)


def test_compared_accuracies_are_seen_from_near(drawn):
    """Training's first epoch, far below all evaluations, does not set the scale."""
    history = [
        {"epoch": e, "train_accuracy": t, "val_accuracy": v, "train_loss": 1 - t, "val_loss": 1 - v}
        for e, t, v in [(1, 0.75, 0.97), (2, 0.96, 0.98)]
    ]
    training_figures.run_comparison({"a": history, "b": history}, "x.png")
    low, high = drawn[0].axes[1].get_ylim()
    assert 96 < low < 97
    assert 98 < high < 99
