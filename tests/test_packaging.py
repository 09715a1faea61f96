"""The package's metadata agrees with the requirements files; what is installed is the package alone."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.conftest import ROOT

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no parser of TOML")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# In a folder with a model.py of its own.
PROGRAM = """
import model, sys
from lenet5 import ImageClassifier, NumberReader, build
assert ImageClassifier().predict("seven.png") == 7
assert NumberReader(device="cpu").predict("seven.png") == "7"
assert sum(p.numel() for p in build("lenet5").parameters()) == 61706
assert build("lenet5").__module__ == "lenet5.model"
assert sys.modules["model"].MINE
print(sys.modules["lenet5"].__file__)
"""


def required(name: str) -> set[str]:
    """The packages of a requirements file, without the files that it includes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if re.match(r"\w", line)}


def extras() -> dict:
    return PROJECT["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", extras())
def test_extras_agree_with_the_requirements_files(extra):
    listed = {line for line in extras()[extra] if not line.startswith("lenet5[")}
    assert listed == required(f"requirements-{extra}.txt")


def test_dependencies_agree_with_the_requirements_file():
    assert set(PROJECT["project"]["dependencies"]) == required("requirements.txt")


def test_types_are_checked_of_every_script():
    assert set(PROJECT["tool"]["mypy"]["modules"]) == {path.stem for path in ROOT.glob("*.py")}


@pytest.mark.slow
def test_what_is_installed_is_the_package_alone(tmp_path):
    """Its wheel in a fresh environment, used where a foreign model.py stands."""
    pip = [sys.executable, "-m", "pip"]
    wanted = ["wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)]
    subprocess.run([*pip, *wanted], check=True, timeout=250)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert sorted(tops) == ["lenet5", f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"]
    weights = {f"pretrained/{path.name}" for path in (ROOT / "pretrained").glob("*.*")}
    for name in ("model.py", "export/web/app.js", "fonts/digits.npz", *weights):
        assert f"lenet5/{name}" in names

    venv.create(tmp_path / "fresh", symlinks=True)
    python = next((tmp_path / "fresh").glob("[bS]*/python*"))
    run = [*pip, "--python", str(python), "install", "--no-deps", "-q", str(wheel)]
    subprocess.run(run, check=True, timeout=250)
    site = next((tmp_path / "fresh").rglob("site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])  # torch and others
    shutil.copy(ROOT / "test_digits" / "digit_7.png", tmp_path / "seven.png")
    (tmp_path / "model.py").write_text("MINE = True\n")
    done = subprocess.run(
        [str(python), "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(site / "lenet5" / "__init__.py")
