"""Read many pictures: batches, workers, several processes."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator

from lenet5.data.picture_files import expanded, find_pictures, listed_paths
from lenet5.reading.output_file import results_to
from lenet5.reading.results import Report
from lenet5.reading.workers import Preparation
from lenet5.runtime import distributed
from lenet5.runtime.errors import UserError, partly_done, reason, say

PICTURES = "test_digits"  # what is read where nothing is named


def read_pictures(reader, arguments, prepare: Callable, keeper: Callable, writers: dict) -> int:
    """Read what the command line asks for, say how much was right, draw it; the exit status.

    `reader` is an ImageClassifier or a NumberReader, `prepare` the function that prepares pictures
    for its `predict_batch`, `keeper` the class that keeps what --plot draws.
    """
    report, kept = Report(), keeper() if arguments.plot else None
    # Where several processes share the pictures, there is one for each core without workers.
    unasked = None if distributed.count() == 1 else 0
    workers = unasked if arguments.workers is None else arguments.workers
    with Preparation(prepare, arguments.invert, workers) as preparation:
        if distributed.is_first():
            write_results(reader, arguments, report, kept, preparation, writers)
        else:
            while read_together(reader, preparation, None):
                pass
    # In json and csv, stdout holds results and nothing else.
    total = sys.stdout if arguments.format == "table" else sys.stderr
    with partly_done():
        for line in report.lines() if distributed.is_first() else ():
            print(line, file=total)
        if kept is not None and kept.seen:
            kept.draw(arguments.plot)
            say(f"drawn: {arguments.plot}")
    return 1 if report.unreadable else 0


def write_results(reader, arguments, report: Report, kept, preparation, writers: dict) -> None:
    """Read everything that is asked for, a batch at a time, and write each result once.

    Of several processes the first one finds and writes, and all read.
    """
    with results_to(arguments, reader, report, writers) as (write, is_done):
        at_once = arguments.batch_size * distributed.count()
        todo = (
            [path for path in batch if not is_done(path)]
            for batch in batches(wanted_paths(arguments), at_once)
        )
        for results in read_all(reader, preparation, filter(None, todo)):
            try:
                write(results)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise UserError(
                    f"cannot write {arguments.output or 'the results'}: {reason(error)}",
                    status=1 if report.read or report.unreadable else 2,
                ) from error
            for result in results:
                # A table on the terminal has said it; a file or a pipe has not.
                if result.error is not None and (arguments.output or not sys.stdout.isatty()):
                    say(f"not read: {result.path}: {result.error}")
            if kept is not None:
                kept.add(results)


def wanted_paths(arguments) -> Iterator[str]:
    """All that the command line asks to read."""
    paths = [path for argument in arguments.paths for path in expanded(argument)]
    if arguments.files_from is not None:
        return find_pictures(itertools.chain(paths, listed_paths(arguments.files_from)))
    if not arguments.paths and not os.path.isdir(PICTURES):
        raise UserError(f"there is no {PICTURES}/ here; make it with: python generate_test_digits.py")
    return find_pictures(paths or [PICTURES])


def batches(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(paths, size)):
        yield batch


def read_all(reader, preparation: Preparation, todo: Iterator[list[str]]) -> Iterator[list]:
    """The results of each batch of paths, in their order."""
    if distributed.count() == 1:
        for paths, prepared in preparation.ahead(todo):
            # The cores are for the workers: threads of PyTorch wait awake for one that has no core.
            if preparation.pool is not None and "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
            yield reader.predict_batch(paths, prepared)
        return
    for paths in todo:
        yield read_together(reader, preparation, paths)
    read_together(reader, preparation, [])  # the others need not wait for more


def read_together(reader, preparation: Preparation, paths: list[str] | None) -> list:
    """A result for each path that the first process gives, in their order; each reads its share.

    Paths that other processes give do not count; no path tells them that all is read.
    """
    paths = distributed.broadcast(lambda: paths)
    mine = paths[distributed.shard(0, len(paths))]
    results = reader.predict_batch(mine, preparation.of(mine)) if paths else []
    return list(itertools.chain.from_iterable(distributed.all_gather(results)))
