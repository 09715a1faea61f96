"""The whole family: parameters, functions and files of every network, in one place."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import train
from lenet5.evaluation.metrics import evaluate, loss_function
from lenet5.imaging.inputs import to_input
from lenet5.networks.lenet1998 import LeNet1998
from lenet5.networks.registry import NETWORKS, table_of_networks
from lenet5.networks.weights import load_weights, save_weights
from lenet5.runtime.errors import UserError
from lenet5.training.epoch import TrainingStep, backpropagate, train_epoch
from lenet5.training.epoch_plan import EpochPlan, TrainingPool
from lenet5.training.schedules import SCHEDULES
from model import (
    INITIALISATIONS,
    LeNet5,
    LeNet5Conv,
    LeNet5Padded,
    LeNet5Tanh,
    LeNetGAP,
    build,
    count_multiply_adds,
    count_parameters,
)
from tests.conftest import ROOT

# Counted by hand: maps × (inputs × 5 × 5 + 1), then units × (inputs + 1).
HEAD = 84 * 121 + 10 * 85
PARAMETERS = {
    "lenet5": 6 * 26 + 16 * 151 + 120 * 401 + HEAD,
    "lenet5-padded": 6 * 26 + 16 * 151 + 120 * (16 * 6 * 6 + 1) + HEAD,
    "lenet5-conv": 6 * 26 + 16 * 151 + 120 * (16 * 25 + 1) + HEAD,
    "lenet-gap": 6 * 26 + 16 * 151 + 120 * (16 + 1) + HEAD,
    "lenet5-tanh": 6 * 26 + 16 * 151 + 120 * 401 + HEAD,
    "lenet5-1998": 60_000,
    # No biases before batch normalisation, which has two numbers a map.
    "teacher": 32 * 26 + 9 * (32 * 64 + 64 * 64 + 64 * 128) + 2 * (32 + 64 + 64 + 128) + 10 * 129,
}
# Maps × places × inputs of each weight, layer by layer.
TAIL = 120 * 84 + 84 * 10
MULTIPLY_ADDS = {
    "lenet5": 6 * 28**2 * 25 + 16 * 10**2 * 150 + 400 * 120 + TAIL,
    "lenet5-padded": 6 * 32**2 * 25 + 16 * 12**2 * 150 + 576 * 120 + TAIL,
    "lenet5-conv": 6 * 28**2 * 25 + 16 * 10**2 * 150 + 400 * 120 + TAIL,
    "lenet-gap": 6 * 28**2 * 25 + 16 * 10**2 * 150 + 16 * 120 + TAIL,
    "lenet5-tanh": 6 * 28**2 * 25 + 16 * 10**2 * 150 + 400 * 120 + TAIL,
    "teacher": 32 * 24**2 * 25 + 9 * (12**2 * (32 * 64 + 64 * 64) + 6**2 * 64 * 128) + 128 * 10,
}
ALL = list(NETWORKS)


@pytest.fixture(params=ALL)
def net(request):
    torch.manual_seed(0)
    return build(request.param)


def test_parameters(net):
    assert count_parameters(net) == PARAMETERS[net.arch]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds(name):
    net = build(name)
    assert count_multiply_adds(net) == MULTIPLY_ADDS[name]
    assert all(p.device.type == "cpu" for p in net.parameters())  # it is left as it was


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_shapes_and_gradients(net, precision):
    for count in (1, 3):
        assert net(torch.randn(count, 1, 32, 32)).shape == (count, 10)
    batch = torch.randn(5, 1, 32, 32), torch.arange(5)
    loss, logits = backpropagate(net, *batch, loss_function(net), precision)
    assert (logits.shape, logits.dtype) == ((5, 10), torch.float32)
    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_weights_say_what_they_are(net, tmp_path):
    path = tmp_path / "w.pth"
    save_weights(path, net)
    for other in ALL:
        if other != net.arch:
            with pytest.raises(UserError, match=f"holds weights of {net.arch}, not of {other}"):
                load_weights(path, other)
    loaded, metadata = load_weights(path)
    assert type(loaded) is type(net)
    assert (metadata["arch"], metadata["mean"], metadata["std"]) == (net.arch, net.mean, net.std)
    x = torch.randn(4, 1, 32, 32)
    assert torch.equal(loaded(x), net(x))


def test_weights_without_metadata_are_recognised_by_their_shapes(net, tmp_path, capsys):
    path = tmp_path / "w.pth"
    torch.save(dict(net.state_dict()), path)
    _loaded, metadata = load_weights(path)
    assert metadata["arch"] == net.arch
    assert f"assuming {net.arch}" in capsys.readouterr().err
    for other in ALL:
        if other != net.arch:
            with pytest.raises(UserError, match=f"is not of {other}"):
                load_weights(path, other)


@pytest.mark.slow
def test_every_network_learns_and_is_evaluated_by_the_same_functions(net):
    """One epoch and one evaluation as a notebook would call them."""
    generator = torch.Generator().manual_seed(0)
    patterns = F.interpolate(torch.rand(10, 1, 8, 8, generator=generator), 32) * 2 - 0.5
    inputs, labels = patterns.repeat(20, 1, 1, 1), torch.arange(10).repeat(20)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    before = evaluate(net, inputs, labels)
    for _ in range(8):
        plan = EpochPlan(TrainingPool(inputs, labels), None, generator)
        steps, tally = train_epoch(TrainingStep(net, optimizer), plan, 20)
    after = evaluate(net, inputs, labels)
    assert steps == 10
    assert after.loss < before.loss / 2
    assert tally.result()[0] < before.loss


def test_list_is_a_table_of_80_columns(capsys):
    family = ["lenet5", "lenet5-padded", "lenet5-conv", "lenet-gap", "lenet5-tanh", "lenet5-1998"]
    assert [*family, "teacher"] == ALL  # the names of the contract
    assert train.main(["--arch", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == table_of_networks().splitlines()
    assert all(len(line) <= 80 for line in lines)
    rows = {line.split()[0]: line for line in lines[1:-1]}
    assert list(rows) == ALL
    for name, parameters in PARAMETERS.items():
        assert f"{parameters:,}" in rows[name]
    assert "340,908" in rows["lenet5-1998"]  # the paper's connections


# ------------------------------------------------------------------- one by one


def test_padded_takes_xavier_or_he():
    torch.manual_seed(0)
    variance = {"he": 2 / 576, "xavier": 2 / (576 + 120)}
    for init, wanted in variance.items():
        weights = LeNet5Padded(init=init).c5.weight
        assert weights.var().item() == pytest.approx(wanted, rel=0.03)  # 69,120 values


def test_initialisations_take_layers_without_biases():
    for init in INITIALISATIONS.values():
        net = build("teacher").apply(init)
        assert net.c2.bias is None
        assert net.c1.bias.abs().max() == 0


def test_conv_is_lenet5_with_another_shape_of_c5():
    torch.manual_seed(0)
    plain, conv = LeNet5(), LeNet5Conv()
    state = plain.state_dict()
    state["c5.weight"] = state["c5.weight"].view(120, 16, 5, 5)
    conv.load_state_dict(state)
    x = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(conv(x), plain(x))


@pytest.mark.parametrize(("height", "width"), [(32, 36), (40, 48), (64, 32)])
def test_conv_on_a_larger_picture_answers_for_each_window(height, width):
    torch.manual_seed(0)
    net = LeNet5Conv()
    x = torch.randn(2, 1, height, width)
    answers = net(x)
    rows, columns = (height - 32) // 4 + 1, (width - 32) // 4 + 1
    assert answers.shape == (2, 10, rows, columns)
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, 4 * i : 4 * i + 32, 4 * j : 4 * j + 32]
            torch.testing.assert_close(answers[:, :, i, j], net(window), rtol=1e-4, atol=1e-5)


def test_gap_is_the_network_of_its_document():
    torch.manual_seed(0)
    net = LeNetGAP()
    theirs = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2, 2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    theirs.load_state_dict(dict(zip(theirs.state_dict(), net.state_dict().values(), strict=True)))
    picture = torch.randn(3, 1, 28, 28)
    framed = F.pad(picture, (2, 2, 2, 2), value=9.0)  # the frame is not to be seen
    torch.testing.assert_close(net(framed), theirs(picture))
    # Normalised to [-1, 1].
    assert [(p - net.mean) / net.std for p in (0, 1)] == [-1, 1]


def test_tanh_is_the_network_of_its_document():
    torch.manual_seed(0)
    net = LeNet5Tanh()
    theirs = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
        nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    theirs.load_state_dict(dict(zip(theirs.state_dict(), net.state_dict().values(), strict=True)))
    x = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(net(x), theirs(x))
    # Xavier with gain 5/3: variance 2·(5/3)²/(fan-in + fan-out); C5 has 48,000 values.
    wanted = 2 * (5 / 3) ** 2 / (400 + 120 * 25)
    assert net.c5.conv.weight.var().item() == pytest.approx(wanted, rel=0.03)


def test_1998_reads_ten_digits_only_and_others_any_number_of_classes(tmp_path):
    with pytest.raises(ValueError, match="ten digits"):
        build("lenet5-1998", 26)
    state = LeNet1998().state_dict()
    state["output.bitmaps"] = torch.ones(26, 84)
    path = tmp_path / "w.pth"
    torch.save(state, path)
    with pytest.raises(UserError, match="fit none of ours"):
        load_weights(path)
    torch.save(dict(LeNet5(26).state_dict()), path)
    assert load_weights(path)[0].output.out_features == 26


# ------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--optimizer", "sdlm"], "only lenet5-1998 has"),
        (["--recipe", "1998", "--device", "cuda"], "on the CPU"),
        (["--arch", "lenet5-1998", "--init", "xavier"], "an initialisation of its own"),
        (["--arch", "lenet5-tanh", "--init", "he"], "an initialisation of its own"),
        (["--recipe", "1998", "--teacher", "t.pth"], "equation 9"),
        (["--recipe", "1998", "--weight-decay", "0.1"], "leave it out"),
        (["--recipe", "1998", "--precision", "bfloat16"], "learns in float32"),
        (["--teacher", "t.pth", "--augment", "none"], "--teacher needs distorted images"),
        (["--temperature", "2"], "name a --teacher"),
        (["--teacher", "t.pth", "--label-smoothing", "0.1"], "stands for them"),
        (["--arch", "lenet5-1998", "--label-smoothing", "0.1"], "equation 9"),
        (["--init", "he", "--init-from", "w.pth", "--arch", "lenet5"], "leave one out"),
    ],
)
def test_flags_that_make_no_sense_together(flags, words):
    with pytest.raises(UserError, match=words):
        train.resolve_settings(
            {k: v for k, v in vars(train.make_parser().parse_args(flags)).items() if v is not None}
        )


def test_recipes_of_the_documents():
    gap = train.resolve_settings({"recipe": "lenet-gap"})
    assert (gap.arch, gap.epochs, gap.batch_size, gap.lr) == ("lenet-gap", 30, 64, 2e-3)
    paper = train.resolve_settings({"recipe": "1998"})
    assert (paper.arch, paper.epochs, paper.batch_size) == ("lenet5-1998", 20, 100)
    # Section III.C: 0.0005 for 2 passes, 0.0002 for 3, 0.0001 for 3, 0.00005 for 4, then 0.00001.
    wanted = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    for number, lr in enumerate(wanted):
        for step in (0, 29_999, 59_999):
            progress = (number * 60_000 + step) / 1_200_000
            # A fifth of the published steps, for the reason in DiagonalLevenbergMarquardt.
            assert paper.lr * SCHEDULES["1998"](progress) == pytest.approx(lr / 5)
    assert train.resolve_settings({"recipe": "1998", "epochs": 3}).epochs == 3  # a flag wins


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({}, 352),
        ({"seed": 3, "lr": 0.1, "val_size": 5000}, 352),
        ({"epochs": 2}, None),
        ({"batch_size": 64}, None),
        ({"dataset": "emnist-digits"}, None),
        ({"fonts": "fonts/digits.npz"}, None),
        ({"epochs": 3, "max_steps": 9}, 9),
    ],
)
def test_the_steps_of_a_recipe_are_for_its_own_batches_and_images(given, steps):
    assert train.resolve_settings({"recipe": "quick", **given}).max_steps == steps


# ------------------------------------------------------------ what is shipped

LENETS = sorted(path for path in (ROOT / "pretrained").glob("*.pth") if path.stem != "finder")


@pytest.mark.slow
@pytest.mark.parametrize("path", LENETS, ids=lambda path: path.stem)
def test_shipped_weights_do_what_they_and_their_card_say(path, mnist):
    net, metadata = load_weights(path)
    inputs = to_input(mnist.test_images, metadata["mean"], metadata["std"])
    accuracy = evaluate(net, inputs, mnist.test_labels).accuracy
    # Another processor's rounding may turn an image or two of 10,000.
    assert accuracy == pytest.approx(metadata["test_accuracy"], abs=2e-4)
    card = (ROOT / "pretrained" / "README.md").read_text().split(f"# {path.name}\n")[1].split("\n# ")[0]
    assert f"{100 * metadata['test_accuracy']:.2f} % of 10,000" in card
    assert f"{count_parameters(net):,} parameters" in card
