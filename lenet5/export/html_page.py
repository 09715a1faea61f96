"""The drawing page: one HTML file that reads what is drawn on it, with the network inside.

`write` makes it for `python export.py --html FILE`, `html` for `python draw.py`. The page's
scripts in web/ do what the rooms imaging and whole_numbers do, with the same names and, written
into the page by `constants`, the same numbers; tests/export/test_page.py and test_page_numbers.py
compare them picture by picture.

Weights go in as text, 20 bits each, which moves no probability by 1e-4, and 16 for the finder,
which moves its masks by less than 1e-3. Three networks and the finder take 0.8 MB that way, and
the page stays below the 900 KB that it may have: the paper's own network is left out where there
is no room for it.
"""

import base64
import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lenet5.data.sources import DIGITS
from lenet5.networks.definition import LeNet5Conv
from lenet5.networks.finder import FinderNetwork
from lenet5.networks.operations import Operation, operations, operations_of
from lenet5.reading.classifier import PRETRAINED, ImageClassifier
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.windows import CLASSES

WEB = Path(__file__).resolve().parent / "web"
OWN = PRETRAINED.with_name("lenet5-1998.pth")  # the paper's
NUMBERS = PRETRAINED.with_name("lenet5-numbers.pth")  # reads whole numbers, where classes are digits
BESIDE = "(the paper's own, where the classes are digits and it has room)"  # in --help
MOST_BYTES = 900_000  # of a page whose networks nobody has named
# Of a weight on the page: of networks of digits, of the finder, of the network of numbers.
BITS, FINDER_BITS, NUMBER_BITS = 20, 16, 14
SCRIPTS = ("filters", "finder", "preprocess", "strip", "network", "decoding", "app")
# Modules of the package whose constants the scripts may use by their names.
MODULES = (
    "imaging.mnist_format",
    "imaging.opening",
    "imaging.preprocess",
    "imaging.centring",
    "networks.finder",
    "networks.lenet1998",
    "whole_numbers.strips",
    "whole_numbers.windows",
    "whole_numbers.decoding",
)


def packed(numbers: np.ndarray, bits: int) -> dict:
    """Numbers as whole multiples of a step, and these as text: `bits` each, signed, in base64.

    The step is the largest number's share of 2^(bits - 1), so that all move by as little.
    """
    step = float(np.abs(numbers).max()) / (2 ** (bits - 1) - 1) or 1.0
    multiples = np.rint(numbers.astype(np.float64) / step).astype(">i4")
    kept = np.unpackbits(multiples.view(np.uint8).reshape(-1, 4), axis=1)[:, -bits:]
    return {"step": step, "bits": bits, "text": base64.b64encode(np.packbits(kept).tobytes()).decode()}


def operation_of(operation: Operation, name: str, bits: int = BITS) -> dict:
    """An operation in plain numbers and texts; `name` is that of the layer it finishes, or ""."""
    found: dict = {"kind": operation.kind, "name": name, "amount": operation.amount}
    for part, tensor in (("weight", operation.weight), ("bias", operation.bias)):
        if tensor is not None:
            found[part] = {"shape": list(tensor.shape)} | packed(tensor.numpy().ravel(), bits)
    return found


def description(path, arch: str | None = None) -> dict:
    """What the page needs to know of a weights file, in plain numbers, texts and lists."""
    classifier = ImageClassifier(path, device="cpu", arch=arch)
    metadata = classifier.metadata
    is_wide = isinstance(classifier.net, LeNet5Conv) and metadata["classes"] == CLASSES
    return {
        "name": Path(path).stem,
        "kind": "numbers" if is_wide else "single",
        "arch": metadata["arch"],
        "classes": metadata["classes"],
        "mean": metadata["mean"],
        "std": metadata["std"],
        "temperature": classifier.temperature,
        "rejectBelow": classifier.limits.confidence,
        "leastEvidence": classifier.limits.evidence,
        "knowsNonDigits": metadata.get("non_digits") is True,
        "testAccuracy": metadata.get("test_accuracy"),
        "operations": [
            operation_of(step, name if step is steps[-1] else "", NUMBER_BITS if is_wide else BITS)
            for name, steps in operations(classifier.net).items()
            for step in steps
        ],
    }


@torch.no_grad()
def finder() -> dict:
    """The finder's convolutions in the order in which they are applied."""
    kernels = [layer for layer in FinderNetwork().net.modules() if isinstance(layer, nn.Conv2d)]
    steps = [step for layer in kernels for step in operations_of(layer)]
    return {"operations": [operation_of(step, "", FINDER_BITS) for step in steps]}


def networks(weights, beside: list | None = None, arch: str | None = None) -> list[dict]:
    """The descriptions of these weights and of others; by default the paper's own beside them.

    With digits comes the network of whole numbers, unless one is among the others. The
    paper's own stays away where the page would be larger than MOST_BYTES. `arch` is for
    weights that do not say what they are of.

    Raises UserError as `ImageClassifier` does, and for weights of whole numbers where those
    of single digits have to be, or twice.
    """
    first = description(weights, arch)
    if first["kind"] == "numbers":
        raise UserError(
            f"{weights} reads whole numbers: name it after --beside, and weights of digits first"
        )
    are_digits = first["classes"] == DIGITS
    is_own_added = beside is None and are_digits and Path(weights).resolve() != OWN
    paths = [weights, *([OWN] if is_own_added else beside or [])]
    described = [first, *map(description, paths[1:])]
    of_numbers = [network["kind"] for network in described].count("numbers")
    if of_numbers > 1:
        raise UserError(
            "--beside names more than one network of whole numbers: one has room on the page"
        )
    if are_digits and not of_numbers:
        paths.append(NUMBERS)
        described.append(description(NUMBERS))
    if is_own_added and len(html(described)) > MOST_BYTES:
        del paths[1], described[1]
    names = [network["name"] for network in described]
    for network, path in zip(described, paths, strict=True):
        if names.count(network["name"]) > 1:  # of files in different folders
            network["name"] = str(path)
    return described


def constants(scripts: str) -> dict:
    """The constants of the package that the scripts name, by their names."""
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", scripts))
    modules = [vars(import_module(f"lenet5.{name}")) for name in MODULES]
    return {name: module[name] for module in modules for name in used & module.keys()}


def html(described: list[dict]) -> bytes:
    """The page with these networks, the first of which it begins with."""
    scripts = "\n".join((WEB / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    named = [f"{name} = {json.dumps(value)}" for name, value in sorted(constants(scripts).items())]
    parts = {
        "style": (WEB / "style.css").read_text(encoding="utf-8"),
        # "</script" in the name of a class would end the script.
        "networks": json.dumps(described).replace("<", "\\u003c"),
        "finder": json.dumps(finder()),
        "constants": f"const {', '.join(named)};",
        "scripts": scripts,
    }
    page = (WEB / "page.html").read_text(encoding="utf-8")
    return re.sub(r"/\*(\w+)\*/", lambda place: parts[place[1]], page).encode()


def write(path, weights, beside: list | None = None, arch: str | None = None) -> list[str]:
    """Write the page to `path`; the names of its networks.

    Raises UserError as `ImageClassifier` and `write_file` do.
    """
    described = networks(weights, beside, arch)
    write_file(path, html(described))
    return [network["name"] for network in described]
