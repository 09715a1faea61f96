"""`python train.py` of this project, as it is; more flags are handed on to it.

    python benchmarks/contestants/ours.py --augment none

train.py runs in a folder of its own with the flags that are named here and no others
than those of its defaults. Only the clock is added: an epoch is timed up to where
train.py evaluates, which is also where the figures of metrics.csv come from, and the
evaluation of the test images is timed once more from the uint8 images on. No image is
held out, since the other contestants learn all 60,000; `--until` does not end the run,
whose learning rate falls until the last epoch.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from contest import clocked, make_parser, report, show

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the scripts are modules of no package

import train
from lenet5.evaluation.metrics import evaluate
from lenet5.imaging.inputs import to_input
from lenet5.training import epoch_end, training_pool

FLAGS = ("--val-size", "0", "--device", "cpu")


def with_copies(images, options):
    """The data set with the first images alone, or with copies of those to train on."""
    copies = options.copies
    return images._replace(
        train_images=images.train_images[: options.images].repeat(copies, 1, 1),
        train_labels=images.train_labels[: options.images].repeat(copies),
        test_images=images.test_images[: options.images],
        test_labels=images.test_labels[: options.images],
    )


def run(options, flags: list[str]) -> list[dict]:
    """A run of train.py in the current folder; a dict an epoch, as `contest.compete` gives."""
    epochs, loaded = [], {}
    load_dataset, finish_epoch = training_pool.load_dataset, epoch_end.finish_epoch

    def load(*arguments):
        loaded["images"] = with_copies(load_dataset(*arguments), options)
        return loaded["images"]

    def finish_and_note(run, data, epoch, tally, started):
        tally.result()  # on a device that computes on its own, this waits for it
        seconds = time.perf_counter() - started
        finish_epoch(run, data, epoch, tally, started)
        images, net = loaded["images"], run.eval_net
        evaluation_seconds, _ = clocked(
            lambda: evaluate(net, to_input(images.test_images, net.mean, net.std), images.test_labels)
        )
        row = {"seconds": seconds, "accuracy": run.history[-1]["test_accuracy"]}
        row["is_whole"] = run.step_in_epoch == run.steps_per_epoch(data.pool.epoch_size)
        epochs.append(row | {"evaluation_seconds": evaluation_seconds})
        show(options, epoch, epochs[-1])

    settings = {"--data-dir": options.data, "--seed": options.seed, "--epochs": options.epochs}
    words = [str(word) for setting in settings.items() for word in setting]
    with (
        mock.patch.object(training_pool, "load_dataset", load),
        mock.patch.object(train, "finish_epoch", finish_and_note),
        contextlib.redirect_stdout(io.StringIO() if options.json else sys.stderr),
    ):
        status = train.main([*words, *FLAGS, *flags])
    if status:
        raise SystemExit(status)
    return epochs


def main(argv=None) -> int:
    options, flags = make_parser(__doc__).parse_known_args(argv)
    options.data = os.path.abspath(options.data)
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            epochs = run(options, flags)
        finally:
            os.chdir(before)
    report(options, epochs, "torch")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
