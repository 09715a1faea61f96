"""Processes that prepare pictures while this one runs the network over those that are ready.

    python inference.py FOLDER --workers 2

To decode a picture and to centre its digit takes longer than to read it. So workers do that,
a process each (of several threads in one process, only Pillow's own decoding would run side
by side), and give back small arrays. A worker imports Pillow and NumPy, and OpenCV for a
picture that asks for it, but not PyTorch. Each is given the next few pictures as soon as it
is ready; the results come in the order of the pictures, and each picture is prepared once.

A worker may be killed, say where memory runs out. Its pictures are then prepared one by one,
and one that ends a worker all by itself has that as its error.
"""

import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from lenet5.runtime.errors import UserError, reason, say

# What workers do: the module and its function, which takes a list of paths and `invert` and
# gives a list with an element for each. None of these modules imports PyTorch.
WORK = {
    "digits": ("lenet5.imaging.preprocess", "all_mnist_like"),
    "numbers": ("lenet5.whole_numbers.strips", "all_numbers_in"),
}
MOST = 16  # workers that are started unasked: the network of one process keeps up with no more
# Unasked, workers are started when this process has prepared pictures for so many seconds, and
# for such a share of all the time: where a network takes most of it, or who lists the paths,
# workers would help little.
PATIENCE, WORTH = 0.5, 0.4
FIRST = 16  # pictures that a worker is given while it is not known how long they take
SHARE = 0.05  # seconds that a worker is to take for the pictures that it is given at a time
AHEAD = 64  # pictures for each worker that are prepared before their turn, and two batches at least
# There is a worker for each core, so what it calls is to use one thread.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")


class WorkerEndedError(Exception):
    """A worker ended before it answered; the message says how."""


class Worker:
    """A process that prepares pictures, and the pipes to it and from it."""

    def __init__(self, work: str):
        if os.name == "posix":
            apart = {"start_new_session": True}  # Ctrl-C is for the process that people see
        else:
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lenet5.reading.workers", *WORK[work]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(sys.path)},
                **apart,
            )
        except OSError as error:
            raise UserError(f"cannot start a worker process: {reason(error)}") from error
        self.is_ready = False

    def wait_until_ready(self) -> None:
        """Go on when it has imported what it needs. Raises UserError if it cannot."""
        if self.is_ready:
            return
        try:
            self.answer()
        except WorkerEndedError as ended:
            raise UserError(f"a worker process {ended} as it began; --workers 0 does without") from ended
        self.is_ready = True

    def ask(self, *arguments) -> list:
        """What the worker's function gives for these arguments. Raises WorkerEndedError."""
        self.wait_until_ready()
        try:
            pickle.dump(arguments, self.process.stdin)
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerEndedError(self.end()) from error
        return self.answer()

    def answer(self):
        try:
            return pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise WorkerEndedError(self.end()) from error

    def end(self) -> str:
        """Wait for the process's end, which comes when nothing more is asked; how it ended."""
        with contextlib.suppress(OSError):  # what is still in the pipe may have no reader
            self.process.stdin.close()
        status = self.process.wait()
        return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


