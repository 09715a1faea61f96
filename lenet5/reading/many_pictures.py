"""Read many pictures: batches, workers, several processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator

from lenet5.data.picture_files import find_pictures, listed_paths
from lenet5.reading.output_file import not_done, results_to
from lenet5.reading.results import WRITERS, Report
from lenet5.runtime import distributed
from lenet5.runtime.errors import UserError, partly_done, reason, say

PICTURES = "test_digits"


def wanted_paths(arguments) -> Iterator[str]:
    """All that the command line asks to read."""
    if arguments.files_from is not None:
        return find_pictures(itertools.chain(arguments.paths, listed_paths(arguments.files_from)))
    if not arguments.paths and not os.path.isdir(PICTURES):
        raise UserError(f"there is no {PICTURES}/ here; make it with: python generate_test_digits.py")
    return find_pictures(arguments.paths or [PICTURES])


def batches(paths: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(paths, size)):
        yield batch


def score(classifier, arguments, report: Report, keeper, preparation, writers: dict = WRITERS) -> None:
    """Read everything that is asked for, a batch at a time, and write each result once.

    `classifier` has a `predict_batch` as ImageClassifier has, `keeper` (or None) an `add`
    as PlotKeeper has. Of several processes the first one finds and writes, and all read.
    """
    if not distributed.is_first():
        while read_together(classifier, preparation, None):
            pass
        return
    with results_to(arguments, report, writers) as (writer, save, done):
        at_once = arguments.batch_size * distributed.count()
        todo = (not_done(batch, done) for batch in batches(wanted_paths(arguments), at_once))
        for results in read_all(classifier, preparation, filter(None, todo)):
            try:
                writer.write(results)
                save()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise UserError(
                    f"cannot write {arguments.output or 'the results'}: {reason(error)}",
                    status=1 if report.read or report.unreadable else 2,
                ) from error
            for result in results:
                report.add(result.as_object())
                # A table on the terminal has said it; a file or a pipe has not.
                if result.error is not None and (arguments.output or not sys.stdout.isatty()):
                    say(f"not read: {result.path}: {result.error}")
            if keeper is not None:
                keeper.add(results)


def read_all(classifier, preparation, todo: Iterator[list[str]]) -> Iterator[list]:
    """The results of each batch of paths, in their order."""
    if distributed.count() == 1:
        for paths, prepared in preparation.ahead(todo):
            with contextlib.nullcontext() if preparation.pool is None else one_thread():
                results = classifier.predict_batch(paths, prepared)
            yield results
        return
    for paths in todo:
        yield read_together(classifier, preparation, paths)
    read_together(classifier, preparation, [])  # the others need not wait for more


@contextlib.contextmanager
def one_thread():
    """Run the network in one thread meanwhile: the cores are for those that prepare pictures.

    PyTorch's threads wait for each other awake, and where one of them has no core, the
    others wait for nothing.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # the network is one that does without
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_together(classifier, preparation, paths: list[str] | None) -> list:
    """A result for each path that the first process gives, in their order; each reads its share.

    Paths that other processes give do not count; no path tells them that all is read.
    """
    paths = distributed.broadcast(lambda: paths)
    mine = paths[distributed.shard(0, len(paths))]
    results = classifier.predict_batch(mine, preparation.of(mine)) if paths else []
    results = distributed.all_gather(results)
    return list(itertools.chain.from_iterable(results))


def score_and_report(classifier, arguments, keeper, preparation, writers: dict = WRITERS) -> int:
    """Read what is asked for, say how much was right, draw it; the exit status."""
    report = Report()
    score(classifier, arguments, report, keeper, preparation, writers)
    # In json and csv, stdout holds results and nothing else.
    total = sys.stdout if arguments.format == "table" else sys.stderr
    with partly_done():
        for line in report.lines() if distributed.is_first() else ():
            print(line, file=total)
        if keeper is not None and keeper.seen:
            keeper.draw(arguments.plot)
            say(f"drawn: {arguments.plot}")
    return 1 if report.unreadable else 0
