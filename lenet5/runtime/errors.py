"""User errors in one line, and what is printed on stderr."""

import contextlib
import errno
import importlib
import sys
import threading
import warnings

LONGEST, HALF = 300, 60  # characters of a word in a message, and of its ends in place of a longer one
WATCHER = "ends a worker with its parent"  # the name of a thread


class UserError(Exception):
    """An error that the person at the terminal can mend.

    One line says what is wrong, with which file, and what to do. `status` is the exit status:
    2 could not start, 1 partly done.
    """

    def __init__(self, message: str, status: int = 2):
        super().__init__(message)
        self.status = status


class Stopped(BaseException):
    """SIGINT or SIGTERM ends the script, with this line and exit status.

    No Exception, as KeyboardInterrupt is none: handlers of damaged files let it through.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def one_line(text) -> str:
    """Text on one line of a terminal: control characters and bytes outside UTF-8 as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def reason(error: BaseException) -> str:
    """Why an operation failed, in a few words for the middle of a sentence."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run the command again"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(" ".join(str(error).split()) or type(error).__name__)


def user_error(error: UserError | OSError | MemoryError) -> UserError:
    """The error that the user sees, also for unforeseen ones, such as a full disk in print()."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError):
        return UserError("this machine has not enough memory for that")
    name = "" if error.filename is None else f"{error.filename}: "
    return UserError(f"{name}{reason(error)}")


def say(message) -> None:
    """Print one line on stderr: everything that is not a result; of very long words the ends."""
    words = (
        f"{word[:HALF]}…{word[-HALF:]}" if len(word) > LONGEST else word
        for word in one_line(message).split(" ")
    )
    print(" ".join(words), file=sys.stderr, flush=True)


def other_threads() -> bool:
    """Whether this is not the only thread, but for the one that ends a worker with its parent."""
    others = [t for t in threading.enumerate() if t is not threading.current_thread()]
    return any(thread.name != WATCHER for thread in others)


@contextlib.contextmanager
def without_warnings():
    """A context without Python's warnings, unless there are other threads, which share the filters."""
    if other_threads():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def partly_done():
    """A context after which something is done already: its errors have exit status 1, not 2."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:
        raise UserError(str(user_error(error)), status=1) from error


def import_package(name: str, what, requirements: str):
    """Import an optional package that `what` needs. Raises UserError if it is missing.

    `requirements` is the file that has it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{what} needs the package {name} ({reason(error)}): pip install -r {requirements}"
        ) from error
