"""A file is complete or not there, and an error is one line.

Every script of this project writes its files, checks its downloads and words
its errors through this module, which imports nothing but the standard library.
"""

import argparse
import contextlib
import errno
import functools
import hashlib
import importlib
import io
import json
import math
import os
import re
import secrets
import shutil
import signal
import stat
import sys
import threading

# Exit status of a script that Ctrl-C or `kill` ended: 128 and the signal's number.
STOP_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
STOP_WORD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class UserError(Exception):
    """Something that the person at the terminal can mend.

    The message is one line that says what is wrong, with which file, and what
    to do. `status` is the exit status: 2 could not start, 1 partly done.
    """

    def __init__(self, message: str, status: int = 2):
        super().__init__(message)
        self.status = status


class Stopped(BaseException):
    """SIGINT or SIGTERM ends the script, with this line and exit status.

    Not an Exception, as KeyboardInterrupt is none: what catches all that a damaged
    file may raise is not to take Ctrl-C for damage.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def one_line(text) -> str:
    """Text that stays on one line of a terminal, whatever a file is called.

    Control characters, line breaks and bytes that are not UTF-8 are shown as
    escapes ("\\n", "\\udcff"); all that can be printed is left as it is.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def reason(error: BaseException) -> str:
    """Why an operation failed, in a few words for the middle of a sentence."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run the command again"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(str(error).strip() or type(error).__name__)


def user_error(error: OSError) -> UserError:
    """The error of an operation that nobody foresaw, such as a print on a full disk, in one line."""
    name = "" if error.filename is None else f"{error.filename}: "
    return UserError(f"{name}{reason(error)}")


def say(message) -> None:
    """Print one line on stderr: everything that is not a result."""
    print(one_line(message), file=sys.stderr, flush=True)


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose error is one line, with exit status 2."""

    def error(self, message):
        say(f"{self.prog}: error: {message} (see python {self.prog} --help)")
        raise SystemExit(2)


def number(kind, low, high=math.inf):
    """An argparse `type` that takes an int or a float within [low, high]."""

    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
        if not low <= value <= high:  # also catches nan
            span = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: it must be {span}")
        return value

    return convert


def end_quietly() -> None:
    """From now on SIGINT and SIGTERM end the process with a line and its status, not a traceback.

    For a script's first lines: its imports take a second or two, nothing is to
    be saved yet, and an exception would pass through libraries in mid-import.
    """

    for number in STOP_STATUS:
        signal.signal(number, end_now)


def end_now(number, frame) -> None:
    """Handle a signal by ending the process with a line and its status."""
    os.write(2, f"{STOP_WORD[number]}\n".encode())  # print() might be what was interrupted
    os._exit(STOP_STATUS[number])


def stop(number, frame) -> None:
    """Handle a signal by raising Stopped."""
    raise Stopped(STOP_WORD[number], STOP_STATUS[number])


@contextlib.contextmanager
def handling_signals(handler):
    """Have SIGINT and SIGTERM call `handler(number, frame)` meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, handler) for number in STOP_STATUS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def partly_done():
    """What fails in here comes after something was done: the exit status is 1, not 2."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:
        message = error if isinstance(error, UserError) else user_error(error)
        raise UserError(str(message), status=1) from error


def command_line(main):
    """Decorate a script's `main(argv=None) -> int` so that no error shows a traceback.

    A UserError becomes one line on stderr and its exit status; Ctrl-C becomes
    130 and SIGTERM 143; a reader that went away (`| head`) ends the script
    quietly with 1.
    """

    @functools.wraps(main)
    def guarded(argv=None) -> int:
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal's encoding lacks is shown escaped, not a crash.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            with handling_signals(stop):
                status = main(argv)
                with partly_done():
                    sys.stdout.flush()
            return status
        except UserError as error:
            say(f"error: {error}")
            return error.status
        except Stopped as stopped:
            say(stopped)
            return stopped.status
        except BrokenPipeError:
            # Nobody reads on: give the interpreter a stdout that it can flush at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            say(f"error: {user_error(error)}")
            return 2
        except MemoryError:
            say("error: this machine has not enough memory for that")
            return 2

    return guarded


