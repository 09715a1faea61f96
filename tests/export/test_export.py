"""What is exported is the network: other programs compute with it what PyTorch does."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.utils.prune as torch_prune

import export
from generate_test_digits import Drawing, default_face
from lenet5.data.datasets import load_dataset, split
from lenet5.evaluation.metrics import compute_logits, evaluate
from lenet5.export import pruning as pruning_module
from lenet5.export import writers
from lenet5.export.onnx_graph import onnx_model
from lenet5.imaging.inputs import to_input
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading.classifier import ImageClassifier
from lenet5.runtime.errors import UserError
from model import LeNet5, build
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line, run_script

EXAMPLE = ROOT / "examples" / "lenet5_numpy.py"
WEIGHTS = ["--weights", str(PRETRAINED)]


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def metadata_in(path):
    return session(path).get_modelmeta().custom_metadata_map


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What `python export.py` says of the shipped weights, and the three files that it writes."""
    folder = tmp_path_factory.mktemp("exported")
    flags = [*WEIGHTS, "--data-dir", ROOT / "data", "--onnx", "a.onnx", "--int8", "--npz", "a.npz"]
    done = run_script("export.py", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


@pytest.fixture
def few_images(mnist, monkeypatch):
    """MNIST with so few test images that seven networks are compared in a moment."""
    few = mnist._replace(test_images=mnist.test_images[:50], test_labels=mnist.test_labels[:50])
    monkeypatch.setattr(writers, "load_mnist", lambda folder: few)
    return few


# ------------------------------------------------------------ ONNX


@pytest.mark.parametrize("arch", NETWORKS)
def test_onnx_is_the_network_whatever_the_number_of_pictures(workdir, few_images, arch):
    weights = ROOT / "pretrained" / f"{arch}.pth"
    assert export.main(["--weights", str(weights), "--onnx", "a.onnx"]) == 0
    assert os.listdir() == ["a.onnx"]  # no numbers beside the file
    net, metadata = load_weights(weights)
    inputs = to_input(few_images.test_images, metadata["mean"], metadata["std"])
    expected = compute_logits(net, inputs).numpy()
    for count in (1, 2, 50):
        (found,) = session("a.onnx").run(None, {"input": inputs[:count].numpy()})
        # Seven digits of float32, of which sums in another order cost one or two.
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-6 * abs(expected).max())
    model = onnx.load("a.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert [output.name for output in model.graph.output] == ["logits"]
    named = {name for node in model.graph.node for name in node.output}
    assert named >= (
        {"C1", "C2", "C3", "C4"} if arch == "teacher" else {"C1", "S2", "C3", "S4", "C5", "F6"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.onnx", "lenet5-int8.onnx"])
def test_metadata_is_all_that_the_weights_say(exported, name):
    difference = re.search(r"10,000 test images, up to \d+: (\S+) from PyTorch", exported[0])[1]
    assert float(difference) < 1e-4
    _, metadata = load_weights(PRETRAINED)
    found = metadata_in(exported[1] / name)
    assert set(found) == set(metadata)
    for key, value in metadata.items():
        assert (found[key] if isinstance(value, str) else json.loads(found[key])) == value


READER = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
mean, std, classes = (json.loads(about[name]) for name in ("mean", "std", "classes"))
images = np.pad(np.load(sys.argv[2]), ((0, 0), (2, 2), (2, 2)))
inputs = ((images[:, None] / 255 - mean) / std).astype(np.float32)
logits = session.run(None, {"input": inputs})[0]
print(*(classes[i] for i in logits.argmax(axis=1)))
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_a_program_without_pytorch_reads_what_inference_reads(exported, mnist, workdir):
    images = mnist.test_images[:200]
    np.save("images.npy", images.numpy())
    command = [sys.executable, "-c", READER, str(exported[1] / "a.onnx"), "images.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = ImageClassifier(PRETRAINED).probabilities(images).argmax(axis=1)
    assert done.stdout.split() == [str(digit) for digit in expected]


def test_the_same_weights_give_the_same_bytes(workdir, few_images):
    for name in ("a.onnx", "b.onnx"):
        assert export.main([*WEIGHTS, "--onnx", name]) == 0
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def spoiled(net, metadata):
    """A graph of which one weight is another."""
    model = onnx_model(net, metadata)
    (bias,) = (n for n in model.graph.initializer if n.name == "F6.full.bias")
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] += 1
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return model


def test_a_graph_that_computes_something_else_is_not_written(workdir, few_images, monkeypatch, capsys):
    monkeypatch.setattr(writers, "onnx_model", spoiled)
    assert export.main([*WEIGHTS, "--onnx", "a.onnx"]) == 2
    assert_one_error_line(capsys.readouterr().err, "differ from PyTorch's", "nothing is written")
    assert os.listdir() == []


def test_other_classes_than_digits(workdir, few_images, capsys):
    names = ["T-shirt", "Ärmel", "a bag"]
    save_weights("fashion.pth", build("lenet5", 3), classes=names, dataset="mnist")
    assert export.main(["--weights", "fashion.pth", "--onnx", "a.onnx"]) == 0
    assert json.loads(metadata_in("a.onnx")["classes"]) == names
    assert export.main(["--weights", "fashion.pth", "--int8", "--data-dir", str(ROOT / "data")]) == 2
    assert_one_error_line(capsys.readouterr().err, "fashion.pth knows other classes than mnist has")


def test_weights_that_do_not_say_what_they_are_of(workdir, few_images):
    torch.save(dict(build("lenet5-conv").state_dict()), "plain.pth")
    flags = ["--weights", "plain.pth", "--arch", "lenet5-conv", "--onnx", "a.onnx"]
    assert export.main(flags) == 0
    assert metadata_in("a.onnx")["arch"] == "lenet5-conv"


# ------------------------------------------------------------ eight bits


@pytest.mark.slow
def test_int8_reads_as_well_in_a_third_of_the_bytes(exported, mnist):
    said, folder = exported
    net, metadata = load_weights(PRETRAINED)
    inputs = to_input(mnist.test_images, metadata["mean"], metadata["std"])
    result = evaluate(net, inputs, mnist.test_labels)
    (logits,) = session(folder / "lenet5-int8.onnx").run(None, {"input": inputs.numpy()})
    accuracy = (logits.argmax(axis=1) == mnist.test_labels.numpy()).mean()
    assert accuracy >= result.accuracy - 0.001  # within 0.1 point
    assert f"test accuracy: {100 * result.accuracy:.2f} % in float32, {100 * accuracy:.2f} % in" in said
    # A byte for each of the 58,080 weights of C5 and F6, four for the other 3,626 parameters,
    # and 8 KB for the graph.
    assert (folder / "lenet5-int8.onnx").stat().st_size < 58_080 + 4 * 3_626 + 8_000
    numbers = onnx.load(folder / "lenet5-int8.onnx").graph.initializer
    shapes = {tuple(n.dims) for n in numbers if n.data_type == onnx.TensorProto.INT8 and len(n.dims) > 1}
    assert shapes == {(120, 400), (84, 120)}


def test_int8_is_not_calibrated_on_images_that_it_is_judged_on(mnist, pretrained):
    source = writers.Source("", *pretrained, "")
    train, held = writers.parts(source, mnist)
    assert held.equal(split(mnist.train_labels, 5000, 0)[1])
    assert not set(train.tolist()) & set(held.tolist())
    without = source._replace(metadata={**pretrained[1], "val_size": 0})
    assert len(writers.parts(without, mnist)[1]) == 5000


@pytest.mark.parametrize(("right", "status"), [(4950, 0), (4945, 0), (4944, 2)])
def test_int8_may_cost_a_tenth_of_a_point(workdir, mnist, monkeypatch, capsys, right, status):
    """5 of 5,000 images, to the image."""
    monkeypatch.setattr(writers, "load_dataset", lambda name, folder: mnist)
    monkeypatch.setattr(writers, "quantised", lambda model, inputs: model)
    monkeypatch.setattr(writers, "accuracies", lambda *arguments: [4950 / 5000, right / 5000])
    assert export.main([*WEIGHTS, "--int8", "a.onnx"]) == status
    assert os.path.exists("a.onnx") == (status == 0)
    if status:
        assert_one_error_line(capsys.readouterr().err, "points of accuracy", "nothing is written")


# ------------------------------------------------------------ NumPy


@pytest.mark.slow
def test_the_numpy_example_agrees_with_pytorch(exported, mnist, pretrained):
    net, metadata = pretrained
    images = mnist.test_images[:1000]
    weights = dict(np.load(exported[1] / "a.npz"))
    assert (weights["arch"], weights["classes"].tolist()) == ("lenet5", metadata["classes"])
    example = runpy.run_path(str(EXAMPLE))
    found = example["lenet5"](weights, images.numpy())
    expected = compute_logits(net, to_input(images, metadata["mean"], metadata["std"])).numpy()
    # Of logits up to 25 float32 has 2e-6, five of which sums in another order may cost.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    wide = np.pad(images[:5].numpy(), ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_allclose(example["lenet5"](weights, wide), expected[:5], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_numpy_example_is_short_and_reads_the_drawn_digits(exported):
    assert len(EXAMPLE.read_text().splitlines()) < 60
    digits = sorted((ROOT / "test_digits").glob("*.png"))
    # A torch that cannot be imported, to see that it is not.
    code = "import sys, runpy; sys.modules['torch'] = None; "
    code += f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, exported[1] / "a.npz", *digits]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [word for i, path in enumerate(digits) for word in (str(path), str(i))]


def test_the_numpy_example_says_what_is_wrong():
    done = subprocess.run([sys.executable, EXAMPLE, "none.npz"], capture_output=True, text=True)
    assert done.returncode == 2
    assert_one_error_line(done.stderr, "none.npz")


# ------------------------------------------------------------ fewer weights


@pytest.fixture
def pictures(workdir):
    """Three small pictures of each digit, and weights that say that they were trained on them."""
    for digit in range(10):
        (workdir / "pictures" / str(digit)).mkdir(parents=True)
        for copy in range(1, 4):
            drawing = Drawing(digit, default_face(), "plain", copy)
            drawing.draw(28, seed=0).save(workdir / "pictures" / str(digit) / f"{drawing.name}.png")
    net, metadata = load_weights(PRETRAINED)
    told = metadata | {"dataset": "pictures", "recipe": "default", "val_size": 5}
    save_weights("before.pth", net, **told)
    return told


def nonzero(state):
    return sum(int((tensor != 0).sum()) for tensor in state.values())


def test_pruned_weights_are_weights_as_before(pictures, capsys):
    flags = ["--weights", "before.pth", "--prune", "after.pth", "--keep", "0.1", "--epochs", "1"]
    assert export.main(flags) == 0
    said = capsys.readouterr().out
    assert "6,171 of 61,706 parameters are left" in said  # round(0.1 · 61,706)
    assert said.count("epoch ") == 1
    state = torch.load("after.pth", weights_only=True)
    LeNet5().load_state_dict(state)
    assert nonzero(state) == 6171
    net, metadata = load_weights("after.pth")
    assert metadata["parameters_left"] == 6171
    data = load_dataset("pictures")
    inputs = to_input(data.test_images, metadata["mean"], metadata["std"])
    assert metadata["test_accuracy"] == evaluate(net, inputs, data.test_labels).accuracy
    for name in ("arch", "classes", "recipe", "epochs", "seed"):
        assert metadata[name] == pictures[name]
    ImageClassifier("after.pth").predict(str(ROOT / "test_digits" / "digit_3.png"))


def test_other_classes_are_not_learned_instead(pictures, capsys):
    save_weights("w.pth", LeNet5(), **pictures | {"classes": list("abcdefghij")})
    assert export.main(["--weights", "w.pth", "--prune", "after.pth"]) == 2
    assert_one_error_line(capsys.readouterr().err, "w.pth knows other classes than pictures has")


def test_more_than_is_left_does_not_come_back():
    net = LeNet5()
    first, second = pruning_module.Pruning(net, 0.1), None
    first.cut(1.0)
    first.apply()
    second = pruning_module.Pruning(net, 0.5)
    for progress in (0.0, 0.3, 1.0):
        second.cut(progress)
        assert all(torch.equal(a, b) for a, b in zip(first.masks, second.masks, strict=True))


@pytest.mark.slow
def test_the_same_pruning_gives_the_same_weights(pictures):
    runs = [pruning_module.prune("before.pth", 0.1, epochs=1, say=lambda line: None) for _ in range(2)]
    for one, other in zip(*(run.net.state_dict().values() for run in runs), strict=True):
        assert torch.equal(one, other)


def test_the_smallest_of_all_layers_are_left_out_as_pytorch_does_it():
    net, other = LeNet5(), LeNet5()
    other.load_state_dict(net.state_dict())
    pruning = pruning_module.Pruning(net, 0.05)
    pruning.cut(1.0)
    pruning.apply()
    layers = [(layer, "weight") for layer in (other.c1, other.c3, other.c5, other.f6, other.output)]
    biases = 6 + 16 + 120 + 84 + 10
    left_out = 61_706 - round(0.05 * 61_706)
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=left_out)
    for (layer, _), mask in zip(layers, pruning.masks, strict=True):
        assert torch.equal(mask, layer.weight_mask.bool())
    assert sum(int(mask.sum()) for mask in pruning.masks) == round(0.05 * 61_706) - biases


@pytest.mark.parametrize(
    ("progress", "share"),
    # Zhu and Gupta, equation 1, from 1 to 0.1 in the first half: 0.1 + 0.9 · (1 - t)³.
    [(0, 1), (0.125, 0.1 + 0.9 * 27 / 64), (0.25, 0.1 + 0.9 / 8), (0.5, 0.1), (1, 0.1)],
)
def test_weights_go_fast_at_first(progress, share):
    pruning = pruning_module.Pruning(LeNet5(), 0.1, cutting=0.5)
    pruning.cut(progress)
    assert pruning.others + sum(int(mask.sum()) for mask in pruning.masks) == round(share * 61_706)


@pytest.mark.parametrize("arch", NETWORKS)
def test_every_network_can_be_pruned(arch):
    net = build(arch)
    pruning = pruning_module.Pruning(net, 0.5)
    pruning.cut(1.0)
    pruning.apply()
    assert abs(pruning.parameters_left() / pruning.all - 0.5) < 0.01


def test_pruned_weights_go_on_with_what_they_were_trained_on(pretrained):
    def settings_for(**told):
        return pruning_module.settings_for("w.pth", {**pretrained[1], **told}, 3, 0.001)

    settings = settings_for()
    assert settings["non_digits"]
    assert settings["few_pixels"]
    assert settings["pictures"] == pruning_module.PICTURES
    assert (settings["seed"], settings["val_size"]) == (0, 5000)  # the same images stay held out
    assert (settings["epochs"], settings["lr"], settings["init_from"]) == (3, 0.001, "w.pth")
    record = settings_for(recipe="record", val_size=0)
    assert (record["teacher"], record["val_size"]) == (None, 0)
    assert settings_for(recipe="quick")["max_steps"] is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dataset", 3, "its dataset is not what train.py writes"),
        ("seed", -1, "its seed is -1"),
        ("seed", "a", "its seed is not what train.py writes"),
        ("val_size", 0.5, "its val_size is not what train.py writes"),
        ("recipe", ["x"], "its recipe is not what train.py writes"),
        ("dataset", "my/pictures", "trained on the folder my/pictures, which is not here"),
    ],
)
@pytest.mark.parametrize("flag", ["prune", "int8"])
def test_weights_that_tell_nonsense_of_their_training(workdir, capsys, name, value, words, flag):
    net, metadata = load_weights(PRETRAINED)
    save_weights("w.pth", net, **metadata | {name: value})
    assert export.main(["--weights", "w.pth", f"--{flag}", "out"]) == 2
    assert_one_error_line(capsys.readouterr().err, "w.pth", words)
    assert os.listdir() == ["w.pth"]


