"""Command lines: one-line errors, exit statuses, checked numbers."""

import argparse
import contextlib
import functools
import math
import os
import sys
import warnings

from lenet5.runtime.errors import Stopped, UserError, partly_done, say, user_error
from lenet5.runtime.signals import end_quietly, handling_signals, stop

DEVICES = ("auto", "cpu", "cuda", "mps")  # of --device


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

    A UserError becomes one line on stderr and its exit status; Ctrl-C becomes 130 and SIGTERM
    143; a closed pipe (`| head`) ends the script quietly with 1. `main` imports slow modules
    itself, in `with quiet_imports():`.
    """
    if main.__module__ == "__main__":  # a program, which also ends quietly before and after main()
        open_missing_streams()
        end_quietly()
        warnings.simplefilter("ignore")  # what the user can mend is said in a line of ours

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
        except Stopped as stopped:
            say(stopped)
            return stopped.status
        except BrokenPipeError:
            leave_stdout()  # nobody reads on
            return 1
        except (UserError, OSError, MemoryError) as error:
            shown = user_error(error)
            say(f"error: {shown}")
            leave_stdout()
            return shown.status

    return guarded


def open_missing_streams() -> None:
    """Open what a shell closed (`>&-`) or never opened (pythonw), so that no file takes its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))


def leave_stdout() -> None:
    """Discard what cannot be written, so that the interpreter's flush at exit does not fail again."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
