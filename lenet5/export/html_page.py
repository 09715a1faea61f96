"""The drawing page: one HTML file that reads what is drawn on it, with the network inside.

`write` makes it for `python export.py --html FILE`, `html` for `python draw.py`.
The page's scripts in web/ do what preprocess.py, ink.py and layers.py do, and for whole
numbers strips.py, space_displacement.py and decoding.py, with the same names; tests/test_page.py
and tests/test_page_numbers.py compare them picture by picture.

Weights go in as text, 24 bits each, which moves no probability by 1e-5. Three networks
take 0.75 MB that way, and the page stays below the 900 KB that it may have: the paper's
own network is left out where there is no room for it.
"""

import base64
import json
import re
from pathlib import Path

import numpy as np

from lenet5.networks.definition import LeNet5Conv
from lenet5.networks.operations import operations
from lenet5.reading.classifier import PRETRAINED, ImageClassifier
from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.errors import UserError
from lenet5.whole_numbers.space_displacement import CLASSES

WEB = Path(__file__).resolve().parent / "web"
NUMBERS = PRETRAINED.with_name("lenet5-numbers.pth")  # reads whole numbers, where classes are digits
BESIDE = "(the paper's own, where the classes are digits and it has room)"  # in --help
MOST_BYTES = 900_000  # of a page whose networks nobody has named
DIGITS = [str(digit) for digit in range(10)]
SCRIPTS = (
    "filters.js",
    "ink.js",
    "preprocess.js",
    "strip.js",
    "network.js",
    "decoding.js",
    "app.js",
)


def packed(numbers: np.ndarray) -> tuple[float, str]:
    """Numbers as whole multiples of a step, and these as text: 24 bits each, signed, in base64.

    The step is the largest number's share of 2²³, so that no number moves by more than
    6e-8 of it; the upper 24 bits of a float32 would move some 100 times as far.
    """
    step = float(np.abs(numbers).max()) / (2**23 - 1) or 1.0
    multiples = np.rint(numbers.astype(np.float64) / step).astype("<i4")
    return step, base64.b64encode(multiples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()).decode()


def description(path, arch: str | None = None) -> dict:
    """What the page needs to know of a weights file, in plain numbers, texts and lists."""
    classifier = ImageClassifier(path, device="cpu", arch=arch)
    metadata, steps = classifier.metadata, []
    for operation in operations(classifier.net):
        step = {"kind": operation.kind, "name": operation.name, "amount": operation.amount}
        for part in ("weight", "bias"):
            tensor = getattr(operation, part)
            if tensor is not None:
                size, text = packed(tensor.numpy().ravel())
                step[part] = {"shape": list(tensor.shape), "step": size, "text": text}
        steps.append(step)
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
        "operations": steps,
    }


def networks(weights, beside: list | None = None, arch: str | None = None) -> list[dict]:
    """The descriptions of these weights and of others; by default the paper's own beside them.

    With digits comes the network of whole numbers, unless one is among the others. The
    paper's own stays away where the page would be larger than MOST_BYTES.
    `arch` is for weights that do not say what they are of.

    Raises UserError as `ImageClassifier` does, and for weights of whole numbers where
    those of single digits have to be, or twice.
    """
    first = description(weights, arch)
    if first["kind"] == "numbers":
        raise UserError(
            f"{weights} reads whole numbers: name it after --beside, and weights of digits first"
        )
    are_digits = first["classes"] == DIGITS
    is_default = beside is None
    if is_default:
        own = PRETRAINED.with_name("lenet5-1998.pth")
        is_it = Path(weights).resolve() == own
        beside = [own] if are_digits and not is_it else []
    described = [first, *map(description, beside)]
    of_numbers = sum(network["kind"] == "numbers" for network in described)
    if of_numbers > 1:
        raise UserError(
            "--beside names more than one network of whole numbers: one has room on the page"
        )
    if are_digits and not of_numbers:
        beside = [*beside, NUMBERS]
        described.append(description(NUMBERS))
    if is_default and beside and len(html(described)) > MOST_BYTES:
        return networks(weights, [], arch)
    names = [network["name"] for network in described]
    for network, path in zip(described, (weights, *beside), strict=True):
        if names.count(network["name"]) > 1:  # of files in different folders
            network["name"] = str(path)
    return described


def html(described: list[dict]) -> bytes:
    """The page with these networks, the first of which it begins with."""
    parts = {
        "style": (WEB / "style.css").read_text(encoding="utf-8"),
        # "</script" in the name of a class would end the script.
        "networks": json.dumps(described).replace("<", "\\u003c"),
        "scripts": "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    page = (WEB / "page.html").read_text(encoding="utf-8")
    return re.sub(r"/\*(style|networks|scripts)\*/", lambda place: parts[place[1]], page).encode()


def write(path, weights, beside: list | None = None, arch: str | None = None) -> list[str]:
    """Write the page to `path`; the names of its networks.

    Raises UserError as `ImageClassifier` and `write_file` do.
    """
    described = networks(weights, beside, arch)
    write_file(path, html(described))
    return [network["name"] for network in described]