def test_metadata_that_is_no_text_is_left_out(workdir, few_images):
    odd = {"note": "a\udcff\n", "tensor": torch.zeros(2), "none": None, "nested": [[1]]}
    save_weights("odd.pth", LeNet5(), **odd)
    assert export.main(["--weights", "odd.pth", "--onnx", "a.onnx"]) == 0
    found = metadata_in("a.onnx")
    assert found["note"] == r"a\udcff\n"
    assert not {"tensor", "none", "nested"} & set(found)


def test_a_share_below_what_has_to_stay_is_refused(workdir, capsys):
    assert export.main([*WEIGHTS, "--prune", "a.pth", "--keep", "0.001"]) == 2
    assert_one_error_line(capsys.readouterr().err, "of lenet5, 0.38 % of the parameters")  # 237 of them


# ------------------------------------------------------------ what can go wrong


def test_nothing_asked_for(workdir, capsys):
    assert export.main([]) == 2
    flags = [f"--{name} FILE" for name in writers.EXPORTS]
    assert_one_error_line(capsys.readouterr().err, "say what to write", *flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--npz", "no/a.npz"], "there is no folder"),
        (["--npz", "."], "it is a folder"),
        (["--npz", "a", "--onnx", "./a"], "two flags name the same file"),
        (["--npz", "a", "--keep", "0.5"], "--keep is for --prune"),
        (["--npz", "a", "--epochs", "5"], "--epochs is for --prune"),
        (["--npz", "a", "--weights", "none.pth"], "there are no weights at none.pth"),
        (["--npz", "cut.pth", "--weights", "cut.pth"], "would be overwritten"),
        (["--npz", "a", "--weights", "cut.pth"], "cut.pth is not a weights file, or is damaged"),
        (["--npz", "a", "--arch", "lenet-gap", *WEIGHTS], "holds weights of lenet5, not of lenet-gap"),
    ],
)
def test_wrong_usage_is_status_2(workdir, capsys, flags, words):
    Path("cut.pth").write_bytes(PRETRAINED.read_bytes()[:100_000])
    assert export.main(flags) == 2
    assert_one_error_line(capsys.readouterr().err, words)
    assert os.listdir() == ["cut.pth"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
@pytest.mark.parametrize("flag", ["onnx", "int8"])
def test_a_missing_package_is_named(workdir, monkeypatch, capsys, package, flag):
    monkeypatch.setitem(sys.modules, package, None)
    assert export.main([*WEIGHTS, f"--{flag}", "a.onnx"]) == 2
    words = f"--{flag} needs the package {package} (", "pip install -r requirements-export.txt"
    assert_one_error_line(capsys.readouterr().err, *words)
    assert export.main([*WEIGHTS, "--npz", "a.npz"]) == 0  # which needs none


def test_no_data_to_compare_with(workdir, monkeypatch, capsys):
    def none(folder):
        raise UserError(f"mnist could not be loaded from {folder}")

    monkeypatch.setattr(writers, "load_mnist", none)
    assert export.main([*WEIGHTS, "--onnx", "a.onnx", "--data-dir", "elsewhere"]) == 2
    assert_one_error_line(capsys.readouterr().err, "mnist could not be loaded from elsewhere")
    assert os.listdir() == []


def test_a_full_disk(workdir, few_images, capsys):
    assert export.main([*WEIGHTS, "--npz", "/dev/full"]) == 2
    assert_one_error_line(capsys.readouterr().err, "cannot write /dev/full: the disk is full")
    assert export.main([*WEIGHTS, "--onnx", "a.onnx", "--npz", "/dev/full"]) == 1
    assert export.main([*WEIGHTS, "--onnx", "/dev/full", "--npz", "a.npz"]) == 1
    assert sorted(os.listdir()) == ["a.npz", "a.onnx"]


def test_ctrl_c_leaves_no_half_a_file(workdir, few_images, monkeypatch, capsys):
    monkeypatch.setattr(writers, "run_onnx", lambda *a: os.kill(os.getpid(), signal.SIGINT))
    assert export.main([*WEIGHTS, "--onnx", "a.onnx"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert os.listdir() == []
