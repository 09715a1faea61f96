"""What was made before the files moved still works: runs, result files, exported networks.

`fixtures/README.md` says how each of them was made.
"""

import csv
import io
import json
import os
import shutil
import tarfile

import pytest
import torch

from tests.conftest import ROOT, run_script

FIXTURES = ROOT / "tests" / "fixtures"
PICTURES = [f"test_digits/digit_{digit}.png" for digit in range(10)]


def unpack(name: str, folder) -> None:
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not before 3.11.4
    with tarfile.open(FIXTURES / name) as archive:
        archive.extractall(folder, **options)


def succeed(*command, cwd):
    # Threads of small batches wait for each other wherever other tests run beside them.
    done = run_script(*command, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def test_digits(tmp_path):
    shutil.copytree(ROOT / "test_digits", tmp_path / "test_digits")


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    unpack("exports.tar.xz", folder)
    return folder


# The mean loss of epoch 2 when the commit that made the run finished it.
@pytest.mark.parametrize(
    ("name", "done", "total", "loss"),
    [
        ("default", 374, 498, 0.025991),
        ("quick", 469, 500, 0.502714),
        pytest.param("1998", 50, 100, 0.891269, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on(name, done, total, loss, tmp_path):
    unpack("runs.tar.xz", tmp_path)
    run = tmp_path / "runs" / name
    config, metrics = (run / "config.json").read_text(), (run / "metrics.csv").read_text()
    resumed = succeed("train.py", "--resume", name, cwd=tmp_path)
    assert str(done) in resumed.stdout  # the step
    assert (run / "config.json").read_text() == config
    finished = (run / "metrics.csv").read_text()
    assert finished.startswith(metrics)
    rows = list(csv.DictReader(io.StringIO(finished)))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # Processors differ, and bfloat16 is rounder than float32; a run begun anew is far away.
    assert float(rows[1]["train_loss"]) == pytest.approx(loss, rel=0.05)
    checkpoint = torch.load(run / "checkpoint.pth", weights_only=True)
    assert (checkpoint["step"], checkpoint["finished"]) == (total, True)
    weights = torch.load(tmp_path / f"{name}.pth", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["record", "anybody"])
def test_a_run_finds_the_teacher_and_the_fonts_from_any_folder(name, tmp_path):
    unpack("runs.tar.xz", tmp_path)
    run = tmp_path / "runs" / name
    config = json.loads((run / "config.json").read_text())
    assert {config["teacher"], config["fonts"]} & {"pretrained/teacher.pth", "fonts/digits.npz"}
    succeed("train.py", "--resume", name, cwd=tmp_path)
    assert torch.load(run / "checkpoint.pth", weights_only=True)["step"] == config["max_steps"]
    assert (tmp_path / f"{name}.pth").exists()


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_half_an_output_file_is_continued(kind, test_digits, tmp_path):
    name = f"results.{kind}"
    half = (FIXTURES / name).read_text()
    assert not half.endswith("\n")
    (tmp_path / name).write_text(half)
    succeed("inference.py", "test_digits", "--format", kind, "--output", name, cwd=tmp_path)
    whole = (tmp_path / name).read_text()
    assert whole.startswith(half[: half.rindex("\n") + 1])
    if kind == "json":
        rows = [json.loads(line) for line in whole.splitlines()]
    else:
        rows = list(csv.DictReader(io.StringIO(whole), strict=True))
    assert [row["path"] for row in rows] == PICTURES
    assert [int(row["prediction"]) for row in rows] == list(range(10))


@pytest.mark.parametrize("name", ["lenet5.onnx", "lenet5-int8.onnx"])
def test_an_exported_network_reads_the_same(name, exports, test_digits, tmp_path):
    """The same digits; the ink was found by rules then and by a network now, so probabilities differ."""
    flags = ("--weights", exports / name, "--format", "json", "--top-k", 10)
    read = succeed("inference.py", "test_digits", *flags, cwd=tmp_path)
    expected = json.loads((FIXTURES / "expected.json").read_text())[name]
    rows = [json.loads(line) for line in read.stdout.splitlines()]
    assert [row["path"] for row in rows] == PICTURES
    for row in rows:
        before = max(range(10), key=expected[row["path"]].__getitem__)
        assert row["prediction"] == row["label"] == before
        assert sum(probability for _, probability in row["top"]) == pytest.approx(1, abs=1e-4)


def test_an_exported_npz_is_read_by_the_example(exports, test_digits, tmp_path):
    read = succeed("examples/lenet5_numpy.py", exports / "lenet5.npz", *PICTURES, cwd=tmp_path)
    assert [line.split()[-1] for line in read.stdout.splitlines()] == list("0123456789")
