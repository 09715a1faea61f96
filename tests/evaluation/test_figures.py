"""The figures: what is shown, in which order, with which words."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lenet5.evaluation import evaluation_figures, network_figures, training_figures
from lenet5.evaluation import figures as figures_module
from lenet5.evaluation.introspection import Kernels
from lenet5.evaluation.metrics import Evaluation
from lenet5.evaluation.robustness import DISTURBANCES
from lenet5.imaging.inputs import to_input
from model import LeNet5, LeNetGAP

FIGURE_MODULES = (figures_module, training_figures, evaluation_figures, network_figures)


@pytest.fixture
def shown(monkeypatch):
    """What picture_grid is asked to draw."""
    calls = []
    monkeypatch.setattr(figures_module, "picture_grid", lambda *arguments: calls.append(arguments))
    return calls


@pytest.fixture
def images():
    return torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8)


def result():
    # Read as 1, 0, 2, 2; the second and the fourth are wrong, the fourth more confidently.
    logits = torch.tensor([[0.0, 4.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 9.0]])
    return Evaluation(0.5, 0.5, logits, torch.tensor([1, 2, 2, 0]))


@pytest.mark.parametrize("network", [LeNet5, LeNetGAP])
def test_a_batch_is_denormalised_and_labelled(shown, images, network):
    inputs = to_input(images, network.mean, network.std)
    figures_module.batch_grid(inputs, torch.tensor([1, 2, 2, 0]), "x.png", network.mean, network.std)
    pictures, titles, _, path = shown[0]
    torch.testing.assert_close(pictures[:, 2:-2, 2:-2], images.float(), rtol=0, atol=1e-3)
    assert titles == ["1", "2", "2", "0"]
    assert path == "x.png"


def test_a_batch_with_predictions_says_what_is_wrong(shown, images):
    inputs = to_input(images, 0.5, 0.5)
    labels, predictions = torch.tensor([1, 2, 2, 0]), torch.tensor([1, 0, 2, 2])
    figures_module.batch_grid(inputs, labels, "x.png", 0.5, 0.5, predictions)
    _, titles, colours, _ = shown[0]
    assert titles == ["1", "0, is 2", "2", "2, is 0"]
    assert [colour == figures_module.RED for colour in colours] == [False, True, False, True]


def test_predictions_show_confident_mistakes_first(shown, images):
    inputs = to_input(images, 0.5, 0.5)
    figures_module.prediction_grid(inputs, result(), "x.png", 0.5, 0.5)
    pictures, titles, _, _, heading = shown[0]
    # Confidences: e^9/(e^9+2), e/(e+2), e^4/(e^4+2), e/(e+2).
    assert titles == ["2 (100%), is 0", "0 (58%), is 2", "1 (96%)", "2 (58%)"]
    torch.testing.assert_close(pictures[:, 2:-2, 2:-2], images[[3, 1, 0, 2]].float(), rtol=0, atol=1e-3)
    assert heading == "2 of 4 wrong"


def test_predictions_can_show_mistakes_only_and_a_few(shown, images):
    inputs = to_input(images, 0.5, 0.5)
    figures_module.prediction_grid(inputs, result(), "x.png", 0.5, 0.5, only_wrong=True)
    assert len(shown[0][1]) == 2
    figures_module.prediction_grid(inputs, result(), "x.png", 0.5, 0.5, limit=1)
    assert shown[1][1] == ["2 (100%), is 0"]


def test_no_mistakes_is_a_picture_too(images, tmp_path):
    logits = torch.eye(4)[:, :3] + torch.tensor([0.0, 0.0, 0.1])
    right = Evaluation(0.5, 1.0, logits, logits.argmax(1))
    path = tmp_path / "x.png"
    figures_module.prediction_grid(to_input(images, 0.5, 0.5), right, path, 0.5, 0.5, only_wrong=True)
    assert path.stat().st_size > 0


def test_names_that_the_font_lacks_are_no_warning(images, tmp_path):
    titles = ["😀", "a\nb", "\udcff", "$x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures_module.picture_grid(
            images.numpy(), titles, [figures_module.GREY] * 4, tmp_path / "a.png"
        )
    assert (tmp_path / "a.png").exists()


# ---------------------------------------------------------------- inside a network


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be saved."""
    figures = []
    for module in FIGURE_MODULES:
        monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure))
    return figures


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


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
        np.testing.assert_array_equal(block[::zoom][:, ::zoom], tile)
        np.testing.assert_array_equal(block[zoom - 1 :: zoom][:, zoom - 1 :: zoom], tile)
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
    grey = to_hex(image.cmap(np.nan))
    found = [[to_hex(colour).upper() for colour in row] for row in middles]
    assert found[0] == [figures_module.RED, figures_module.BLUE, figures_module.RED, figures_module.RED]
    assert found[1] == [figures_module.RED, figures_module.BLUE, grey.upper(), figures_module.RED]
    assert "not connected" in axes.get_title()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("map of C3", "map of S2")


def test_of_many_kernels_the_first_are_drawn(drawn):
    network_figures.filters([Kernels("C1", "input", torch.rand(20, 1, 5, 5) + 1)], "x.png", "title")
    (axes,) = drawn[0].axes
    assert "the first 16 of its 20 maps" in axes.get_title()
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
    assert titles(figure)[3:5] == [
        "F6: 84 units as 7×12\nfull",
        "what the answer wants F6 to be:\nits bitmap",
    ]
    image = figure.axes[4].get_images()[0].get_array()
    rows, columns = np.nonzero(image == -1)
    assert 12 * rows.mean() / image.shape[0] == pytest.approx(1.5, abs=0.1)
    assert 7 * columns.mean() / image.shape[1] == pytest.approx(2.5, abs=0.1)


