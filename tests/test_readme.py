"""Every command in the README and in docs/ is parsed, and in the slow tier carried out.

A command is a line of an indented block that begins with `python`, perhaps after `$`.
They are run in their order, in one folder that looks like the project's, by each
script's own `main`, in this process; those that take long have a short setting.
"""

import importlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import generate_test_digits
from docs import make_flags
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What stands for something in the README, and what it is here. Thirty drawn digits take the
# place of MNIST where a whole data set is looked at, which is no other code.
PLACES = {
    "FOLDER": "own",
    "PICTURE": "test_digits/digit_3.png",
    "mnist": "own",
    "postcode.png": "test_digits/digit_3.png",
    "scans/": "own",
}
DOCUMENTED = ("train", "inference", "read_number", "export", "generate_test_digits")
OPTIONAL = re.compile(r"\[.*?\]|\.\.\.")
# Behind the README's own words, so that they win where both set something.
SHORT = {
    "train.py": ["--max-steps", "2", "--batch-size", "10", "--device", "cpu", "--dataset", "own"],
    "export.py": ["--weights", "pretrained/lenet5-plain.pth"],
}
SHORTER = {
    "--prune": ["--epochs", "1"],
    "anybody": ["--pictures", "100"],
}  # for a command with this word
ELSEWHERE = {  # with any flags
    "-m": "pytest is how you come here, and a training takes long",
    "draw.py": "ends with Ctrl-C: tests/test_page.py",
    "notebooks/execute.py": "tests/test_notebook.py, on a copy",
}


def commands(page) -> list[str]:
    """The python commands of a page's indented blocks, without what stands behind a #."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^ {4,}(?:\$ )?((?:pip|python) .*)$", text, re.MULTILINE)
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


def is_carried_out(command: str) -> bool:
    """Whether a command is one of a script here that takes little time with a short setting."""
    script = shlex.split(command)[1]
    return script not in ELSEWHERE and not script.startswith("benchmarks/")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_works(project, capfd):
    listed = dict.fromkeys(command for page in PAGES for command in commands(page))
    assert len(listed) > 20  # the pattern still finds them
    assert set(ELSEWHERE) <= {shlex.split(command)[1] for command in listed}
    for command in filter(is_carried_out, listed):
        script, *flags = words_of(command)
        if script.startswith("examples/"):
            done = subprocess.run([sys.executable, script, *flags], timeout=60, check=False)
            status = done.returncode
        else:
            status = importlib.import_module(script.removesuffix(".py")).main(flags)
        assert status == 0, f"{command}: {capfd.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_script_and_flag_of_a_command_exists(page):
    for command in commands(page):
        words = OPTIONAL.sub("", command).split()
        if not words[1].endswith(".py"):
            continue
        assert (ROOT / words[1]).is_file(), command
        files = [ROOT / words[1], *(ROOT / words[1]).parent.glob("contest.py")]  # their shared flags
        source = "".join(file.read_text(encoding="utf-8") for file in files)
        known = set(re.findall(r"--[a-z][a-z0-9-]+", source + flags_of(words[1])))
        assert {word for word in words if word.startswith("--")} <= known, command


def flags_of(script: str) -> str:
    """The table of a documented script's flags, from its parser; empty for other scripts."""
    return make_flags.table(script[:-3]) if script[:-3] in DOCUMENTED else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_linked_or_named_exists(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    files = [page.parent / link for link in links if not link.startswith("http")]
    files += [ROOT / path for path in re.findall(r"`((?:lenet5|tests|benchmarks)/[\w/]+\.\w+)`", text)]
    assert [str(file) for file in files if not file.exists()] == []


def test_the_readme_is_short():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 260


def test_tables_of_flags_are_there_and_up_to_date():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert make_flags.with_tables(text) == text, "python docs/make_flags.py writes them anew"
    for script in DOCUMENTED:
        assert f"<!-- flags of {script}: begin -->" in text
