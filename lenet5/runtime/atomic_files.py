"""Atomic writes, bounded reads, locks."""

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat

from lenet5.runtime.errors import UserError, reason, say


def check_writable(path) -> None:
    """Raise UserError now if `path` could not be written at the end of a run."""
    try:
        target = os.path.realpath(path)
    except ValueError as error:  # a null byte in the name, or half a character
        raise UserError(f"cannot write {path}: {reason(error)}") from error
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise UserError(f"cannot write {path}: it is a folder; give the name of a file")
    if os.path.exists(target) and not os.path.isfile(target):
        return  # a device or a pipe, which is written in place
    if not os.path.isdir(folder):
        raise UserError(f"cannot write {path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {folder} is read-only")


def write_file(path, data: bytes) -> None:
    """Write a whole file; at every moment it is complete or the previous one.

    The bytes go to a temporary file in the same folder, are synced to the disk and renamed. A
    symbolic link keeps its target; a device or a pipe is written in place. Temporary files of
    killed processes are removed. Raises UserError, with the old file untouched.
    """
    target = os.path.realpath(path)
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with open(target, "wb") as file:
                file.write(data)
            return
        folder = os.path.dirname(target)
        remove_leftovers(folder)
        temporary = temporary_name(target)
        try:
            write_new(temporary, data)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from error


def write_new(path, data: bytes) -> None:
    """Write a file that does not exist yet and sync it to the disk. Raises OSError."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_folder_with(folder, name: str, data: bytes) -> bool:
    """Make a folder with a first file in it, both or neither; False if the folder exists.

    Raises UserError when that is not possible.
    """
    target = os.path.realpath(folder)
    parent, temporary = os.path.dirname(target), temporary_name(target)
    try:
        remove_leftovers(parent)
        os.mkdir(temporary)
        write_new(os.path.join(temporary, name), data)
        sync_folder(temporary)
        os.rename(temporary, target)
        sync_folder(parent)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise UserError(f"cannot make the folder {folder}: {reason(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone, if all went well
    return True


TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")  # with the process's id


def temporary_name(path) -> str:
    """A name beside `path` that no other process uses, on this machine or another."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


@functools.cache  # once a folder: there may be a hundred thousand pictures in it
def remove_leftovers(folder: str) -> None:
    """Remove the temporary files and folders of processes that were killed.

    A writer on another machine that shares the folder looks dead from here: at worst its
    rename fails with an error, and the file that it was to replace is whole.
    """
    for name in os.listdir(folder):
        match = TEMPORARY.fullmatch(name)
        if match is None or is_alive(int(match[1])):
            continue
        leftover = os.path.join(folder, name)
        with contextlib.suppress(OSError):  # another process removed it, or owns it
            if os.path.isdir(leftover):
                shutil.rmtree(leftover)
            else:
                os.unlink(leftover)


def is_alive(process: int) -> bool:
    """Whether another process has this id."""
    if os.name != "posix":
        return True  # on Windows, asking would end it
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process's number
        return True
    return process != os.getpid()  # an earlier process's: in a container, each has the same id


def sync_folder(folder) -> None:
    """Sync a folder's entries to the disk, so that a rename survives a power cut."""
    if os.name != "posix":
        return  # Windows cannot open a folder, and needs no such call
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(file, data: bytes) -> None:
    """Write all bytes at the end of a file that was opened with mode "ab" and buffering=0."""
    while data:
        data = data[file.write(data) :]  # a disk that gets full may take only a part


def lock(file, path) -> None:
    """Keep an open file to this process until it is closed. Raises UserError if another has it."""
    if os.name != "posix":
        return  # Windows' locks would keep others from reading it too
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process is writing {path}; wait for its end, or give another file"
        ) from None
    except OSError as error:
        say(f"cannot lock {path} ({reason(error)}): let nothing else write it")


def make_folder(path) -> None:
    """Create a folder and its parents, unless it exists. Raises UserError."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"cannot make the folder {path}: {reason(error)}") from error


def read_file(path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises UserError for anything else: a device or a pipe could be read for ever.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"cannot read {path}: it is not a regular file")
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UserError(f"cannot read {path}: {reason(error)}") from error
    if len(data) > limit:
        raise UserError(f"cannot read {path}: it is larger than {limit:,} bytes")
    return data


def unpacked_size(data: bytes) -> int:
    """How many bytes a zip archive says that it unpacks to. Raises BadZipFile if it is none."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def read_json(path, limit: int = 1 << 24) -> dict:
    """The object in a JSON file. Raises UserError if it is not one."""
    try:
        value = json.loads(read_file(path, limit))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a JSON file: {reason(error)}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold one JSON object")
    return value


def md5(data: bytes) -> str:
    """MD5 in hexadecimal: enough against a damaged file, not against an attacker."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sha256_of(path) -> str:
    """The first 12 digits of a file's SHA-256. Raises UserError if it cannot be read."""
    return hashlib.sha256(read_file(path, 1 << 30)).hexdigest()[:12]
