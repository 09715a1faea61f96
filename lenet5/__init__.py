"""The reference LeNet-5: the package behind the scripts, one folder a subject.

    >>> from lenet5 import ImageClassifier
    >>> ImageClassifier().predict("test_digits/digit_7.png")
    7

Importing the package loads no heavy module; each public name loads on first use.
"""

PUBLIC = {
    "ImageClassifier": "lenet5.reading.classifier",
    "NumberReader": "lenet5.whole_numbers.number_reader",
    "build": "lenet5.networks.definition",
}


def __getattr__(name: str):
    """Import a public name from its module. Raises AttributeError for any other name."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    """The module's names, including public ones that are not loaded yet."""
    return sorted({*globals(), *PUBLIC})
