"""Validation of the metadata in weights and exported networks."""

from lenet5.runtime.errors import UserError

LONGEST_NAME = 255  # characters of a class: as many as the name of a folder may have
LARGEST_NUMBER = 1e6  # in the metadata, either way; above it or below 1 / it, float32 ends soon


def check_description(path, metadata: dict) -> None:
    """Raise UserError unless what a network's file says of its answers can be relied upon.

    `metadata` may hold anything that a file can. What it does not have is not missed here.
    """

    def is_number(value) -> bool:
        return type(value) in (int, float) and abs(value) <= LARGEST_NUMBER  # nan is not

    for name in ("mean", "std", "reject_below", "least_evidence", "temperature", "val_size"):
        if name in metadata and not is_number(metadata[name]):
            raise UserError(f"{path}: its {name} is not a number up to {LARGEST_NUMBER:,.0f}")
    for name in ("std", "temperature"):
        if metadata.get(name, 1.0) < 1 / LARGEST_NUMBER:
            raise UserError(f"{path}: its {name} is {metadata[name]}, which is not above 0 or too small")
    classes = metadata.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{path}: its classes are not a list of names")
    if any(len(name) > LONGEST_NAME for name in classes):
        raise UserError(f"{path}: the name of a class has more than {LONGEST_NAME} characters")
