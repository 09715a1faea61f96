"""The finder in ONNX marks what the one in PyTorch marks."""

import numpy as np
import onnx
import pytest

from lenet5.export import finder_onnx
from lenet5.export.finder_onnx import finder_model
from lenet5.networks.finder import PRETRAINED, Finder, FinderNetwork
from lenet5.networks.weights import serialize
from lenet5.reading.onnx_backend import FINDER, ExportedFinder
from lenet5.runtime.errors import UserError
from tests.conftest import assert_one_error_line

SIZES = [(1, 96, 96), (5, 96, 64), (2, 16, 96), (1, 128, 240), (1, 16, 16)]  # N, H, W
LEVELS = [(0, 256), (100, 104), (7, 8)]  # noise, faint noise, one level


def pictures_of(size, levels, seed=0):
    count, height, width = size
    pictures = np.random.default_rng(seed).integers(*levels, (count, height, width, 3), dtype=np.uint8)
    pictures[:, height // 4 : height // 2, width // 4 :] //= 2  # something to find
    return pictures.transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def finders(tmp_path_factory):
    """Pairs of finders in PyTorch and in ONNX: the shipped one and one with other weights."""
    folder = tmp_path_factory.mktemp("finder")
    net = Finder()
    for name, tensor in net.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")):
            tensor.uniform_(0.5, 1.5)
    (folder / "finder.pth").write_bytes(serialize(net.state_dict()))
    other = FinderNetwork(folder / "finder.pth")
    (folder / "finder.onnx").write_bytes(finder_model(other.net).SerializeToString())
    return [(FinderNetwork(), ExportedFinder()), (other, ExportedFinder(folder / "finder.onnx"))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", LEVELS)
def test_masks_are_those_of_pytorch(finders, size, levels):
    pictures = pictures_of(size, levels)
    for own, exported in finders:
        expected, found = own(pictures), exported(pictures)
        assert (found.shape, found.dtype) == ((size[0], 2, *size[1:]), np.float32)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_the_masks_of_noise_differ_from_each_other(finders):
    """Else the comparison above would prove little."""
    for own, _ in finders:
        assert own(pictures_of((1, 96, 96), (0, 256))).std() > 1e-3


def test_the_command_writes_the_shipped_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "finder.pth").write_bytes(PRETRAINED.read_bytes())
    monkeypatch.setattr(finder_onnx, "PRETRAINED", tmp_path / "finder.pth")
    assert finder_onnx.main([]) == 0
    assert str(tmp_path / "finder.onnx") in capsys.readouterr().out
    written, shipped = onnx.load(tmp_path / "finder.onnx"), onnx.load(FINDER)
    assert [node.op_type for node in written.graph.node] == [n.op_type for n in shipped.graph.node]


def test_weights_that_are_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finder_onnx, "PRETRAINED", tmp_path / "finder.pth")
    assert finder_onnx.main([]) == 2
    assert_one_error_line(capsys.readouterr().err, "finder.pth")


def test_a_finder_that_cannot_be_run(tmp_path):
    path = tmp_path / "finder.onnx"
    with pytest.raises(UserError, match=r"there is no .*finder_onnx writes it"):
        ExportedFinder(path)
    path.write_bytes(FINDER.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cannot be run: .*finder_onnx writes it"):
        ExportedFinder(path)
