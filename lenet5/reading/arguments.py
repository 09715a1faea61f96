"""The flags that inference.py and read_number.py share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from lenet5.runtime.cli import DEVICES, ArgumentParser, number
from lenet5.runtime.outputs import check_outputs


def pictures_parser(script: str, what: str) -> ArgumentParser:
    """A parser of paths to read, to which a script adds its networks' flags."""
    description = f"Read {what} from pictures: files, or all in folders (test_digits)."
    parser = ArgumentParser(prog=script, description=description)
    parser.add_argument("paths", nargs="*", metavar="PICTURE|FOLDER", help="what to read (test_digits)")
    return parser


def add_reading_flags(parser: ArgumentParser, plot: str, choices: str, top_k: int) -> None:
    """Flags for how pictures are read and results are written.

    `plot` says what --plot draws, `choices` what --top-k names.
    """
    add = parser.add_argument
    at_most_1000 = number(int, 1, 1000)
    add("--top-k", type=at_most_1000, default=top_k, help=f"{choices} in json and csv (%(default)s)")
    add("--format", choices=["table", "json", "csv"], default="table", help="(%(default)s)")
    add("--plot", metavar="FILE", help=plot)
    add(
        "--batch-size",
        type=number(int, 1, 100_000),
        default=256,
        help="pictures at a time (%(default)s)",
    )
    add(
        "--workers",
        type=number(int, 0, 256),
        metavar="N",
        help="processes that prepare pictures (as many as cores once it takes long; 0: none)",
    )
    add("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    add(
        "--invert",
        choices=["auto", "yes", "no"],
        default="auto",
        help="yes: the ink is dark; no: it is bright (%(default)s)",
    )
    add("--reject", action="store_true", help="refuse what is blank, unsure or hardly a digit")
    add("--output", metavar="FILE", help="write the results to a file, or go on with it")
    add("--files-from", metavar="FILE", help="read paths from a file, one a line; - is standard input")


def check_files(arguments: argparse.Namespace, defaults: Iterable) -> None:
    """Raise UserError if what is written would overwrite what is read: see `check_outputs`.

    `defaults`: the weights that are read where none are named.
    """
    names = (
        "weights",
        "digit_weights",
        "files_from",
        "explain",
        "maps",
        "evaluate",
        "embedding",
        "robustness",
    )
    inputs = [*arguments.paths, *defaults, *(getattr(arguments, name, None) for name in names)]
    inputs += getattr(arguments, "beside", None) or []
    check_outputs({"--plot": arguments.plot}, {"--output": arguments.output}, filter(None, inputs))


def network_name(text: str) -> str:
    """An argparse `type`: one of the networks, whose names only those ask for who give one."""
    from lenet5.networks.registry import KNOWN  # imports PyTorch

    if text not in KNOWN:
        raise argparse.ArgumentTypeError(f"{text!r} is no network; choose from {', '.join(KNOWN)}")
    return text
