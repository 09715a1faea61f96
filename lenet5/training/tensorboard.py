"""A run's metrics as TensorBoard scalars, drawn while the run goes on.

    pip install -r requirements-tensorboard.txt
    python train.py --tensorboard
    tensorboard --logdir runs

The figures are those of metrics.csv as float32: loss/train, loss/val, loss/test,
accuracy/train, accuracy/val, accuracy/test, lr and seconds, with the epoch as the step.
"""

import time
from pathlib import Path

from lenet5.runtime.errors import UserError, reason


class EventWriter:
    """Writes a run's history into its folder, one event file for each process that trained.

    A file begins with the whole history and with `purge_step=1`, by which TensorBoard
    forgets what files before it say: so a resumed run shows each epoch once, wherever the
    process before was killed.
    """

    def __init__(self):
        self.writer, self.written = None, 0  # epochs

    def write(self, folder: Path, history: list[dict]) -> None:
        """Add the epochs that are not written yet; None in a row is a figure not measured.

        Raises UserError if the file cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.writer = self.writer or SummaryWriter(folder, purge_step=1)
        end = time.time() - sum(row["seconds"] for row in history[self.written :])
        for row in history[self.written :]:
            end += row["seconds"]  # as if the epochs had followed each other up to now
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    self.writer.add_scalar(tag(name), value, row["epoch"], walltime=end)
        try:
            self.writer.flush()
        except OSError as error:
            raise UserError(f"cannot write an event file in {folder}: {reason(error)}") from error
        self.written = len(history)


def tag(name: str) -> str:
    """TensorBoard's name of a column: loss/train for train_loss; loss is the panel."""
    return "/".join(reversed(name.split("_")))


def check_tensorboard() -> None:
    """Raise UserError if the package tensorboard is missing."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--tensorboard needs the package tensorboard ({reason(error)}); "
            "install it: pip install -r requirements-tensorboard.txt"
        ) from error
