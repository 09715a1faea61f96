"""Run the notebook from its first cell to its last and store its outputs.

    pip install -r requirements-notebook.txt
    python notebooks/execute.py

Times of cells and versions are not stored: the same code gives the same file.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lenet5.runtime.atomic_files import write_file
from lenet5.runtime.cli import ArgumentParser, command_line
from lenet5.runtime.errors import UserError, import_package, reason

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@command_line
def main(argv=None) -> int:
    parser = ArgumentParser(prog="notebooks/execute.py", description="Run the notebook.")
    parser.add_argument("notebook", nargs="?", type=Path, default=ROOT / "notebooks" / "lenet5.ipynb")
    path = parser.parse_args(argv).notebook
    nbformat, nbclient = (
        import_package(name, "the notebook", "requirements-notebook.txt")
        for name in ("nbformat", "nbclient")
    )
    try:
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(
            notebook,
            timeout=1800,  # seconds a cell
            resources={"metadata": {"path": str(path.resolve().parent)}},
            record_timing=False,
            coalesce_streams=True,  # one output for all that a cell prints
        ).execute()
    except nbclient.exceptions.CellExecutionError as error:
        raise UserError(f"{path}: a cell failed: {error.ename}: {error.evalue}", status=1) from error
    except Exception as error:  # no notebook, no kernel, a cell that does not end
        raise UserError(f"cannot run {path}: {reason(error)}") from error
    notebook.metadata = nbformat.from_dict(METADATA)
    write_file(path, (nbformat.writes(notebook).rstrip() + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
