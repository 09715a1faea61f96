"""The notebook runs from its first cell to its last, and its stored outputs are those of its code."""

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
SILENT = {"setup", "imports"}  # all other cells print something or show a figure


@pytest.fixture
def project(workdir, monkeypatch, mnist):
    """The files that the notebook needs, in a folder of its own, without a network."""
    package = (ROOT / "lenet5").rglob("*.py")
    for path in (*ROOT.glob("*.py"), *package, *(ROOT / "pretrained").glob("*.pth")):
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
    """Every cell ran, in order, and printed something or showed a figure; nothing on stderr."""
    assert [cell.execution_count for cell in cells.values()] == list(range(1, len(cells) + 1))
    assert sum(len(pictures(cell)) for cell in cells.values()) >= 15
    for name, cell in cells.items():
        assert bool(cell.outputs) == (name not in SILENT), name
        for output in cell.outputs:
            assert output.get("name") == "stdout" or output.output_type == "display_data", output
        for picture in pictures(cell):
            assert len(picture.convert("L").getcolors()) > 1  # not all of one colour


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_notebook_runs_offline_and_leaves_nothing_behind(project):
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
    # Outputs that do not depend on the training are those stored.
    stored = code_cells(ROOT / NOTEBOOK)
    assert stored.keys() == cells.keys()
    for name in list(cells)[: list(cells).index("train")]:
        assert text(cells[name]) == text(stored[name]), name
        assert cells[name].source == stored[name].source


def test_the_stored_outputs_are_a_whole_run_and_nothing_of_the_machine():
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
@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("1 / 0", 1, "a cell failed: ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", 2, "Kernel died"),
        (None, 2, "cannot run"),
    ],
)
def test_a_notebook_that_fails_is_one_line_and_stays(project, capsys, code, status, words):
    path = project / "wrong.ipynb"
    path.write_text("no notebook")
    if code is not None:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        nbformat.write(notebook, path)
    before = path.read_bytes()
    assert execute.main([str(path)]) == status
    assert_one_error_line(capsys.readouterr().err, path, words)
    assert path.read_bytes() == before


def test_missing_packages_are_named_with_their_requirements(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbclient", None)
    assert execute.main([]) == 2
    assert_one_error_line(
        capsys.readouterr().err, "nbclient", "pip install -r requirements-notebook.txt"
    )
