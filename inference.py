"""Read digits from pictures with a trained network.

    $ python inference.py
    picture                  read  sure     second choice
    test_digits/digit_0.png     0  100.00 %  2 (0.00 %)     ✓
    test_digits/digit_1.png     1   99.99 %  7 (0.01 %)     ✓
    ...
    10 read, 10 of 10 right (100.00 %)

With pretrained/lenet5.pth (python train.py --recipe anybody, seed 0), on the ten
digits that python generate_test_digits.py draws. Results go to stdout, all else to stderr;
the exit status is 0 if everything was read, right or wrong, 1 if some pictures
could not be, 2 if nothing could start.

PyTorch is imported only where weights want it: a network that `python export.py --onnx
lenet5.onnx` wrote (`--weights lenet5.onnx`) is read with onnxruntime.
"""

import sys

from lenet5.reading.arguments import add_reading_flags, check_files, network_name, pictures_parser
from lenet5.runtime import distributed
from lenet5.runtime.cli import command_line
from lenet5.runtime.signals import quiet_imports


def __getattr__(name: str):
    """ImageClassifier, whose imports take longer than those of the command line."""
    if name != "ImageClassifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lenet5.reading.classifier import ImageClassifier

    return ImageClassifier


def parse_arguments(argv):
    from lenet5.reading.classifier import WEIGHTS
    from lenet5.reading.tasks import add_task_flags, check_task

    parser = pictures_parser("inference.py", "digits")
    weights = f"weights, or an exported .onnx ({WEIGHTS}, else those in pretrained/)"
    parser.add_argument("--weights", metavar="FILE", help=weights)
    arch = "for weights that do not say what they are of: a network's name"
    parser.add_argument("--arch", type=network_name, help=arch)
    plot = "draw the pictures as the network saw them, wrong ones first"
    add_reading_flags(parser, plot, choices="choices", top_k=3)
    add_task_flags(parser)
    arguments = parser.parse_args(argv)
    check_task(arguments)
    return arguments


@command_line
@distributed.under_torchrun
def main(argv=None) -> int:
    with quiet_imports():  # also of PyTorch or onnxruntime, which the weights need
        arguments = parse_arguments(argv)
        from lenet5.imaging.preprocess import prepare
        from lenet5.reading.classifier import PRETRAINED, WEIGHTS, ImageClassifier
        from lenet5.reading.many_pictures import read_pictures
        from lenet5.reading.results import WRITERS, PlotKeeper
        from lenet5.reading.tasks import TASKS

        if distributed.is_first():
            check_files(arguments, (WEIGHTS, PRETRAINED))
        if arguments.task and not distributed.is_first():
            return 0  # the first process does it alone
        classifier = ImageClassifier(
            arguments.weights,
            device=arguments.device,
            arch=arguments.arch,
            invert=arguments.invert,
            top_k=max(arguments.top_k, 2 if arguments.format == "table" else 1),
            reject=arguments.reject,
        )
    if arguments.task:
        return TASKS[arguments.task].run(classifier, arguments)
    return read_pictures(classifier, arguments, prepare, PlotKeeper, WRITERS)


if __name__ == "__main__":
    sys.exit(main())
