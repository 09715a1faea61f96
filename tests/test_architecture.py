"""The import rule of the package: rooms import from rooms before them, and never a script."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ROOMS = (
    "runtime",
    "imaging",
    "networks",
    "data",
    "evaluation",
    "training",
    "reading",
    "whole_numbers",
    "export",
)
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
FILES = sorted((ROOT / "lenet5").glob("*/*.py"))


def imported(path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_folder_of_the_package_is_a_room():
    assert {path.parent.name for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_one_way(path):
    place = ROOMS.index(path.parent.name)
    for name in imported(path):
        parts = name.split(".")
        is_definition = path.parts[-2:] == ("networks", "definition.py")
        if parts[0] == "lenet5" and len(parts) > 2 and not (parts[1] == "model" and is_definition):
            assert parts[1] in ROOMS[: place + 1], f"{path.name} imports {name}"
        assert parts[0] not in SCRIPTS or (parts[0] == "model" and is_definition), name


def test_rooms_import_nothing_themselves():
    for room in ROOMS:
        tree = ast.parse((ROOT / "lenet5" / room / "__init__.py").read_text(encoding="utf-8"))
        assert all(isinstance(node, ast.Expr) for node in tree.body), room


@pytest.mark.parametrize("first", ["import model, lenet5", "import lenet5; lenet5.build; import model"])
def test_model_and_package_can_be_imported_in_either_order(first):
    program = f"{first}; assert lenet5.build is model.build; model.build('lenet5-1998')"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_model_runs_alone(tmp_path):
    (tmp_path / "model.py").write_bytes((ROOT / "model.py").read_bytes())
    program = (
        "import sys, torch, model\n"
        "assert model.build('lenet5')(torch.zeros(2, 1, 32, 32)).shape == (2, 10)\n"
        "assert not [name for name in sys.modules if name.startswith('lenet5')]\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
