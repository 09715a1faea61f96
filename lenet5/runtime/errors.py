"""User errors in one line, and what is printed on stderr.

Imports nothing but the standard library.
"""

import contextlib
import errno
import importlib
import sys


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
