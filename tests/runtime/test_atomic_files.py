import argparse
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from lenet5.runtime import atomic_files, download
from lenet5.runtime.atomic_files import (
    check_writable,
    make_folder,
    make_folder_with,
    read_file,
    write_file,
)
from lenet5.runtime.cli import command_line, number
from lenet5.runtime.errors import UserError, one_line
from tests.conftest import ROOT


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_by_a_complete_one_in_one_rename(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []
    path.write_bytes(b"a long old content")
    replace = os.replace

    def look(source, target):
        with open(source, "rb") as new, open(target, "rb") as old:
            seen.append((new.read(), old.read()))
        replace(source, target)

    monkeypatch.setattr(atomic_files.os, "replace", look)
    write_file(path, b"new")
    assert seen == [(b"new", b"a long old content")]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "b").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(atomic_files.os, step, full_disk)
    with pytest.raises(UserError, match="the disk is full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


DEAD = 2**22 + 1  # no process has this number: it is above Linux's largest


def leftover(folder, name, process):
    path = folder / f".{name}.{process}.0123abcd.tmp"
    path.write_bytes(b"half")
    return path


def test_what_killed_writers_left_is_removed_and_a_living_ones_is_not(tmp_path):
    (tmp_path / f".run.{DEAD}.0123abcd.tmp").mkdir()
    leftover(tmp_path / f".run.{DEAD}.0123abcd.tmp", "config.json", DEAD)
    leftover(tmp_path, "a", DEAD)
    leftover(tmp_path, "b", DEAD)
    leftover(tmp_path, "b", os.getpid())  # of an earlier process with our number
    kept = {
        leftover(tmp_path, "a", os.getppid()),
        leftover(tmp_path, "a", 10**30),
        leftover(tmp_path, "a", "mine"),
        tmp_path / "a.tmp",
    }
    (tmp_path / "a.tmp").write_bytes(b"not ours")
    write_file(tmp_path / "a", b"new")
    assert set(tmp_path.iterdir()) == {*kept, tmp_path / "a"}


def test_two_processes_write_one_file_and_it_is_always_whole(tmp_path):
    """Two writers at once, and each time one of their two contents, complete."""
    program = """
import sys
from lenet5.runtime.atomic_files import remove_leftovers, write_file
for _ in range(200):
    remove_leftovers.cache_clear()  # look each time, as a process that starts just then
    write_file("out", sys.argv[1].encode() * 100_000)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    writers = [subprocess.Popen([*command, c], cwd=tmp_path, env=environment) for c in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "out").exists():
            seen.add((tmp_path / "out").read_bytes())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {b"a" * 100_000, b"b" * 100_000}
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_comes_with_its_first_file_or_not_at_all(tmp_path, monkeypatch):
    rename, seen = os.rename, []

    def look(source, target):
        seen.append((os.path.exists(target), os.listdir(source)))
        rename(source, target)

    monkeypatch.setattr(atomic_files.os, "rename", look)
    run = tmp_path / "run"
    assert make_folder_with(run, "config.json", b"{}")
    assert seen == [(False, ["config.json"])]
    assert not make_folder_with(run, "config.json", b"other")
    assert (run / "config.json").read_bytes() == b"{}"
    assert os.listdir(tmp_path) == ["run"]
    with pytest.raises(UserError, match="cannot make the folder"):
        make_folder_with(tmp_path / "missing" / "run", "config.json", b"{}")


def test_a_link_keeps_pointing_where_it_points(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_file(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_device_is_written_to_and_stays_a_device():
    write_file("/dev/null", b"anything")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(UserError, match="cannot write /dev/full: the disk is full"):
        write_file("/dev/full", b"anything")


def test_check_writable_names_what_is_in_the_way(tmp_path):
    check_writable(tmp_path / "new")
    with pytest.raises(UserError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        check_writable(tmp_path / "missing" / "a")


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs a way to be nobody for a while")
def test_a_read_only_folder_is_named():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are root's alone
        os.chmod(folder, 0o555)
        before = os.getresuid()
        if before[0] == 0:
            os.setresuid(65534, 65534, 0)  # root may write anywhere, so this is nobody
        try:
            with pytest.raises(UserError, match=f"cannot write {folder}/a: the folder .* is read-only"):
                check_writable(f"{folder}/a")
            with pytest.raises(UserError, match=f"cannot write {folder}/a: Permission denied"):
                write_file(f"{folder}/a", b"")
            with pytest.raises(UserError, match=f"cannot make the folder {folder}/run: Permission"):
                make_folder_with(f"{folder}/run", "config.json", b"{}")
        finally:
            os.setresuid(*before)
        assert os.listdir(folder) == []


def test_read_file_takes_regular_files_of_limited_size_only(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(UserError, match="larger than 4 bytes"):
        read_file(tmp_path / "a", 4)
    with pytest.raises(UserError, match="not a regular file"):
        read_file("/dev/zero", 5)
    with pytest.raises(UserError, match="No such file"):
        read_file(tmp_path / "b", 5)


def test_one_line_shows_what_can_be_shown_and_escapes_the_rest():
    assert one_line("digit 7 été ✓ 😀") == "digit 7 été ✓ 😀"
    assert one_line("a\nb\tc\x1b[31m\udcff") == "a\\nb\\tc\\x1b[31m\\udcff"


def test_number_takes_its_range_and_nothing_else():
    assert number(int, 1, 5)("5") == 5
    assert number(float, 0)("1e-3") == 0.001
    for kind, text in [(int, "0"), (int, "6"), (int, "1.5"), (int, "x"), (float, "nan"), (float, "inf")]:
        with pytest.raises(argparse.ArgumentTypeError):
            number(kind, 1, 5)(text)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (UserError("no such thing"), 2, "error: no such thing\n"),
        (UserError("half of it\nis done", status=1), 1, "error: half of it\\nis done\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: x: Permission denied\n"),
        (MemoryError(), 2, "memory"),
    ],
)
def test_an_error_is_one_line_and_a_status(capsys, error, status, word):
    @command_line
    def main(argv=None):
        raise error

    assert main() == status
    err = capsys.readouterr().err
    assert word in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")],
)
def test_a_signal_is_one_line_and_a_status(capsys, number, status, line):
    before = signal.getsignal(number)

    @command_line
    def main(argv=None):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except Exception:
            return 0  # as a reader of pictures would, who takes what is raised for damage

    assert main() == status
    assert capsys.readouterr().err == line
    assert signal.getsignal(number) == before


def test_a_defect_is_not_swallowed():
    @command_line
    def main(argv=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_download_says_why_it_failed():
    # Port 9 on this machine: nothing listens there.
    with pytest.raises(UserError, match="refused"):
        download.download("http://127.0.0.1:9/x", limit=10, timeout=2)
    with pytest.raises(UserError, match="unknown url type"):
        download.download("nonsense", limit=10)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have_are_one_line(name):
    """JSON can hold them, so an edited config.json can."""
    for use in (check_writable, make_folder, lambda path: read_file(path, 10)):
        with pytest.raises(UserError, match="cannot"):
            use(name)
