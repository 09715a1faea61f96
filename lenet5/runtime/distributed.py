"""Data parallelism over the processes that `torchrun` starts.

    torchrun --nproc-per-node=2 train.py
    torchrun --nproc-per-node=2 inference.py FOLDER --output results.jsonl

Rank 0 reads data sets, prints and writes files. The other ranks compute their shards and print
one line if they alone fail. GPUs communicate through NCCL, all else through gloo.

A process without torchrun is rank 0 of one: its shard is everything, and these functions cost
it nothing. torch.distributed is imported only for several processes.
"""

import contextlib
import functools
import os
import signal
import time
from dataclasses import dataclass
from datetime import timedelta

from lenet5.runtime.errors import Stopped, UserError, reason, user_error
from lenet5.runtime.signals import handling_signals, quiet_imports

# How long a process waits for another that is alive but does not answer: the slowest download of
# a data set has to fit in. A process that has ended is noticed at once.
TIMEOUT = timedelta(minutes=30)
# How long another rank that failed waits to hear that rank 0 failed too, and prints the error.
SAME_ERROR = 2.0  # seconds
FAILED = "rank 0 failed"  # a key in the store that all processes share


@dataclass(frozen=True)
class Place:
    """This process's rank and the number of processes."""

    rank: int = 0
    count: int = 1


here = Place()


def is_first() -> bool:
    return here.rank == 0


def count() -> int:
    """The number of processes (world size)."""
    return here.count


def shard(start: int, stop: int) -> slice:
    """This process's part of the range from `start` to `stop`.

    Contiguous shards in the order of the ranks, whose sizes differ by at most one.
    """
    length = stop - start
    first, end = (length * rank // here.count for rank in (here.rank, here.rank + 1))
    return slice(start + first, start + end)


class LostProcessError(UserError):
    """Another process has ended or no longer answers."""


@contextlib.contextmanager
def collective():
    """A context for collective operations: their errors become LostProcessError."""
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL, in many words
        raise LostProcessError(
            f"rank {here.rank} has lost the other processes: one has ended, or did not answer",
            status=1,
        ) from error


def all_reduce(tensor) -> None:
    """Replace the tensor, in place, by the sum over all processes."""
    if here.count > 1:
        import torch.distributed as dist

        with collective():
            dist.all_reduce(tensor)


def all_max(number: int) -> int:
    """The largest number that a process passes."""
    return max(all_gather(number))


def all_gather(value) -> list:
    """The values of all processes, in the order of their ranks."""
    if here.count == 1:
        return [value]
    import torch.distributed as dist

    values = [None] * here.count
    with collective():
        dist.all_gather_object(values, value)
    return values


def all_gather_rows(rows):
    """All processes' tensors concatenated along dimension 0, on the CPU; None has no rows."""
    if here.count == 1:
        return rows
    import torch

    parts = all_gather(None if rows is None else rows.cpu())
    return torch.cat([part for part in parts if part is not None])


def barrier() -> None:
    """Wait until every process has come here."""
    all_gather(None)


def broadcast(work):
    """The value of `work()`, which only rank 0 calls."""
    value = work() if is_first() else None
    if here.count == 1:
        return value
    import torch.distributed as dist

    values = [value]
    with collective():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def under_torchrun(main):
    """Decorate a script's `main(argv=None) -> int` so that it joins torchrun's process group.

    Stands below `command_line`. Rank 0 prints; another rank prints only why it alone failed.
    """

    @functools.wraps(main)
    def together(argv=None) -> int:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return main(argv)
        with process_group() as store, contextlib.ExitStack() as silence:
            if not is_first():
                nowhere = silence.enter_context(open(os.devnull, "w"))
                silence.enter_context(contextlib.redirect_stdout(nowhere))
                silence.enter_context(contextlib.redirect_stderr(nowhere))
            try:
                return main(argv)
            except (LostProcessError, Stopped) as error:
                if is_first():
                    raise
                return error.status  # rank 0 prints it
            except (UserError, OSError, MemoryError) as error:
                if is_first():
                    with contextlib.suppress(RuntimeError):
                        store.set(FAILED, "yes")
                    raise
                own = user_error(error)
                if first_failed(store):
                    return own.status
                raise UserError(f"rank {here.rank}: {own}", own.status) from error

    return together


def first_failed(store) -> bool:
    """Whether rank 0 fails too, as all ranks do for a wrong command line."""
    end = time.monotonic() + SAME_ERROR
    with contextlib.suppress(RuntimeError):  # the store may have ended with its process
        while time.monotonic() < end:  # store.wait() would print a warning
            if store.check([FAILED]):
                return True
            time.sleep(0.05)
    return False


groups = 0  # that this process was in: each has its own part of the store


@contextlib.contextmanager
def process_group():
    """A context in torchrun's process group; yields the store that all processes share.

    After an error the process has to end: that is how the others notice.
    """
    global here, groups
    with quiet_imports():
        import torch
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

    # Objects go through gloo even where tensors go through NCCL.
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
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']!r}, and the processes do not find each other "
            f"({reason(error)}): start them with torchrun, or unset WORLD_SIZE"
        ) from error
    here = Place(rank, size)
    try:
        yield store
        # No process ends while another one still waits for its last message.
        with contextlib.suppress(LostProcessError):
            barrier()
        dist.destroy_process_group()
    finally:
        here = Place()


def own_device(device):
    """This process's own device of the given kind.

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
