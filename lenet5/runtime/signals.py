"""SIGINT and SIGTERM: quiet ends, and handlers for a while."""

import contextlib
import os
import signal
import threading

from lenet5.runtime.errors import Stopped

# Exit status of a script that Ctrl-C or `kill` ended: 128 and the signal's number.
STOP_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
STOP_WORD = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def end_quietly() -> None:
    """From now on SIGINT and SIGTERM end the process with one line and its status."""
    for number in STOP_STATUS:
        signal.signal(number, end_now)


def end_now(number, frame) -> None:
    """Handle a signal by ending the process with a line and its status."""
    os.write(2, f"{STOP_WORD[number]}\n".encode())  # print() might be what was interrupted
    os._exit(STOP_STATUS[number])


def stop(number, frame) -> None:
    """Handle a signal by raising Stopped."""
    raise Stopped(STOP_WORD[number], STOP_STATUS[number])


def quiet_imports():
    """A context for slow imports: SIGINT and SIGTERM end the process at once.

    Nothing is to be saved yet, and an exception would pass through libraries in mid-import.
    """
    return handling_signals(end_now)


@contextlib.contextmanager
def handling_signals(handler):
    """A context in which SIGINT and SIGTERM call `handler(number, frame)`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, handler) for number in STOP_STATUS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