def import_package(name: str, what, requirements: str):
    """A package that not everybody needs, for `what` does. Raises UserError if it is missing.

    `requirements` is the file that has it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{what} needs the package {name} ({reason(error)}): pip install -r {requirements}"
        ) from error


def check_writable(path) -> None:
    """Raise UserError now if `path` could not be written later.

    A training run asks before its first epoch, not after its last.
    """
    try:
        target = os.path.realpath(path)
    except ValueError as error:  # a null byte in the name, or half a character
        raise UserError(f"cannot write {path}: {reason(error)}") from error
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise UserError(f"cannot write {path}: it is a folder; give the name of a file")
    if os.path.exists(target) and not os.path.isfile(target):
        return  # a device or a pipe: nothing is renamed, so its folder does not matter
    if not os.path.isdir(folder):
        raise UserError(f"cannot write {path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write {path}: the folder {folder} is read-only")


def write_file(path, data: bytes) -> None:
    """Write a whole file so that at every moment it is complete or the previous one.

    The bytes go to a temporary name in the same folder, are forced to the disk,
    and take the file's place in one rename; the rename is forced to the disk
    too. A symbolic link keeps pointing where it points. What is not a regular
    file (/dev/null, a pipe) is written to as it is. What killed processes left
    in the folder is removed.

    Raises UserError, with the old file untouched, when that is not possible.
    """
    target = os.path.realpath(path)
    try:
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
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
    """Write a file that is not there yet and force it to the disk. Raises OSError."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_folder_with(folder, name: str, data: bytes) -> bool:
    """Make a folder with a first file in it, both or neither; False if there is such a folder.

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


TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")  # the process's id is in it


def temporary_name(path) -> str:
    """A name beside `path` that no other process uses, not even one of another machine."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


@functools.cache  # once a folder: there may be a hundred thousand pictures in it
def remove_leftovers(folder: str) -> None:
    """Remove the temporary files and folders of processes that were killed.

    Where two machines share a folder, a writer of the other one looks dead from
    here: at worst its rename fails with an error, and what it was to replace is whole.
    """
    for name in os.listdir(folder):
        match = TEMPORARY.fullmatch(name)
        if match is None or is_alive(int(match[1])):
            continue
        leftover = os.path.join(folder, name)
        with contextlib.suppress(OSError):  # another process removed it, or it is another user's
            if os.path.isdir(leftover):
                shutil.rmtree(leftover)
            else:
                os.unlink(leftover)


def is_alive(process: int) -> bool:
    """Whether there is another process of this id."""
    if os.name != "posix":
        return True  # Windows cannot ask without ending it
    if process == os.getpid():
        return False  # of an earlier process: in a container, each has the same id
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process's number
        pass
    return True


def sync_folder(folder) -> None:
    """Force a folder's entries to the disk, so that a rename survives a power cut."""
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
        data = data[file.write(data) :]  # on a disk that gets full, a part of them may be written


def lock(file, path) -> None:
    """Keep an open file to this process until it is closed. Raises UserError if another one has it."""
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
    """Create a folder and its parents; one that is there already is fine."""
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


def download(url: str, limit: int, timeout: float = 15.0) -> bytes:
    """What `url` answers: at most `limit` bytes, `timeout` seconds without a byte.

    Raises UserError with the reason, in words, of whatever went wrong.
    """
    # Most scripts fetch nothing, and these take a while to import.
    import http.client
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "lenet5"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            data = answer.read(limit + 1)
    except urllib.error.HTTPError as error:
        raise UserError(f"HTTP {error.code} {one_line(error.reason)}") from error
    except urllib.error.URLError as error:
        cause = error.reason
        raise UserError(reason(cause) if isinstance(cause, OSError) else str(cause)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(reason(error)) from error
    if len(data) > limit:
        raise UserError(f"the answer is larger than the {limit:,} bytes expected")
    return data
