"""What shells do: closed streams, lists of paths in any encoding, patterns that are not expanded."""

import codecs
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import inference
import read_number
import train
from lenet5.data.picture_files import expanded, find_pictures, listed_paths
from lenet5.runtime.cli import ArgumentParser
from lenet5.runtime.errors import UserError, reason, say
from lenet5.training.progress import columns, epoch_line
from tests.conftest import DIGITS, PRETRAINED, ROOT, assert_one_error_line, objects, run_script

FOUR = DIGITS / "digit_4.png"
SHIPPED = ["--weights", str(PRETRAINED)]


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell's redirections")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command",
    [
        f"inference.py {FOUR} --weights {PRETRAINED} --output r.jsonl --plot p.png",
        f"read_number.py {FOUR} --output r.jsonl --plot p.png",
        "generate_test_digits.py --sheet p.png --output r.jsonl",
        "inference.py --no-such-flag",
    ],
)
def test_closed_streams(workdir, closed, command):
    line = f"{sys.executable} {ROOT}/{command} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=workdir, timeout=120)
    assert "Traceback" not in done.stderr + done.stdout
    if "no-such" in command:
        assert done.returncode == 2
        return
    assert done.returncode == 0
    assert Image.open("p.png").format == "PNG"
    assert Path("r.jsonl").exists()


def test_a_list_on_a_closed_stdin(workdir):
    line = f"{sys.executable} {ROOT}/inference.py --files-from - {' '.join(SHIPPED)} <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=workdir, timeout=120)
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_paths_in_the_encodings_of_shells(workdir, mark, encoding, end):
    names = ["digit_4.png", "Bilder/sieben ä.png", "", "七.png"]
    Path("list").write_bytes(mark + end.join(names).encode(encoding))
    assert list(listed_paths("list")) == [name for name in names if name]


def test_a_list_of_one_long_line_and_of_nothing(workdir):
    Path("list").write_bytes(b"")
    assert list(listed_paths("list")) == []
    Path("list").write_bytes(b"\xff\xfe")
    assert list(listed_paths("list")) == []
    Path("list").write_bytes(b"\xff\xfea\0\x28\x20b\0\n\0c")  # half a character
    assert next(iter(listed_paths("list"))) == "a\u2028b"
    Path("list").write_bytes(b"a\xff.png\n")  # not UTF-8: a name all the same
    assert list(map(os.fsencode, listed_paths("list"))) == [b"a\xff.png"]


def test_patterns_that_no_shell_expanded(workdir, capsys):
    for name in ("a/digit_4.png", "a/b/digit_7.png", "a/[1].png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FOUR, name)
    assert expanded("a/*.png") == ["a/[1].png", "a/digit_4.png"]
    assert expanded("a/*/*_?.png") == ["a/b/digit_7.png"]
    assert expanded("a/[1].png") == ["a/[1].png"]  # there is such a file
    assert expanded("b/*.png") == ["b/*.png"]
    assert list(find_pictures(["a/[d]*.png"])) == ["a/[d]*.png"]  # as a list may name it
    with pytest.raises(UserError, match="data URL"):
        expanded("data:image/png;base64,AAAA")
    assert inference.main(["a/dig*.png", "--format", "json", *SHIPPED]) == 0
    assert [row["prediction"] for row in objects(capsys.readouterr().out)] == [4]


@pytest.mark.parametrize("loss", [0.0123, 9.9, 99.99996, 123.4, 9999.9, 1298282.8, 1e30])
def test_the_columns_of_a_large_loss_stay_apart(loss):
    row = {"epoch": 1, "train_loss": loss, "lr": 1e-3, "seconds": 5.0}
    row |= {f"{part}_accuracy": 1.0 for part in ("train", "val", "test")}
    line = epoch_line(row, 10, left=0)
    assert len(line) == len(columns(10))
    assert line.split()[1].startswith("1/10")
    assert float(line.split()[2]) == pytest.approx(loss, rel=0.06)


@pytest.mark.slow
def test_a_very_large_picture_prints_nothing_of_pillow_s(workdir):
    Image.new("L", (11_000, 11_000), 255).save("large.png")
    for script in ("read_number.py", "inference.py"):
        done = run_script(script, "large.png", "--workers", "1", cwd=workdir)
        assert done.returncode == 0
        assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (train.main, ["--init-from", "x.onnx", "--dry-run"]),
        (read_number.main, [str(FOUR), "--weights", "x.pth"]),
    ],
)
def test_weights_that_a_script_cannot_use(workdir, capsys, main, flags):
    shutil.copy(PRETRAINED, "x.pth")
    Path("x.onnx").write_bytes(b"x")
    assert main(flags) == 2
    assert_one_error_line(capsys.readouterr().err, "x.")


def test_messages_are_short_lines_without_escapes(capsys):
    assert reason(ValueError("first\n  second\tthird")) == "first second third"
    say("not read: " + "A" * 5000 + ": no such file")
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 200
    assert line.endswith("A: no such file")
    with pytest.raises(SystemExit):
        ArgumentParser(prog="x.py").parse_args(["--" + "b" * 3000])
    assert len(capsys.readouterr().err.splitlines()[-1]) <= 260


def test_a_list_that_is_no_list():
    with pytest.raises(UserError, match="cannot read nowhere"):
        list(listed_paths("nowhere"))
