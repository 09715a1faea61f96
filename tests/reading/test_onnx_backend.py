"""An exported network reads what its weights read, without PyTorch; and which files are not run."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from inference import main
from lenet5.export.onnx_graph import describe, onnx_model
from lenet5.export.quantization import quantised
from lenet5.imaging.inputs import to_input
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights, save_weights
from lenet5.reading import onnx_backend
from lenet5.reading.classifier import ImageClassifier
from lenet5.reading.onnx_backend import ExportedNetwork
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.number_reader import NumberReader
from model import LeNet5, build
from tests.conftest import (
    DIGITS,
    PRETRAINED,
    ROOT,
    SHIPPED,
    assert_one_error_line,
    assert_same_readings,
    objects,
)


def written(path, net, metadata) -> str:
    """The file that export.py writes of a network, without its look at the test images."""
    path.write_bytes(onnx_model(net, metadata).SerializeToString(deterministic=True))
    return str(path)


@pytest.fixture(scope="module")
def lenet5(pretrained, tmp_path_factory):
    """The shipped network's exported file."""
    return written(tmp_path_factory.mktemp("exported") / "lenet5.onnx", *pretrained)


# ------------------------------------------------------------ the same answers


@pytest.mark.parametrize("arch", NETWORKS)
def test_an_exported_network_gives_the_probabilities_of_its_weights(tmp_path, mnist, arch):
    weights = ROOT / "pretrained" / f"{arch}.pth"
    own, other = (
        ImageClassifier(path) for path in (weights, written(tmp_path / "a.onnx", *load_weights(weights)))
    )
    images = mnist.test_images[: onnx_backend.BATCH_SIZE + 50]  # a whole batch and a part of one
    expected = own.probabilities(images)
    for pictures in (images, images.numpy(), images[:1].numpy(), images[:0].numpy()):
        found = other.probabilities(pictures)
        assert found.dtype == np.float32
        # Float32 has seven digits, of which sums in another order cost one or two.
        np.testing.assert_allclose(found, expected[: len(pictures)], rtol=0, atol=1e-5)
    for name in ("classes", "limits", "temperature"):
        assert getattr(other, name) == getattr(own, name)
    assert other.name == f"{arch} (a.onnx)"


def test_the_input_is_that_of_the_weights_to_the_bit(lenet5, mnist):
    network = ExportedNetwork(lenet5)
    mean, std = network.metadata["mean"], network.metadata["std"]
    levels = torch.arange(256, dtype=torch.uint8).repeat(28 * 28 * 2)[: 2 * 28 * 28].reshape(2, 28, 28)
    for images in (mnist.test_images[:20], levels):
        expected = to_input(images, mean, std).numpy()
        np.testing.assert_array_equal(network.inputs(images.numpy()), expected)


@pytest.mark.parametrize("change", [{}, {"least_evidence": 100.0}, {"reject_below": 0.999}])
def test_the_same_is_refused_for_the_same_reason(tmp_path, pretrained, mnist, change):
    net, metadata = pretrained
    save_weights(tmp_path / "w.pth", net, **metadata | change)
    net, metadata = load_weights(tmp_path / "w.pth")
    own, other = (
        ImageClassifier(path, reject=True)
        for path in (tmp_path / "w.pth", written(tmp_path / "w.onnx", net, metadata))
    )
    noise = np.random.default_rng(0).integers(0, 256, (30, 28, 28)).astype(np.uint8)
    pictures = [np.zeros((28, 28), np.uint8), *noise, *mnist.test_images[:100].numpy()]
    expected, found = own.predict_batch(pictures), other.predict_batch(pictures)
    assert [result.prediction for result in found] == [result.prediction for result in expected]
    assert [result.reason for result in found] == [result.reason for result in expected]
    assert found[0].reason is not None  # the blank one, and nearly all noise
    assert sum(result.reason is not None for result in found) >= 30


def test_eight_bits_are_read_too(tmp_path, pretrained, mnist):
    net, metadata = pretrained
    some = to_input(mnist.train_images[:100], metadata["mean"], metadata["std"]).numpy()
    small = quantised(onnx_model(net, metadata), some)
    describe(small, metadata)
    (tmp_path / "int8.onnx").write_bytes(small.SerializeToString())
    network = ExportedNetwork(tmp_path / "int8.onnx")
    right = network.logits(mnist.test_images[:1000]).argmax(axis=1) == mnist.test_labels[:1000].numpy()
    # The network reads 99.6 % of the test images; eight bits, calibrated on 100 images
    # in place of 1,000, are not to cost a point.
    assert right.mean() > 0.985


