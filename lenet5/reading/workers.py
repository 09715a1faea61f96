"""Worker processes that prepare pictures while this process runs the network.

    python inference.py FOLDER --workers 2

Decoding a picture and centring its digit takes longer than reading it, so a pool of processes
does that and sends small arrays back, in the order of the pictures. A worker imports Pillow and
NumPy, and OpenCV for a picture that needs it, but not PyTorch. Only the command line starts workers.
If one is killed, say where memory runs out, the pictures of the pool are prepared again one by one,
and a picture that ends its process has that as its error.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from lenet5.runtime.errors import UserError, reason, say
from lenet5.runtime.signals import handling_signals
from lenet5.runtime.worker_processes import begin, cores

MOST = 16  # workers that are started unasked: the network of one process keeps up with no more
# Unasked, workers are started once this process has prepared pictures for so many seconds and for
# such a share of all the time: where the network or the listing of paths takes most, they help little.
PATIENCE, WORTH = 0.5, 0.4
PART = 32  # pictures that a worker is given at a time
AHEAD = 64  # pictures for each worker that are prepared before their turn, and two batches at least
WITHOUT = "--workers 0 does without"


class Preparation:
    """Where the pictures of one command are prepared: in this process, or in workers.

    `prepare(paths, invert)` gives a list with an element for each path. It is a function of a module
    that workers import. `count` workers start at once; None starts one for each core if there is
    much to do that way. Use it in a `with`: at its end no worker is left, after an error none is
    waited for.
    """

    def __init__(self, prepare: Callable[..., list], invert: str, count: int | None):
        self.here = functools.partial(prepare, invert=invert)
        self.count = min(cores(), MOST) if count is None else count
        self.starts_unasked = count is None and self.count > 1
        self.pool: ProcessPoolExecutor | None = None
        self.first: list[Future] = []  # one for each worker, done when it has imported what it needs
        if count:
            self.start()

    def __enter__(self) -> Preparation:
        return self

    def __exit__(self, kind, *error) -> None:
        if self.pool is not None:
            if kind is not None:
                for worker in multiprocessing.active_children():
                    worker.kill()
            self.pool.shutdown(cancel_futures=True)

    def start(self) -> ProcessPoolExecutor:
        """Start the workers; a pool that there was finishes what it has, unless it is broken."""
        if self.pool is not None and all(future.exception() for future in self.first):
            raise UserError(f"a worker process ended as it began; {WITHOUT}")
        self.pool = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"), begin)
        try:
            with handling_signals(signal.SIG_IGN):  # which they inherit until begin()
                self.first = [self.pool.submit(self.here, []) for _ in range(self.count)]
        except (OSError, ValueError, BrokenProcessPool) as error:
            # The first worker may end, and the pool close its pipes, while the last is started.
            raise UserError(f"cannot start a worker process ({reason(error)}); {WITHOUT}") from error
        return self.pool

    def submit(self, paths: list[str]) -> Future:
        try:
            return (self.pool or self.start()).submit(self.here, paths)
        except BrokenProcessPool:
            return self.start().submit(self.here, paths)

    def parts(self, paths: list[str]) -> list[tuple[list[str], Future]]:
        """Have pictures prepared, a part of them by each worker; each part with its future."""
        size = max(1, min(PART, -(-len(paths) // self.count)))
        found = [paths[start : start + size] for start in range(0, len(paths), size)]
        return [(part, self.submit(part)) for part in found]

    def joined(self, parts: list[tuple[list[str], Future]]) -> list:
        """What the workers made of all parts."""
        return [made for part in parts for made in self.made_of(*part)]

    def made_of(self, paths: list[str], future: Future) -> list:
        """What the workers made of a part; if the pool is broken, picture by picture."""
        try:
            return future.result()
        except BrokenProcessPool:
            say(f"a worker process ended; its {len(paths)} pictures are prepared one by one")
            return [self.alone(path) for path in paths]

    def alone(self, path: str) -> tuple:
        """What is made of one picture, which is asked for alone."""
        for _ in range(2):  # the second time of a new pool, which has nothing else to do
            with contextlib.suppress(BrokenProcessPool):
                return self.submit([path]).result()[0]
        return None, "the process that prepared it ended: is there enough memory for it?"

    @property
    def is_ready(self) -> bool:
        """Whether the workers have begun; those that were asked for are waited for."""
        return not self.starts_unasked or all(future.done() for future in self.first)

    def of(self, paths: list[str]) -> list:
        """What is made of these pictures, by workers if there are any."""
        return self.here(paths) if self.pool is None else self.joined(self.parts(paths))

    def ahead(self, batches: Iterator[list[str]]) -> Iterator[tuple[list[str], list]]:
        """Each batch of paths, and what is made of its pictures; workers are some batches ahead."""
        began, spent = time.perf_counter(), 0.0
        waiting: deque[tuple[list[str], list]] = deque()
        for batch in batches:
            if self.pool is None or not (waiting or self.is_ready):
                start = time.perf_counter()
                made = self.here(batch)
                spent += time.perf_counter() - start
                yield batch, made
                is_worth_it = spent > max(PATIENCE, WORTH * (time.perf_counter() - began))
                if is_worth_it and self.pool is None and self.starts_unasked:
                    self.start()
                continue
            waiting.append((batch, self.parts(batch)))
            while len(waiting) > max(2, AHEAD * self.count // len(batch)):
                paths, parts = waiting.popleft()
                yield paths, self.joined(parts)
        for paths, parts in waiting:
            yield paths, self.joined(parts)