def test_of_many_classes_the_likeliest_twelve_have_a_bar(drawn):
    figure = maps_of(drawn, classes=[f"class {i}" for i in range(47)])
    names = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    assert names == [f"class {i}" for i in range(46, 34, -1)]


def test_reliability_has_a_point_for_each_bin_with_answers(drawn, images):
    evaluation_figures.evaluation(result(), images, ["0", "1", "2"], "x.png")
    matrix, axes, counts, *pictures = drawn[0].axes
    assert matrix.get_title() == "50.00 % right"
    # Confidences: e/(e+2) = .576 twice, once right; e^4/(e^4+2) = .965, right, and 1.000, wrong.
    x, y = axes.get_lines()[1].get_data()
    assert x == pytest.approx([57.6, 98.2], abs=0.1)
    assert y == pytest.approx([50, 50])
    assert [bar.get_height() for bar in counts.patches] == [0] * 8 + [2] + [0] * 5 + [2]
    words = [axes.get_title() for axes in pictures if axes.get_title()]
    assert words == ["2, is 0\n100.0%", "0, is 2\n57.6%", "2\n57.6%", "1\n96.5%"]


@pytest.mark.parametrize(("right", "count"), [(0, 1), (8, 10), (9958, 10_000)])
def test_the_interval_ends_where_the_share_seen_is_on_the_edge(right, count):
    """Wilson's: the true shares of which the one seen is 1.96 standard errors away."""
    seen = right / count
    for true in evaluation_figures.wilson_interval(np.array([seen]), np.array([count])):
        variance = true.item() * (1 - true.item()) / count
        assert (seen - true.item()) ** 2 == pytest.approx(1.96**2 * variance, abs=1e-15)


def test_f6_is_marked_by_class_and_mistakes_have_rings(drawn):
    points = torch.rand(300, 2)
    labels, predictions = torch.arange(300) % 3, torch.arange(300) % 3
    predictions[10] = 2  # a 1
    evaluation_figures.embedding(points, labels, predictions, ["0", "1", "2"], "x.png", "F6")
    (axes,) = drawn[0].axes
    assert [len(part.get_offsets()) for part in axes.collections] == [100, 100, 100, 1]
    np.testing.assert_allclose(axes.collections[-1].get_offsets()[0], points[10])
    assert len({to_hex(part.get_facecolor()[0]) for part in axes.collections[:3]}) == 3
    shapes = [part.get_paths()[0].vertices.shape for part in axes.collections[:3]]
    assert len(set(shapes)) == 3  # a figure's outline, not one mark for all
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["read wrong"]
    assert "here" not in axes.get_title()


def test_of_many_points_some_are_shown_and_names_are_in_the_legend(drawn):
    labels = torch.arange(4000) % 3
    names = ["ankle boot", "$", "_"]  # of which a formula could not be made
    evaluation_figures.embedding(torch.rand(4000, 2), labels, 0 * labels, names, "x.png", "F6")
    (axes,) = drawn[0].axes
    *words, rings = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["ankle boot", r"\$", " _"]
    assert rings == "read wrong (100 of 2,666)"  # 1,334 of the 4,000 are 0
    assert "(here 3,000)" in axes.get_title()
    assert sum(len(part.get_offsets()) for part in axes.collections[:3]) == 3000


def test_robustness_has_a_curve_a_network_and_its_pictures_below(drawn):
    curves = {
        name: {kind: [(x, share) for x in what.amounts] for kind, what in DISTURBANCES.items()}
        for name, share in (("one", 0.5), ("two", 0.9))
    }
    examples = {kind: [np.zeros((32, 32))] * len(what.shown) for kind, what in DISTURBANCES.items()}
    evaluation_figures.robustness(curves, examples, "x.png", "title")
    panels, strips = drawn[0].axes[::2], drawn[0].axes[1::2]
    assert [axes.get_title() for axes in panels] == ["Rotation", "Shift", "Scale", "Noise"]
    for axes, strip, what in zip(panels, strips, DISTURBANCES.values(), strict=True):
        first, second, _ = axes.get_lines()
        assert tuple(first.get_xdata()) == what.amounts
        assert (set(first.get_ydata()), set(second.get_ydata())) == ({50}, {90})
        assert first.get_marker() != second.get_marker()
        middles = [sum(image.get_extent()[:2]) / 2 for image in strip.get_images()]
        assert middles == pytest.approx(what.shown)


def test_compared_accuracies_are_seen_from_near(drawn):
    """Training's first epoch, far below all evaluations, does not set the scale."""
    rows = [(1, 0.75, 0.97), (2, 0.96, 0.98)]
    history = [
        {"epoch": e, "train_accuracy": t, "val_accuracy": v, "train_loss": 1 - t, "val_loss": 1 - v}
        for e, t, v in rows
    ]
    training_figures.run_comparison({"a": history, "b": history}, "x.png")
    low, high = drawn[0].axes[1].get_ylim()
    assert 96 < low < 97
    assert 98 < high < 99
