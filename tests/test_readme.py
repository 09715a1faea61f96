"""Every command in the README is carried out, those that take long with a short setting.

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

README = (ROOT / "README.md").read_text(encoding="utf-8")
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
    "python notebooks/execute.py": "tests/test_notebook.py, on a copy",
}


def commands() -> list[str]:
    """The commands of the README's blocks, without what stands behind a #."""
    found = re.findall(r"^    (?:\$ )?((?:pip|python) .*)$", README, re.MULTILINE)
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


def test_every_script_that_the_readme_names_is_there():
    for script in set(re.findall(r"python\s+((?:\w+/)?\w+\.py)", README)):
        assert (ROOT / script).is_file(), script


def test_every_picture_that_the_readme_shows_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) > 8
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture


def test_every_flag_has_a_row_in_the_readme(capsys):
    for script in ("train", "inference"):
        with pytest.raises(SystemExit):
            importlib.import_module(script).main(["--help"])
        for flag in re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out):
            assert re.search(rf"`{flag}\b", README) or flag in ("--help",), f"{script}.py {flag}"
