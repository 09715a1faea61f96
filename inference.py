"""Read digits from pictures with a trained network.

    $ python inference.py
    picture                  read  sure     second choice
    test_digits/digit_0.png     0  100.00 %  6 (0.00 %)     ✓
    test_digits/digit_1.png     1   99.99 %  7 (0.00 %)     ✓
    ...
    10 read, 10 of 10 right (100.00 %)

With pretrained/lenet5.pth (python train.py --recipe anybody, seed 0), on the ten
digits that python generate_test_digits.py draws. Results go to stdout, all else to stderr;
the exit status is 0 if everything was read, right or wrong, 1 if some pictures
could not be, 2 if nothing could start.

PyTorch is imported only where weights want it: a network that `python export.py --onnx
lenet5.onnx` wrote (`--weights lenet5.onnx`) is read with onnxruntime.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lenet5.reading.arguments import add_common_flags, network_name
from lenet5.runtime import distributed
from lenet5.runtime.atomic_files import check_writable
from lenet5.runtime.cli import ArgumentParser, command_line, number
from lenet5.runtime.signals import quiet_imports

if TYPE_CHECKING:
    from lenet5.reading.classifier import ImageClassifier


def __getattr__(name: str):
    """ImageClassifier, whose imports take longer than those of the command line."""
    if name != "ImageClassifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lenet5.reading.classifier import ImageClassifier

    return ImageClassifier


def parse_arguments(argv):
    from lenet5.reading.classifier import WEIGHTS
    from lenet5.reading.tasks import check_task

    parser = ArgumentParser(
        prog="inference.py",
        description="Read digits from pictures: files, or all in folders (test_digits).",
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="PICTURE|FOLDER", help="what to read (test_digits)")
    add(
        "--weights",
        metavar="FILE",
        help=f"weights, or an exported .onnx ({WEIGHTS}, else those in pretrained/)",
    )
    add(
        "--arch",
        type=network_name,
        help="for weights that do not say what they are of: a network's name",
    )
    add("--top-k", type=number(int, 1, 1000), default=3, help="choices in json and csv (3)")
    add("--format", choices=["table", "json", "csv"], default="table", help="(table)")
    add("--plot", metavar="FILE", help="draw the pictures as the network saw them, wrong ones first")
    add_common_flags(add)
    title = "instead, one of these (SET: mnist or another data set's test images, fonts, or a folder)"
    draw = parser.add_argument_group(title).add_argument
    draw(
        "--explain",
        metavar="PICTURE",
        help="read one picture and draw each step on its way to the network (--plot, or steps.png)",
    )
    draw(
        "--maps",
        metavar="PICTURE",
        help="read one picture and draw what each layer makes of it (--plot, or maps.png)",
    )
    draw(
        "--filters",
        action="store_true",
        default=None,
        help="draw the learned kernels of C1 and C3 (--plot, or filters.png)",
    )
    draw(
        "--evaluate",
        metavar="SET",
        help="compare with the truth; --plot draws mistakes, confusion and reliability",
    )
    draw(
        "--embedding",
        metavar="SET",
        help="draw F6 of all pictures in two dimensions (--plot, or embedding.png)",
    )
    draw(
        "--robustness",
        metavar="SET",
        help="accuracy against rotation, shift, scale and noise (--plot, or robustness.png)",
    )
    draw("--beside", metavar="FILE", nargs="+", help="other weights to compare with, for --robustness")
    arguments = parser.parse_args(argv)
    check_task(arguments)
    return arguments


@command_line
@distributed.under_torchrun
def main(argv=None) -> int:
    with quiet_imports():
        arguments = parse_arguments(argv)
        from lenet5.reading.many_pictures import score_and_report
        from lenet5.reading.results import PlotKeeper
        from lenet5.reading.tasks import TASKS
        from lenet5.reading.workers import Preparation
    if arguments.plot and distributed.is_first():
        check_writable(arguments.plot)
    if arguments.task is not None and not distributed.is_first():
        return 0  # the first process does it alone
    classifier = classifier_of(arguments)
    if arguments.task is not None:
        task, *_ = TASKS[arguments.task]
        return task(classifier, arguments)
    # Where several processes share the pictures, there is one for each core without workers.
    unasked = None if distributed.count() == 1 else 0
    workers = unasked if arguments.workers is None else arguments.workers
    with Preparation(workers, "digits", arguments.invert) as preparation:
        keeper = PlotKeeper() if arguments.plot else None
        return score_and_report(classifier, arguments, keeper, preparation)


def classifier_of(arguments) -> ImageClassifier:
    """The classifier that the command line asks for."""
    with quiet_imports():  # of PyTorch or onnxruntime
        from lenet5.reading.classifier import ImageClassifier

        return ImageClassifier(
            arguments.weights,
            device=arguments.device,
            arch=arguments.arch,
            invert=arguments.invert,
            top_k=max(arguments.top_k, 2 if arguments.format == "table" else 1),
            reject=arguments.reject,
        )


if __name__ == "__main__":
    sys.exit(main())
