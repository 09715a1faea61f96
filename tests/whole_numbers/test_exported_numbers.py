"""The network of numbers as an ONNX file: the same answers, without PyTorch."""

import subprocess
import sys

import numpy as np
import pytest

import export
import read_number
from lenet5.whole_numbers import number_reader
from lenet5.whole_numbers.exported_numbers import ExportedNumbers
from lenet5.whole_numbers.number_reader import NumberReader
from lenet5.whole_numbers.space_displacement import TrainedNumbers
from tests.conftest import PRETRAINED, ROOT, assert_one_error_line
from tests.whole_numbers.test_strips import draw


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("exported") / "numbers.onnx"
    flags = [
        "--weights",
        str(number_reader.WEIGHTS),
        "--onnx",
        str(path),
        "--data-dir",
        str(ROOT / "data"),
    ]
    assert export.main(flags) == 0
    return str(path)


@pytest.mark.parametrize("width", [1, 20, 37, 200])
def test_its_logits_are_those_of_pytorch_at_every_width(exported, width):
    strips = np.random.default_rng(width).integers(0, 256, (3, 32, width), dtype=np.uint8)
    expected = TrainedNumbers(number_reader.WEIGHTS, device="cpu").logits(strips)
    found = ExportedNumbers(exported).logits(strips)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


def test_it_reads_the_same_numbers(exported):
    page = draw()
    (first,) = NumberReader(device="cpu").predict_batch([page])
    (second,) = NumberReader(exported).predict_batch([page])
    assert first.prediction == second.prediction
    assert first.confidence == pytest.approx(second.confidence, abs=1e-3)


def test_it_needs_no_pytorch(exported, workdir):
    draw().save("number_1984.png")
    program = (
        "import sys, read_number\n"
        f"assert read_number.main(['number_1984.png', '--weights', {exported!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_a_network_of_digits_reads_no_numbers(workdir, capsys):
    assert (
        export.main(
            ["--weights", str(PRETRAINED), "--onnx", "digits.onnx", "--data-dir", str(ROOT / "data")]
        )
        == 0
    )
    capsys.readouterr()
    draw().save("number_1984.png")
    assert read_number.main(["number_1984.png", "--weights", "digits.onnx"]) == 2
    assert_one_error_line(capsys.readouterr().err, "digits.onnx")
