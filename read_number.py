"""Read whole numbers from pictures: postcodes, meters, amounts, of any length, on any lines.

    $ python read_number.py
    picture                  sure      least sure digit  read
    test_digits/digit_0.png   99.94 %  0 (100.00 %)      0 ✓
    test_digits/digit_1.png   99.91 %  1 (100.00 %)      1 ✓
    ...
    10 read, 10 of 10 right (100.00 %)

With the shipped weights, on the ten digits that python generate_test_digits.py draws.
The finder (lenet5/networks/finder.py) marks the writing in a picture, which is put into lines and
numbers (lenet5/whole_numbers/strips.py). Each number becomes a strip 32 pixels high. The space
displacement network runs over it once and its windows are decoded as CTC (strip_reader.py,
decoding.py), or, with --reader graph, the strip is cut and the best path through a graph of segments
is the number (segmentation.py). Results go to stdout, all else to stderr; the exit status is 0 if
everything was read, 1 if some pictures could not be, 2 if nothing could start.
"""

import sys

from lenet5.reading.arguments import add_reading_flags, check_files, network_name, pictures_parser
from lenet5.runtime.cli import command_line
from lenet5.runtime.signals import quiet_imports


def __getattr__(name: str):
    """NumberReader, whose imports take longer than those of the command line."""
    if name != "NumberReader":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lenet5.whole_numbers.number_reader import NumberReader

    return NumberReader


def parse_arguments(argv):
    parser = pictures_parser("read_number.py", "whole numbers")
    add = parser.add_argument
    add("--weights", metavar="FILE", help="of the network of numbers (that in pretrained/)")
    add("--one", action="store_true", help="each picture holds a single number, whatever its gaps")
    ways = "the network over the strip, or, as with --digit-weights, the graph of segments (network)"
    add("--reader", choices=("network", "graph"), help=ways)
    digits = "of a network of digits, with which the graph reads (that in pretrained/)"
    add("--digit-weights", metavar="FILE", help=digits)
    add(
        "--arch",
        type=network_name,
        help="for weights that do not say what they are of: a network's name",
    )
    plot = "draw the first numbers: boxes, scores and the path through them"
    add_reading_flags(parser, plot, choices="readings", top_k=1)
    return parser.parse_args(argv)


@command_line
def main(argv=None) -> int:
    with quiet_imports():
        arguments = parse_arguments(argv)
        from lenet5.reading.many_pictures import read_pictures
        from lenet5.whole_numbers.number_reader import (
            DIGIT_WEIGHTS,
            WEIGHTS,
            WRITERS,
            NumberKeeper,
            NumberReader,
        )
        from lenet5.whole_numbers.strips import prepare_pages

        check_files(arguments, (WEIGHTS, DIGIT_WEIGHTS))
        reader = NumberReader(
            arguments.weights,
            reader=arguments.reader,
            one=arguments.one,
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
