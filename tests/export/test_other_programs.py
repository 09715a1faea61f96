"""The networks in the exporters of PyTorch, and exported files in other programs."""

import warnings

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from lenet5.export.onnx_graph import onnx_model
from lenet5.imaging.inputs import to_input
from lenet5.networks.registry import NETWORKS
from lenet5.networks.weights import load_weights
from tests.conftest import ROOT


@pytest.fixture(params=NETWORKS)
def trained(request, mnist):
    """A shipped network, its metadata, inputs that are real digits, and its scores."""
    net, metadata = load_weights(ROOT / "pretrained" / f"{request.param}.pth")
    inputs = to_input(mnist.test_images[:200], net.mean, net.std)
    with torch.no_grad():
        return net.eval(), metadata, inputs, net(inputs).numpy()


def assert_close(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_traced_networks_take_any_batch(trained):
    net, _, inputs, scores = trained
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and used
        traced = torch.jit.trace(net, inputs[:3])
    assert_close(traced(inputs).detach().numpy(), scores)


@pytest.mark.parametrize("dynamo", [False, True])
def test_the_exporters_of_pytorch(trained, tmp_path, dynamo):
    net, _, inputs, scores = trained
    if dynamo:
        pytest.importorskip("onnxscript")
    any_batch = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamo else {}
    path = str(tmp_path / "a.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not dynamo:
            any_batch = {"dynamic_axes": {"input": {0: "n"}}}
        names = {"input_names": ["input"], "output_names": ["logits"]}
        torch.onnx.export(net, (inputs[:4],), path, **names, dynamo=dynamo, verbose=False, **any_batch)
    found = onnxruntime.InferenceSession(path).run(None, {"input": inputs.numpy()})[0]
    assert_close(found, scores)


def test_exported_files_run_in_opencv(trained):
    net, metadata, inputs, scores = trained
    data = onnx_model(net, metadata).SerializeToString(deterministic=True)
    reader = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    reader.setInput(inputs.numpy())
    assert_close(reader.forward(), scores)
