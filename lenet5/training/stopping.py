"""Ctrl-C and SIGTERM during training: stop between two steps and save."""

import contextlib

from lenet5.runtime import distributed
from lenet5.runtime.errors import Stopped
from lenet5.runtime.signals import STOP_STATUS


class Stop:
    """Turns SIGINT and SIGTERM into a request that the training loop answers between steps.

    Outside of a `patient` block the signal ends the script at once; a second one always does.
    """

    def __init__(self):
        self.requested: int | None = None  # the signal that this process got
        self.agreed: int | None = None  # the one for which all processes stop
        self.is_patient = False
        self.kept = "nothing was to be saved yet"  # what the message says if the script ends now

    def handle(self, number, frame) -> None:
        if self.is_patient and self.requested is None:
            self.requested = number
        else:
            raise Stopped(f"stopped at once; {self.kept}", STOP_STATUS[number])

    def agree(self) -> bool:
        """Whether any process was asked to stop: all get the same answer."""
        self.agreed = distributed.all_max(self.requested or 0) or None
        return self.agreed is not None

    @property
    def status(self) -> int:
        return STOP_STATUS[self.agreed]

    @contextlib.contextmanager
    def patient(self):
        self.is_patient, self.kept = True, "what the last epoch saved is kept"
        try:
            yield
        finally:
            self.is_patient = False
