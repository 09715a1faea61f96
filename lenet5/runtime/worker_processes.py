"""Worker processes: one for each core, which end with their parent."""

import multiprocessing
import os
import signal
import threading

from lenet5.runtime.errors import WATCHER

# There is a worker for each core, so the libraries in it use one thread.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")


def begin() -> None:
    """Initialise a worker: Ctrl-C is for its parent, with which it ends; libraries use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ONE_THREAD)
    threading.Thread(target=end_with_parent, name=WATCHER, daemon=True).start()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def cores() -> int:
    """How many processes run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
