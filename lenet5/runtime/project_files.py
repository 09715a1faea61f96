"""The project's own files, such as pretrained/lenet5.pth, from a checkout or an installed package."""

from pathlib import Path

from lenet5.runtime.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
# In a checkout they lie beside the package, in an installed one inside it.
PLACES = (PACKAGE.parent, PACKAGE)


def project_file(name: str) -> Path:
    """The path of a file or folder that comes with the project, by its name in the checkout."""
    return next((place / name for place in PLACES if (place / name).exists()), PLACES[0] / name)


def find_file(name: str, otherwise: str) -> Path:
    """Resolve a path against the working directory, then against the project.

    Raises UserError, which ends with `otherwise`, if there is no such file.
    """
    for path in (Path(name), project_file(name)):
        if path.exists():
            return path
    raise UserError(f"there is no {name}; {otherwise}")