class Workers:
    """So many workers, and a thread for each that asks it and waits for its answer.

    Use it in a `with`. At its end no worker is left; after an error, none is waited for.
    """

    def __init__(self, count: int, work: str, invert: str):
        self.count, self.work, self.invert = count, work, invert
        self.pace = SHARE / FIRST  # seconds a picture takes, as far as that is known
        self.is_closed, self.lock = False, threading.Lock()
        self.all: list[Worker] = []  # also those that have ended
        self.idle: deque[Worker] = deque()  # as many as there are idle threads
        self.threads = ThreadPoolExecutor(count, "workers")
        for _ in range(count):
            self.start_one()
        self.beginnings = [self.threads.submit(self.begin) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, kind, *error) -> None:
        with self.lock:
            self.is_closed = True
        self.threads.shutdown(wait=False, cancel_futures=True)
        for worker in self.all:
            if kind is not None:
                worker.process.kill()
            worker.end()
        self.threads.shutdown()
        for worker in self.all:
            worker.process.stdout.close()

    def start_one(self) -> None:
        """Start a worker, unless all is at its end."""
        with self.lock:
            if self.is_closed:
                raise WorkerEndedError("is no longer wanted")
            self.all.append(Worker(self.work))
            self.idle.append(self.all[-1])

    @property
    def are_ready(self) -> bool:
        """Whether all have begun; raises UserError if one could not."""
        return all(begun.done() and begun.result() is None for begun in self.beginnings)

    def begin(self) -> None:
        worker = self.idle.popleft()
        try:
            worker.wait_until_ready()
        finally:
            self.idle.append(worker)

    def submit(self, paths: list[str]) -> list[Future]:
        """Have a list of pictures prepared, a part of it by each; what will be the parts."""
        size = max(1, min(int(SHARE / self.pace), -(-len(paths) // self.count)))
        return [
            self.threads.submit(self.prepare, paths[start : start + size])
            for start in range(0, len(paths), size)
        ]

    def prepare(self, paths: list[str]) -> list:
        """What a worker makes of these pictures."""
        worker = self.idle.popleft()
        began = time.perf_counter()
        try:
            found = worker.ask(paths, self.invert)
        except WorkerEndedError as ended:
            self.start_one()
            if len(paths) == 1:
                return [(None, f"the process that prepared it {ended}: is there enough memory for it?")]
            say(f"a worker process {ended}; its {len(paths)} pictures are prepared one by one")
            return [found for path in paths for found in self.prepare([path])]
        except UserError:
            self.idle.append(worker)
            raise
        self.pace = (time.perf_counter() - began) / len(paths)
        self.idle.append(worker)
        return found


class Preparation:
    """Where the pictures of one command are prepared: in this process, or in workers.

    `count` workers; None begins with none and starts one for each core if there is much to
    do that way. Use it in a `with`.
    """

    def __init__(self, count: int | None, work: str, invert: str):
        self.work, self.invert = work, invert
        self.most = most_that_pay() if count is None else 0
        self.workers = None
        self.ending = contextlib.ExitStack()
        if count:
            self.start(count)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.ending.__exit__(*error)

    def start(self, count: int) -> None:
        self.workers = self.ending.enter_context(Workers(count, self.work, self.invert))

    def here(self, paths: list[str]) -> list:
        """What is made of these pictures, by this process."""
        return function_of(*WORK[self.work])(paths, self.invert)

    def of(self, paths: list[str]) -> list:
        """What is made of these pictures, by workers if there are any."""
        return self.here(paths) if self.workers is None else joined(self.workers.submit(paths))

    def ahead(self, batches: Iterator[list[str]]) -> Iterator[tuple[list[str], list]]:
        """Each batch of paths, and what is made of its pictures; workers are some batches ahead."""
        began, spent = time.perf_counter(), 0.0
        waiting: deque[tuple[list[str], list[Future]]] = deque()
        for batch in batches:
            if self.workers is None or (self.most and not self.workers.are_ready):
                start = time.perf_counter()
                made = self.here(batch)
                spent += time.perf_counter() - start
                yield batch, made
                is_worth_it = spent > max(PATIENCE, WORTH * (time.perf_counter() - began))
                if is_worth_it and self.most and self.workers is None:
                    self.start(self.most)
                continue
            waiting.append((batch, self.workers.submit(batch)))
            while len(waiting) > max(2, AHEAD * self.workers.count // len(batch)):
                paths, parts = waiting.popleft()
                yield paths, joined(parts)
        for paths, parts in waiting:
            yield paths, joined(parts)


def function_of(module: str, name: str):
    return getattr(importlib.import_module(module), name)


def joined(parts: list[Future]) -> list:
    return [one for part in parts for one in part.result()]


def most_that_pay() -> int:
    """How many workers are started unasked: one a core, and none where there is one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST) if cores > 1 else 0


def main() -> int:
    """Answer the questions on standard input, until it ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets among the answers
    work = function_of(*sys.argv[1:])
    # The process that asks may be gone without a word.
    with contextlib.suppress(EOFError, BrokenPipeError), answers:
        answer = "ready"
        while True:
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
            answer = work(*pickle.load(questions))


if __name__ == "__main__":
    sys.exit(main())
