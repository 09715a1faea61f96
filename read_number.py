"""Read whole numbers from pictures: postcodes, meters, amounts, of any length, on any lines.

    $ python read_number.py
    picture                  sure      least sure digit  read
    test_digits/digit_0.png   99.98 %  0 (100.00 %)      0 ✓
    test_digits/digit_1.png   99.99 %  1 (100.00 %)      1 ✓
    ...
    10 read, 10 of 10 right (100.00 %)

With the shipped weights, on the ten digits that python generate_test_digits.py draws.
The writing in a picture is found by a network (lenet5/networks/finder.py) and put into lines and numbers
(lenet5/whole_numbers/strips.py); each number becomes a strip 32 pixels high, which a network
that runs over the whole strip and one that reads its segments read together
(strip_reader.py). Results go to stdout, all else to stderr; the exit status is 0 if
everything was read, 1 if some pictures could not be, 2 if nothing could start.
"""

import sys

from lenet5.reading.arguments import add_reading_flags, pictures_parser
from lenet5.runtime.atomic_files import check_writable
from lenet5.runtime.cli import command_line
from lenet5.runtime.signals import quiet_imports


def __getattr__(name: str):
    """NumberReader, whose imports take longer than those of the command line."""
    if name != "NumberReader":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lenet5.whole_numbers.number_reader import NumberReader

    return NumberReader


def parse_arguments(argv):
    from lenet5.networks.registry import NETWORKS

    parser = pictures_parser("read_number.py", "whole numbers")
    add = parser.add_argument
    weights = "of a network of numbers; several times for several (those in pretrained/)"
    add("--weights", metavar="FILE", action="append", help=weights)
    add("--digit-weights", metavar="FILE", help="of the network of digits (that in pretrained/)")
    add("--arch", choices=list(NETWORKS), help="for weights that do not say what they are of")
    plot = "draw the first numbers: boxes, scores and the path through them"
    add_reading_flags(parser, plot, choices="readings", top_k=1)
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    with quiet_imports():
        arguments = parse_arguments(argv)
        from lenet5.reading.many_pictures import read_pictures
        from lenet5.whole_numbers.number_reader import WRITERS, NumberKeeper, NumberReader
        from lenet5.whole_numbers.strips import prepare_pages

        if arguments.plot:
            check_writable(arguments.plot)
        reader = NumberReader(
            arguments.weights,
            digit_weights=arguments.digit_weights,
            device=arguments.device,
            arch=arguments.arch,
            invert=arguments.invert,
            top_k=arguments.top_k,
            reject=arguments.reject,
        )
    return read_pictures(reader, arguments, prepare_pages, NumberKeeper, WRITERS)


if __name__ == "__main__":
    sys.exit(main())
