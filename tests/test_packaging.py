"""The package's metadata agrees with the requirements files and with the folders."""

import re
from fnmatch import fnmatch

import pytest

from tests.conftest import ROOT

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no parser of TOML")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def required(name: str) -> set[str]:
    """The packages of a requirements file, without the files that it includes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if re.match(r"\w", line)}


@pytest.mark.parametrize("extra", ["export", "notebook", "tensorboard", "dev"])
def test_extras_agree_with_the_requirements_files(extra):
    listed = set(PROJECT["project"]["optional-dependencies"][extra])
    listed -= {"lenet5[export,notebook,tensorboard]"}
    assert listed == required(f"requirements-{extra}.txt")


def test_dependencies_agree_with_the_requirements_file():
    assert set(PROJECT["project"]["dependencies"]) == required("requirements.txt")


def test_every_package_and_script_is_installed():
    setuptools = PROJECT["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "lenet5").rglob("__init__.py")}
    packages = {".".join(folder.parts) for folder in folders}
    assert set(setuptools["packages"]) == packages | {"lenet5.pretrained", "lenet5.fonts"}
    assert set(setuptools["py-modules"]) == {path.stem for path in ROOT.glob("*.py")}
    assert set(PROJECT["tool"]["mypy"]["modules"]) == set(setuptools["py-modules"])


@pytest.mark.parametrize("folder", ["pretrained", "fonts"])
def test_weights_and_glyphs_are_installed(folder):
    patterns = PROJECT["tool"]["setuptools"]["package-data"][f"lenet5.{folder}"]
    kinds = {".pth", ".onnx", ".npz", ".md"}
    files = {path.name for path in (ROOT / folder).iterdir() if path.suffix in kinds}
    assert folder == "fonts" or {"finder.pth", "finder.onnx"} <= files
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in files)
