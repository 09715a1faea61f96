"""Every command in the README and in docs/ is carried out, those that take long with a short setting.

A command is a line of an indented block that begins with `python`, perhaps after `$`.
They are run in their order, in one folder that looks like the project's, by each
script's own `main`, in this process.
"""

import importlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import generate_test_digits
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
# What stands for something in the README, and what it is here. Thirty drawn digits take the
# place of MNIST where a whole data set is looked at, which is no other code.
PLACES = {
    "FOLDER": "own",
    "PICTURE": "test_digits/digit_3.png",
    "mnist": "own",
    "postcode.png": "test_digits/digit_3.png",
    "scans/": "own",
}
OPTIONAL = re.compile(r"\[.*?\]|\.\.\.")
# Behind the README's own words, so that they win where both set something.
SHORT = {
    "train.py": ["--max-steps", "2", "--batch-size", "10", "--device", "cpu", "--dataset", "own"],
    "export.py": ["--weights", "pretrained/lenet5-plain.pth"],
}
SHORTER = {"--prune": ["--epochs", "1"]}  # for a command with this word
ELSEWHERE = {
    "python -m pytest": "is how you come here",
    "python draw.py": "ends with Ctrl-C: tests/test_page.py",
    "python -m pytest -m slow": "is how you come here",
    "python -m venv .venv": "makes an environment",
    "python benchmarks/goldens.py": "takes ten minutes",
}


def commands() -> list[str]:
    """The commands of the pages' blocks, without what stands behind a #."""
    found = re.findall(r"^    (?:\$ )?((?:pip|python) .*)$", DOCS, re.MULTILINE)
    parts = [part.strip() for line in found for part in line.partition("  #")[0].split("&&")]
    return list(dict.fromkeys(part for part in parts if part.startswith("python ")))


@pytest.fixture
def project(workdir):
    """A folder as the project's own, in which what a command writes does no harm."""
    for name in ("pretrained", "test_digits", "fonts", "docs", "examples"):
        shutil.copytree(ROOT / name, workdir / name)
    (workdir / "data").symlink_to(ROOT / "data")
    face = generate_test_digits.default_face()
    for digit in range(10):
        (workdir / "own" / str(digit)).mkdir(parents=True)
        for copy in range(1, 4):
            drawing = generate_test_digits.Drawing(digit, face, "plain", copy)
            drawing.draw(28, seed=copy).save(workdir / "own" / str(digit) / f"{copy}.png")
    return workdir


def words_of(command: str) -> list[str]:
    """The words of a command after `python`, with a short setting."""
    words = [PLACES.get(word, word) for word in shlex.split(OPTIONAL.sub("", command))[1:]]
    words += SHORT.get(words[0], []) if "list" not in words and "--compare" not in words else []
    return words + [word for flag, more in SHORTER.items() if flag in words for word in more]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_readme_works(project, capfd):
    listed = commands()
    assert len(listed) > 20
    assert set(ELSEWHERE) <= set(listed)
    for command in listed:
        if command in ELSEWHERE:
            continue
        script, *flags = words_of(command)
        if script.startswith("examples/"):
            done = subprocess.run([sys.executable, script, *flags], timeout=60, check=False)
            status = done.returncode
        else:
            status = importlib.import_module(script.removesuffix(".py")).main(flags)
        assert status == 0, f"{command}: {capfd.readouterr().err}"


def test_every_script_that_a_page_names_is_there():
    for script in set(re.findall(r"python\s+((?:\w+/)?\w+\.py)", DOCS)):
        assert (ROOT / script).is_file(), script


def test_every_file_that_a_page_links_is_there():
    for page in PAGES:
        links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        for link in links:
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_is_for_the_first_ten_minutes():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 260


def tomllib():
    return pytest.importorskip("tomllib")  # Python 3.11


def test_the_extras_are_those_of_the_requirements_files():
    project = tomllib().loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    for name, packages in extras.items():
        path = ROOT / f"requirements{name and '-' + name}.txt"
        lines = [line for line in path.read_text().splitlines() if line[0] not in "#-"]
        assert lines == packages, path.name


def test_the_package_lists_every_room():
    listed = tomllib().loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    rooms = {f"lenet5.{path.parent.name}" for path in (ROOT / "lenet5").glob("*/__init__.py")}
    assert rooms < set(listed["packages"])
    assert set(listed["py-modules"]) == {path.stem for path in ROOT.glob("*.py")}


def test_every_flag_has_a_row_in_the_readme(capsys):
    for script in ("train", "inference"):
        with pytest.raises(SystemExit):
            importlib.import_module(script).main(["--help"])
        for flag in re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out):
            assert re.search(rf"`{flag}\b", DOCS) or flag in ("--help",), f"{script}.py {flag}"