def test_other_classes_and_no_limits(tmp_path):
    """As weights that were trained on something else, and before there were limits."""
    about = {"arch": "lenet5", "mean": 0.5, "std": 0.25, "classes": ["T-shirt", "7", "07"]}
    classifier = ImageClassifier(written(tmp_path / "a.onnx", build("lenet5", 3), about))
    assert classifier.classes == ["T-shirt", 7, "07"]
    assert classifier.limits == (0.5, 0.0)
    assert classifier.probabilities(np.zeros((5, 28, 28), np.uint8)).shape == (5, 3)


@pytest.mark.parametrize("path", ["lenet5", PRETRAINED])
def test_pictures_in_memory_are_bytes_of_28_by_28(lenet5, path):
    classifier = ImageClassifier(lenet5 if path == "lenet5" else path)
    for images in (
        np.zeros((28, 28), np.uint8),
        np.zeros((1, 32, 32), np.uint8),
        np.zeros((1, 28, 28), np.float32),
        torch.zeros(1, 28, 28),
    ):
        with pytest.raises(ValueError, match="N×28×28 uint8 are wanted, not "):
            classifier.probabilities(images)
    read_only = np.zeros((4, 28, 28), np.uint8)
    read_only.flags.writeable = False
    backwards = read_only[::-1, ::-1, ::-1]
    assert (classifier.probabilities(backwards) == classifier.probabilities(read_only)).all()


def test_the_graph_of_a_number_with_exported_digits(lenet5):
    picture = DIGITS / "digit_3.png"
    own, other = (
        NumberReader(reader="graph", digit_weights=path).predict_batch([picture])[0]
        for path in (None, lenet5)
    )
    assert own.prediction == other.prediction == "3"
    assert other.confidence == pytest.approx(own.confidence, abs=1e-5)


# ------------------------------------------------------------ the command line

# What main() does with each of several command lines where there is no PyTorch.
WITHOUT_TORCH = """
import contextlib, io, json, sys
sys.modules["torch"] = None  # cannot be imported
sys.path.insert(0, sys.argv[1])
import inference
done = []
for flags in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        done.append((inference.main(flags), out.getvalue()))
print(json.dumps(done))
"""


