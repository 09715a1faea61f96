"""The guided tour: it runs from its first cell to its last, and shows what it showed us."""

import base64
import io
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from tests.conftest import ROOT, assert_one_error_line

sys.path.insert(0, str(ROOT / "notebooks"))
import execute

NOTEBOOK = "notebooks/lenet5.ipynb"
FIGURES = {  # in each cell that shows any
    "load": 1, "window": 1, "convolution": 1, "pooling": 1, "bitmaps": 1, "f6": 2, "train": 1,
    "batch": 1, "kernels": 3, "states": 1, "mistakes": 1, "predictions": 1, "photograph": 1, "pen": 1,
    "refuse": 2,
}  # fmt: skip
SILENT = {"setup", "imports"}


@pytest.fixture
def project(workdir, monkeypatch, mnist):
    """What the tour needs of the project, in a folder of its own, without a network."""
    package = (ROOT / "lenet5").rglob("*.py")
    for path in (*ROOT.glob("*.py"), *package, *(ROOT / "pretrained").glob("lenet5*.pth")):
        name = workdir / "project" / path.relative_to(ROOT)
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, name)
    for name in (NOTEBOOK, "docs/photograph.jpg"):
        (workdir / "project" / name).parent.mkdir()
        shutil.copy(ROOT / name, workdir / "project" / name)
    (workdir / "project" / "data").symlink_to(ROOT / "data")
    for name in ("tmp", "ipython", "runtime"):
        (workdir / name).mkdir()
    # Nobody listens at port 9. IPython keeps its history, and Jupyter its sockets, elsewhere.
    dead = "http://127.0.0.1:9"
    environment = {"http_proxy": dead, "https_proxy": dead, "no_proxy": "", "TMPDIR": workdir / "tmp"}
    environment |= {"IPYTHONDIR": workdir / "ipython", "JUPYTER_RUNTIME_DIR": workdir / "runtime"}
    environment |= {"PYTHONDONTWRITEBYTECODE": 1, "LENET5_TRAINING": "--max-steps 60"}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    for name in [name for name in os.environ if name.startswith("COV")]:
        monkeypatch.delenv(name)  # what counts lines writes files too
    return workdir / "project"


def code_cells(path: Path) -> dict:
    """The cells with code of a notebook by their ids."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id: cell for cell in cells if cell.cell_type == "code"}


def text(cell) -> str:
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def pictures(cell) -> list[Image.Image]:
    """The figures that a cell showed."""
    found = [
        output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    return [Image.open(io.BytesIO(base64.b64decode(png))) for png in found]


def files_in(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_outputs(cells: dict) -> None:
    """Every cell ran, in order; it showed its figures or printed something, and nothing on stderr."""
    assert [cell.execution_count for cell in cells.values()] == list(range(1, len(cells) + 1))
    for name, cell in cells.items():
        assert bool(cell.outputs) == (name not in SILENT), name
        assert len(pictures(cell)) == FIGURES.get(name, 0), name
        for output in cell.outputs:
            assert output.get("name") == "stdout" or output.output_type == "display_data", output
        for picture in pictures(cell):
            assert len(picture.convert("L").getcolors()) > 1  # not all of one colour


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tour_runs_offline_and_leaves_nothing_behind(project):
    before = files_in(project)
    assert execute.main([str(project / NOTEBOOK)]) == 0
    after = files_in(project)
    assert after.pop(project / NOTEBOOK) != before.pop(project / NOTEBOOK)
    assert after == before
    left = [path.name for path in (project.parent / "tmp").iterdir()]
    assert all(name.startswith("torchinductor_") for name in left)  # PyTorch's own, and empty
    cells = code_cells(project / NOTEBOOK)
    check_outputs(cells)
    accuracy = re.search(r"test accuracy +(\S+) %", text(cells["train"]))[1]
    assert float(accuracy) > 80  # of 60 steps; guessing has 10
    # What does not depend on the training is what is stored, so the stored outputs are of this code.
    stored = code_cells(ROOT / NOTEBOOK)
    assert stored.keys() == cells.keys()
    for name in list(cells)[: list(cells).index("train")]:
        assert text(cells[name]) == text(stored[name]), name
    assert {name: cell.source for name, cell in cells.items()} == {
        name: cell.source for name, cell in stored.items()
    }


def test_what_is_stored_is_a_whole_run_and_nothing_of_the_machine():
    content = (ROOT / NOTEBOOK).read_text()
    assert len(content.encode()) < 600_000
    notebook = nbformat.reads(content, as_version=4)
    nbformat.validate(notebook)
    assert content == nbformat.writes(notebook).rstrip() + "\n"
    assert notebook.metadata == execute.METADATA
    assert all(cell.metadata == {} for cell in notebook.cells)
    cells = code_cells(ROOT / NOTEBOOK)
    check_outputs(cells)
    assert "epoch 3/3" in text(cells["train"])
    for name, cell in cells.items():
        for path in (str(ROOT), "/tmp", "/home", "/root", "/Users", "\\Users"):
            assert path not in text(cell) + cell.source, name


@pytest.mark.slow
@pytest.mark.parametrize("start", [".", "notebooks"])
def test_the_project_is_found_from_its_folder_and_from_that_of_the_notebook(project, monkeypatch, start):
    monkeypatch.chdir(project / start)
    monkeypatch.setattr(sys, "path", [*sys.path])
    setup = code_cells(ROOT / NOTEBOOK)["setup"].source
    found = {}
    exec(setup, found)
    assert found["ROOT"] == project
    assert sys.path[0] == str(project)
    assert Path.cwd() != project / start
    exec(setup, found)  # once more, from the folder where the first left us
    assert found["ROOT"] == project
    monkeypatch.chdir(project)
    found["work"].cleanup()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_cannot_be_run_is_one_line(project, monkeypatch, capsys):
    assert execute.main(["missing.ipynb"]) == 2
    assert_one_error_line(capsys.readouterr().err, "cannot read missing.ipynb")
    Path("text.ipynb").write_text("no notebook")
    assert execute.main(["text.ipynb"]) == 2
    assert_one_error_line(capsys.readouterr().err, "cannot read text.ipynb")
    assert execute.main(["missing/lenet5.ipynb"]) == 2
    assert_one_error_line(
        capsys.readouterr().err, "cannot write missing/lenet5.ipynb: there is no folder"
    )
    for code, words in (
        ("1 / 0", "wrong.ipynb: a cell failed: ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", "wrong.ipynb: a cell did not end: Kernel died"),
    ):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        nbformat.write(notebook, "wrong.ipynb")
        before = Path("wrong.ipynb").read_bytes()
        assert execute.main(["wrong.ipynb"]) == 1
        assert_one_error_line(capsys.readouterr().err, words)
        assert Path("wrong.ipynb").read_bytes() == before
    notebook.metadata = {"kernelspec": {"name": "cobol", "display_name": "", "language": ""}}
    nbformat.write(notebook, "wrong.ipynb")
    assert execute.main(["wrong.ipynb"]) == 2
    assert_one_error_line(capsys.readouterr().err, "No such kernel named cobol")
    monkeypatch.setitem(sys.modules, "nbclient", None)
    assert execute.main(["wrong.ipynb"]) == 2
    err = capsys.readouterr().err
    assert_one_error_line(err, "notebooks need packages of their own")
    assert (ROOT / re.search(r"pip install -r (\S+)$", err.strip())[1]).exists()
