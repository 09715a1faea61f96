"""How a training ends early: Ctrl-C, SIGTERM and errors, with what was done kept."""

import contextlib
import signal

from lenet5.runtime import distributed
from lenet5.runtime.errors import Stopped, UserError, user_error
from lenet5.runtime.signals import STOP_STATUS
from lenet5.training.checkpoint import Run
from lenet5.training.epoch_end import DivergedError


class Stop:
    """Turns SIGINT and SIGTERM into a request that the training loop answers between steps.

    Outside of a `patient` block the signal ends the script at once; a second one always does.
    """

    def __init__(self) -> None:
        self.requested = 0  # the signal that this process got, or 0
        self.agreed = 0  # the one for which all processes stop, or 0
        self.is_patient = False
        self.kept = "nothing was to be saved yet"  # what the message says if the script ends now

    def handle(self, number: int, frame) -> None:
        """Handle a signal."""
        if not self.is_patient or self.requested:
            raise Stopped(f"stopped at once; {self.kept}", STOP_STATUS[signal.Signals(number)])
        self.requested = number

    def agree(self) -> bool:
        """Whether any process was asked to stop: all get the same answer."""
        self.agreed = distributed.all_max(self.requested)
        return self.agreed > 0

    @property
    def status(self) -> int:
        """The exit status of a run that stopped."""
        return STOP_STATUS[signal.Signals(self.agreed)]

    @contextlib.contextmanager
    def patient(self, run: Run):
        """A context in which a signal waits for the loop, and errors say how to go on.

        Their exit status is at least 1, "partly done". Resuming after a loss that is not finite
        would only lead there again.
        """
        self.is_patient, self.kept = True, "what the last epoch saved is kept"
        try:
            yield
        except BrokenPipeError:
            raise
        except (UserError, Stopped, OSError) as error:
            shown = user_error(error) if isinstance(error, OSError) else error
            can_go_on = run.step and not isinstance(error, DivergedError)
            hint = f"; to go on: python train.py --resume {run.folder}" if can_go_on else ""
            status = shown.status if shown.status > 2 else 1
            raise type(shown)(f"{shown}{hint}", status) from error
        finally:
            self.is_patient = False