def test_the_command_line_needs_no_pytorch(lenet5, workdir, capsys):
    (workdir / "in" / "7").mkdir(parents=True)
    Image.new("L", (28, 28)).save("in/7/blank.png")
    Image.open(DIGITS / "digit_7.png").save("in/7/a.gif")
    Path("list").write_text(f"{DIGITS / 'digit_1.png'}\n{DIGITS / 'digit_2.png'}\n")
    commands = [
        ["in", "--reject", "--format", "json", "--top-k", "2"],
        ["--files-from", "list", "--format", "json", "--top-k", "1", "--batch-size", "1"],
        [str(DIGITS / "digit_5.png"), "--invert", "no", "--format", "json"],
        [str(DIGITS), "--format", "json", "--output", "{}.jsonl", "--plot", "{}.png"],
        [str(DIGITS), "--format", "json", "--output", "{}.jsonl"],
        ["--explain", str(DIGITS / "digit_4.png"), "--format", "json", "--plot", "{}-steps.png"],
    ]
    flags = [[word.format("onnx") for word in (*command, "--weights", lenet5)] for command in commands]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(ROOT), json.dumps(flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for command, (status, out) in zip(commands, json.loads(done.stdout), strict=True):
        assert main([word.format("pth") for word in (*command, *SHIPPED)]) == status == 0
        assert_same_readings(*(objects(text) for text in (out, capsys.readouterr().out)))
    files = [objects(Path(f"{name}.jsonl").read_text()) for name in ("onnx", "pth")]
    for row in itertools.chain(*files):
        del row["weights"]
    assert_same_readings(*files)
    figures = [
        np.asarray(Image.open(f"{name}.png").convert("RGB")).astype(int) for name in ("onnx", "pth")
    ]
    # The two finders' masks differ in the seventh digit, which may round to the next gray level.
    np.testing.assert_allclose(*figures, rtol=0, atol=3)
    assert os.path.getsize("onnx-steps.png") > 10_000  # a figure, not an empty one
    assert main([str(DIGITS), "--weights", lenet5]) == 0
    assert "10 of 10 right" in capsys.readouterr().out


def test_the_loss_of_an_evaluation_is_the_network_s_own(tmp_path, capsys):
    weights = ROOT / "pretrained" / "lenet5-1998.pth"
    losses = []
    for path in (str(weights), written(tmp_path / "a.onnx", *load_weights(weights))):
        assert main(["--evaluate", str(DIGITS), "--weights", path, "--format", "json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # equation 9


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--filters"], "layers"),
        (["--maps", str(DIGITS / "digit_1.png")], "layers"),
        (["--embedding", str(DIGITS)], "layers"),
        (["--robustness", str(DIGITS)], "layers"),
        (["--device", "cuda"], "cuda"),
        (["--arch", "lenet5-conv"], "lenet5-conv"),
        (["--arch", "lenet6"], "choose from lenet5, "),
    ],
)
def test_what_an_exported_network_is_not_asked_status_2(lenet5, workdir, capsys, flags, word):
    try:
        status = main(["--weights", lenet5, *flags])
    except SystemExit as end:  # argparse's way
        status = end.code
    captured = capsys.readouterr()
    assert (status, captured.out, os.listdir()) == (2, "", [])
    assert_one_error_line(captured.err, word)


def test_without_onnxruntime(lenet5, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["--weights", lenet5, str(DIGITS)]) == 2
    err = capsys.readouterr().err
    assert_one_error_line(
        err, lenet5, "needs the package onnxruntime", "pip install -r requirements-export.txt"
    )


# ------------------------------------------------------------ files that are not run


def told(name, value):
    """A change: another text in the metadata, or none."""

    def change(model):
        entries = [entry for entry in model.metadata_props if entry.key != name]
        del model.metadata_props[:]
        model.metadata_props.extend(entries)
        if value is not None:
            model.metadata_props.add(key=name, value=value)

    return change


def outside(model):
    """A layer's numbers are said to be in another file, which there is."""
    Path("secret").write_bytes(bytes(4 * 84))
    tensor = next(n for n in model.graph.initializer if n.name == "F6.full.bias")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")


def other_input(model):
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 28


def other_name(model):
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"


def one_picture(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def endless_loop(model):
    """The logits go round without an end."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", [f"{name} in"], [f"{name} out"]) for name in ("go on", "x")],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("go on in", TensorProto.BOOL, []),
            info("x in", TensorProto.FLOAT, None),
        ],
        [info("go on out", TensorProto.BOOL, []), info("x out", TensorProto.FLOAT, None)],
    )
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Loop", ["", "", "before"], ["logits"], body=body))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.ClearField("metadata_props"), "does not say its arch"),
        (told("std", "0"), "its std is 0"),
        (told("mean", "none"), "its mean is not a number"),
        (told("reject_below", "[" * 100_000), "its reject_below is not a number"),
        (told("classes", '"0123456789"'), "its classes are not a list of names"),
        (told("classes", '["0", "1"]'), "N×2"),
        (outside, "External data"),
        (other_input, "cannot be run: "),
        (other_name, "cannot be run: "),
        (one_picture, "cannot be run: "),
        (endless_loop, "loop"),
        (lambda model: model.ClearField("graph"), "cannot be run: "),
    ],
)
def test_a_model_that_is_none_of_ours(lenet5, workdir, capfd, change, words):
    model = onnx.load(lenet5)
    change(model)
    Path("a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=words) as caught:
        ExportedNetwork("a.onnx")
    assert "a.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_files_that_are_no_models(workdir, capsys, lenet5):
    os.mkdir("folder.onnx")
    data = Path(lenet5).read_bytes()
    cases = {
        "folder.onnx": (None, "not a regular file"),
        "missing.onnx": (None, "there is no missing.onnx"),
        "empty.onnx": (b"", "cannot be run"),
        "text.onnx": (b"not a model at all\n" * 10, "cannot be run"),
        "half.onnx": (data[: len(data) // 2], "cannot be run"),
        "large.onnx": (b"\x12" * ((16 << 20) + 1), "16,777,216 bytes"),
    }
    for name, (content, words) in cases.items():
        if content is not None:
            Path(name).write_bytes(content)
        assert main(["--weights", name, str(DIGITS)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert_one_error_line(captured.err, name, words)


def test_weights_that_are_no_numbers(tmp_path, capsys, pretrained):
    net = LeNet5()
    net.load_state_dict(pretrained[0].state_dict())
    net.output.bias.data[3] = float("nan")
    path = written(tmp_path / "a.onnx", net, pretrained[1])
    assert main(["--weights", path, str(DIGITS)]) == 2
    assert_one_error_line(capsys.readouterr().err, "not finite numbers")
