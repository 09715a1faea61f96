"""Several processes that do one piece of work, as `torchrun` starts them.

    torchrun --nproc-per-node=2 train.py
    torchrun --nproc-per-node=2 inference.py FOLDER --output results.jsonl

The first process speaks for all: it reads data sets, prints and writes files. The
others work out their share, and say one line if they themselves cannot go on. On GPUs
they talk through NCCL, elsewhere through gloo.

A process alone is the first of one: its share is everything, and none of these functions
costs it anything. torch.distributed is imported only where there are several.
"""

import contextlib
import functools
import os
import signal
import time
from datetime import timedelta
from typing import NamedTuple

from lenet5.runtime.errors import Stopped, UserError, reason, user_error
from lenet5.runtime.signals import handling_signals

# How long a process waits for another that is there but does not answer: the slowest download of
# a data set has to fit in. One that has ended is noticed at once.
TIMEOUT = timedelta(minutes=30)
# How long a process that failed waits to hear that the first one failed too, and tells of it.
SAME_ERROR = 2.0  # seconds
FAILED = "the first process failed"  # in the store that all processes see
VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # that torchrun sets


class Place(NamedTuple):
    """Which one of how many processes this is; its rank is what torchrun calls it too."""

    rank: int = 0  # of the first
    count: int = 1


here = Place()


def is_first() -> bool:
    return here.rank == 0


def count() -> int:
    """How many processes do this work."""
    return here.count


def share(start: int, stop: int) -> slice:
    """Which of the places from `start` up to `stop` are this process's, none of them another's.

    They lie next to each other, in the order of the processes; no process has more than one
    more than another, and some have none where there are too few.
    """
    length = stop - start
    first, end = (length * rank // here.count for rank in (here.rank, here.rank + 1))
    return slice(start + first, start + end)


class LostProcessError(UserError):
    """Another process has ended, or answers no longer."""


@contextlib.contextmanager
def talking():
    """What fails in here fails because of another process. Raises LostProcessError."""
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL, in many words
        raise LostProcessError(
            f"rank {here.rank} has lost the other processes: one has ended, or did not answer",
            status=1,
        ) from error


def add_up(tensor) -> None:
    """Put the sum of all processes' tensors of this shape in the tensor's place."""
    if here.count > 1:
        import torch.distributed as dist

        with talking():
            dist.all_reduce(tensor)


def largest(number: int) -> int:
    """The largest of the numbers that the processes have."""
    return max(of_all(number))


def of_all(value) -> list:
    """What each process has, in their order."""
    if here.count == 1:
        return [value]
    import torch.distributed as dist

    values = [None] * here.count
    with talking():
        dist.all_gather_object(values, value)
    return values


def rows_of_all(rows):
    """The rows of all processes' tensors below each other, on the CPU; None is a tensor without rows."""
    if here.count == 1:
        return rows
    import torch

    parts = of_all(None if rows is None else rows.cpu())
    return torch.cat([part for part in parts if part is not None])


def wait_for_all() -> None:
    """Go on as soon as every process has come so far."""
    of_all(None)


def from_first(work):
    """What `work()` gives in the first process; the others do not call it."""
    value = work() if is_first() else None
    if here.count == 1:
        return value
    import torch.distributed as dist

    values = [value]
    with talking():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def as_one(main):
    """Decorate a script's `main(argv=None) -> int` so that torchrun's processes do its work together.

    To be put below `command_line`. The first process's words are those of the work. Another
    one says nothing but why it cannot go on, if the first one can.
    """

    @functools.wraps(main)
    def together(argv=None) -> int:
        if wanted() == 1:
            return main(argv)
        with group() as store:
            return (speaking if is_first() else silent)(main, argv, store)

    return together


def wanted() -> int:
    """How many processes torchrun has started."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"WORLD_SIZE is {text!r}, which is no number of processes: unset it")
    missing = [name for name in VARIABLES if name not in os.environ]
    if int(text) > 1 and missing:
        raise UserError(
            f"WORLD_SIZE is {text}, and {missing[0]} is not set: "
            "start several processes with torchrun, or unset WORLD_SIZE"
        )
    return int(text)


groups = 0  # that this process was in: each has its own part of the store


@contextlib.contextmanager
def group():
    """Have this process be one of torchrun's meanwhile; gives the store that all of them see.

    After an error the process is to end, by which the others notice it.
    """
    global here, groups
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    # Words between processes go through gloo even where tensors go through NCCL.
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    groups += 1
    try:
        # While it waits for the others here, Python hears no signal; there is nothing to save.
        with handling_signals(signal.SIG_DFL):
            store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
            store = dist.PrefixStore(f"group {groups}", store)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes do not find each other: {reason(error)}") from error
    here = Place(rank, size)
    try:
        yield store
        # None goes while another one still waits for its last words.
        with contextlib.suppress(LostProcessError):
            wait_for_all()
        dist.destroy_process_group()
    finally:
        here = Place()


def speaking(main, argv, store) -> int:
    """The work of the first process."""
    try:
        return main(argv)
    except LostProcessError:
        raise
    except (UserError, OSError, MemoryError):
        with contextlib.suppress(RuntimeError):
            store.set(FAILED, "yes")
        raise


def silent(main, argv, store) -> int:
    """The work of another process; raises UserError for what only this one cannot do."""
    rank = here.rank
    try:
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            return main(argv)
    except (LostProcessError, Stopped) as error:
        return error.status  # the first one tells of it
    except UserError as error:
        own = error
    except OSError as error:
        own = user_error(error)
    except MemoryError:
        own = UserError("this machine has not enough memory for that")
    if first_failed(store):
        return own.status
    raise UserError(f"rank {rank}: {own}", own.status)


def first_failed(store) -> bool:
    """Whether the first process fails too, as all do where the command is wrong."""
    end = time.monotonic() + SAME_ERROR
    with contextlib.suppress(RuntimeError):  # the store may have ended with a process
        while time.monotonic() < end:
            if store.check([FAILED]):
                return True
            time.sleep(0.05)
    return False


def own_device(device):
    """The torch.device for this process, of the kind that is given.

    Raises UserError where there are not as many GPUs as processes on a machine.
    """
    if here.count == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(
            f"several processes cannot share the {device.type} device: "
            "add --device cpu, or leave torchrun out"
        )
    import torch

    place, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if place >= there:
        raise UserError(
            f"there are more processes than the {there} GPUs of this machine: "
            f"torchrun --nproc-per-node={there}, or --device cpu"
        )
    torch.cuda.set_device(place)  # what "cuda" means from now on
    return device
