"""What a run has measured, as an event file that TensorBoard draws while the run goes on.

    pip install -r requirements-tensorboard.txt
    python train.py --tensorboard
    tensorboard --logdir runs

The figures are those of metrics.csv, as float32, which is all that a scalar of an event
file can hold: loss/train, loss/val, loss/test, accuracy/train, accuracy/val,
accuracy/test, lr and seconds, with the epoch as the step.
"""

import io
import os
import re
import socket
import time
from pathlib import Path

from lenet5.runtime.atomic_files import append, read_file, write_file
from lenet5.runtime.errors import UserError, reason

# TensorBoard knows event files by this name and reads them in the order of the seconds in it.
EVENT_FILE = re.compile(r"events\.out\.tfevents\.(\d{10})\..+")
LARGEST_FILE = 1 << 28  # bytes; an epoch takes about 250
FORMAT = "brain.Event:2"  # the first record of every event file


class EventFile:
    """The event file of a process that trains; a run that was resumed has one of each process.

    The first `write` makes the file, later ones add at its end, where TensorBoard looks
    for more. Each epoch is in one of the run's files, wherever a process was killed: the
    checkpoint has it first, so what the files before lack comes first into a new one.
    Half a record at the end of a file is passed over by every reader.
    """

    def __init__(self):
        self.path: Path | None = None
        self.written = 0  # epochs

    def write(self, folder: Path, history: list[dict]) -> None:
        """Add the epochs that are not in the run's files yet.

        `history` has a dict an epoch: "epoch", "seconds", and other numbers, None where
        nothing was measured. Raises UserError if the file cannot be written.
        """
        if self.path is None:
            self.begin(folder, history)
            return
        try:
            with open(self.path, "ab", buffering=0) as file:
                append(file, epoch_records(history[self.written :]))
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {reason(error)}") from error
        self.written = len(history)

    def begin(self, folder: Path, history: list[dict]) -> None:
        """Make a new file for what those of earlier processes lack; none, if that is nothing."""
        earlier = sorted(p for p in folder.iterdir() if EVENT_FILE.fullmatch(p.name) and p.is_file())
        known = epochs_in(earlier)
        # A run that was started over, without its checkpoint, is none that goes on.
        goes_on = known == {row["epoch"]: figures(row) for row in history[: len(known)]}
        first = len(known) if goes_on else 0
        if first == len(history):
            return
        # After a clock was set back, or within a second, the new one has to be the last one still.
        seconds = [int(EVENT_FILE.fullmatch(path.name)[1]) + 1 for path in earlier]
        seconds = max([int(time.time()), *seconds])
        path = folder / f"events.out.tfevents.{seconds:010}.{socket.gethostname()}.{os.getpid()}.0"
        write_file(path, first_records(first + 1) + epoch_records(history[first:]))
        if not goes_on:
            for other in earlier:
                other.unlink()
        self.path, self.written = path, len(history)


def ends(history: list[dict]) -> list[float]:
    """When each epoch ended, in seconds since 1970, as if the last one did now and none had a pause."""
    times, end = [], time.time()
    for row in reversed(history):
        times.append(end)
        end -= row["seconds"]
    return times[::-1]


def tag(name: str) -> str:
    """TensorBoard's name of a column: loss/train of train_loss. What is before the / shares a panel."""
    return "/".join(reversed(name.split("_")))


def check_tensorboard() -> None:
    """Raise UserError if the package tensorboard, which the records are made with, is missing."""
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--tensorboard needs the package tensorboard ({reason(error)}); "
            "install it: pip install -r requirements-tensorboard.txt"
        ) from error


def first_records(epoch: int) -> bytes:
    """The format, and that readers shall forget what files before say of this epoch and later ones."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    now, start = time.time(), SessionLog(status=SessionLog.START)
    return record(wall_time=now, file_version=FORMAT) + record(
        wall_time=now, step=epoch, session_log=start
    )


def epoch_records(history: list[dict]) -> bytes:
    """An event for each epoch, with all its figures."""
    return b"".join(
        record(wall_time=end, step=row["epoch"], summary=figures(row))
        for row, end in zip(history, ends(history), strict=True)
    )


def figures(row: dict):
    """An epoch's figures as a Summary, a scalar under each tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    named = {tag(name): value for name, value in row.items() if name != "epoch" and value is not None}
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in named.items()])


def record(**fields) -> bytes:
    """The bytes of an event in a file."""
    from tensorboard.compat.proto.event_pb2 import Event

    return framed(Event(**fields).SerializeToString())


def framed(content: bytes) -> bytes:
    """Bytes with their length and checksums around them, by which readers know what is whole."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(content)
    return buffer.getvalue()


def epochs_in(files: list[Path]) -> dict:
    """The figures of each epoch in these files; the last ones, where there are several."""
    known = {}
    for path in files:
        for event in events_in(read_file(path, LARGEST_FILE)):
            if event.HasField("summary"):
                known[event.step] = event.summary
    return known


def events_in(data: bytes):
    """The events in the bytes of a file, up to what is cut off or damaged."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    start = 0
    while start < len(data):
        content = data[start + 12 :][: int.from_bytes(data[start : start + 8], "little")]
        end = start + len(framed(content))
        if data[start:end] != framed(content):
            return
        try:
            yield Event.FromString(content)
        except DecodeError:
            return
        start = end
