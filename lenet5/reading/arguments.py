"""Flags that every reader of pictures has."""

from __future__ import annotations

import argparse

from lenet5.runtime.cli import number


def add_common_flags(add) -> None:
    """Those flags that every reader of pictures has, to a parser's `add_argument`."""
    add("--batch-size", type=number(int, 1, 100_000), default=256, help="pictures at a time (256)")
    add(
        "--workers",
        type=number(int, 0, 256),
        metavar="N",
        help="processes that prepare pictures (as many as cores once it takes long; 0: none)",
    )
    add("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="(auto)")
    add(
        "--invert",
        choices=["auto", "yes", "no"],
        default="auto",
        help="yes: the ink is dark; no: it is bright (auto)",
    )
    add("--reject", action="store_true", help="refuse what is blank, unsure or hardly a digit")
    add("--output", metavar="FILE", help="write the results to a file, or go on with it")
    add("--files-from", metavar="FILE", help="read paths from a file, one a line; - is standard input")


def network_name(text: str) -> str:
    """An argparse `type`: one of the networks, whose names only those ask for who give one."""
    from lenet5.networks.registry import NETWORKS  # imports PyTorch

    if text not in NETWORKS:
        raise argparse.ArgumentTypeError(f"{text!r} is no network; choose from {', '.join(NETWORKS)}")
    return text
