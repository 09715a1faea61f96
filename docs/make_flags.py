"""Write the tables of flags into the documentation, from each script's parser.

    python docs/make_flags.py

Each table stands between `<!-- flags of SCRIPT: begin -->` and `<!-- flags of SCRIPT: end -->`.
"""

import argparse
import contextlib
import importlib
import re
import sys
from pathlib import Path
from unittest import mock

DOCS = Path(__file__).resolve().parent
MARKED = re.compile(r"(<!-- flags of (\w+): begin -->\n).*?(<!-- flags of \w+: end -->)", re.DOTALL)


def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser with which a script answers --help."""
    found = []

    def print_help(parser, file=None):
        found.append(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "print_help", print_help),
        contextlib.suppress(SystemExit),
    ):
        importlib.import_module(script).main(["--help"])
    return found[0]


def row(action: argparse.Action) -> str:
    """One flag as a row: its names, its value, its help and its choices."""
    value = action.metavar or (action.dest.upper() if action.nargs != 0 and not action.choices else "")
    value = value if isinstance(value, str) else " ".join(value)
    flag = " ".join(part for part in (", ".join(action.option_strings), value) if part)
    choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
    words = "; ".join(part for part in ((action.help or "").replace("%%", "%"), choices) if part)
    return "| `{}` | {} |".format(flag.replace("|", "\\|"), words.replace("|", "\\|"))


def table(script: str) -> str:
    """All flags of a script but --help, as a Markdown table."""
    actions = [action for action in parser_of(script)._actions if action.dest != "help"]
    shown = [action for action in actions if action.help != argparse.SUPPRESS]
    return "\n".join(["| flag | what it does (its default) |", "|---|---|", *map(row, shown)]) + "\n"


def with_tables(text: str) -> str:
    """A page with the tables between its marks made anew."""
    return MARKED.sub(lambda found: found[1] + table(found[2]) + found[3], text)


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
