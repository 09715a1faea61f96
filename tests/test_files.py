import argparse
import errno
import os
import stat

import pytest

import files
from files import (
    UserError,
    check_writable,
    command_line,
    make_folder,
    number,
    one_line,
    read_file,
    write_file,
)


def test_write_file_replaces_the_whole_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"a long old content")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(UserError, match="the disk is full"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_complete_at_the_moment_of_the_rename(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []
    replace = os.replace

    def look(source, target):
        with open(source, "rb") as file:
            seen.append((file.read(), os.path.exists(target)))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", look)
    write_file(path, b"all of it")
    assert seen == [(b"all of it", False)]


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


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path):
    write_file(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_check_writable_names_what_is_in_the_way(tmp_path):
    check_writable(tmp_path / "new")
    with pytest.raises(UserError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        check_writable(tmp_path / "missing" / "a")


def test_read_file_takes_regular_files_of_limited_size_only(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(UserError, match="larger than 4 bytes"):
        read_file(tmp_path / "a", 4)
    with pytest.raises(UserError, match="not a regular file"):
        read_file("/dev/zero", 5)
    with pytest.raises(UserError, match="No such file"):
        read_file(tmp_path / "b", 5)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("digit 7 été ✓ 😀", "digit 7 été ✓ 😀"),
        ("a\nb\tc\x1b[31m", "a\\nb\\tc\\x1b[31m"),
        ("\udcff", "\\udcff"),
    ],
)
def test_one_line_shows_what_can_be_shown_and_escapes_the_rest(text, shown):
    assert one_line(text) == shown


def test_number_takes_its_range_and_nothing_else():
    assert number(int, 1, 5)("5") == 5
    assert number(float, 0)("1e-3") == 0.001
    for kind, text in [(int, "0"), (int, "6"), (int, "1.5"), (int, "x"), (float, "nan"), (float, "inf")]:
        with pytest.raises(argparse.ArgumentTypeError):
            number(kind, 1, 5)(text)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such thing"), 2, "error: no such thing\n"),
        (UserError("half of it\nis done", status=1), 1, "error: half of it\\nis done\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: x: Permission denied\n"),
        (MemoryError(), 2, "error: this machine has not enough memory for that\n"),
    ],
)
def test_an_error_is_one_line_and_a_status(capsys, error, status, line):
    @command_line
    def main(argv=None):
        raise error

    assert main() == status
    assert capsys.readouterr().err == line


def test_a_defect_is_not_swallowed():
    @command_line
    def main(argv=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_download_says_why_it_failed():
    # Port 9 on this machine: nothing listens there.
    with pytest.raises(UserError, match="refused"):
        files.download("http://127.0.0.1:9/x", limit=10, timeout=2)
    with pytest.raises(UserError, match="unknown url type"):
        files.download("nonsense", limit=10)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have_are_one_line(name):
    """JSON can hold them, so an edited config.json can."""
    for use in (check_writable, make_folder, lambda path: read_file(path, 10)):
        with pytest.raises(UserError, match="cannot"):
            use(name)
