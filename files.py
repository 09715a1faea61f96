"""A file is complete or not there, and an error is one line.

Every script of this project writes its files, checks its downloads and words
its errors through this module, which imports nothing but the standard library.
"""

import argparse
import contextlib
import errno
import functools
import hashlib
import http.client
import json
import math
import os
import stat
import sys
import urllib.error
import urllib.request

INTERRUPTED = 130  # exit status of a run that Ctrl-C ended: 128 + SIGINT
TERMINATED = 143  # exit status of a run that SIGTERM ended: 128 + SIGTERM


class UserError(Exception):
    """Something that the person at the terminal can mend.

    The message is one line that says what is wrong, with which file, and what
    to do. `status` is the exit status: 2 could not start, 1 partly done.
    """

    def __init__(self, message: str, status: int = 2):
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


def command_line(main):
    """Decorate a script's `main(argv=None) -> int` so that no error shows a traceback.

    A UserError becomes one line on stderr and its exit status; Ctrl-C becomes
    130; a reader that went away (`| head`) ends the script quietly with 1.
    """

    @functools.wraps(main)
    def guarded(argv=None) -> int:
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal's encoding lacks is shown escaped, not a crash.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            status = main(argv)
            sys.stdout.flush()
            return status
        except UserError as error:
            say(f"error: {error}")
            return error.status
        except KeyboardInterrupt:
            say("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            # Nobody reads on: give the interpreter a stdout that it can flush at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            name = "" if error.filename is None else f"{error.filename}: "
            say(f"error: {name}{reason(error)}")
            return 2
        except MemoryError:
            say("error: this machine has not enough memory for that")
            return 2

    return guarded


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
    file (/dev/null, a pipe) is written to as it is.

    Raises UserError, with the old file untouched, when that is not possible.
    """
    target = os.path.realpath(path)
    try:
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "wb") as file:
                file.write(data)
            return
        folder, name = os.path.split(target)
        # The process id keeps two writers of one file apart; a file left by a
        # killed process of the same id is simply written over.
        temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(folder)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from error


def sync_folder(folder) -> None:
    """Force a folder's entries to the disk, so that a rename survives a power cut."""
    if os.name != "posix":
        return  # Windows cannot open a folder, and needs no such call
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
