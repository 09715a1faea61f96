"""Run the guided tour from its first cell to its last and keep what it shows.

    pip install -r requirements-notebook.txt
    python notebooks/execute.py

`lenet5.ipynb` is its own source: edit it in Jupyter or by hand, then run this, so that
the outputs in the file are those of its code. Nothing else is in the file that would be
another one each time: no times of cells, and no versions.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lenet5.runtime.atomic_files import check_writable, write_file
from lenet5.runtime.cli import ArgumentParser, command_line
from lenet5.runtime.errors import UserError, reason

NOTEBOOK = ROOT / "notebooks" / "lenet5.ipynb"
LONGEST_CELL = 1800  # seconds, for whoever trains longer
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path, folder: Path):
    """The notebook in a file with the outputs of all its cells, run in a folder.

    Raises UserError where a cell fails, and for what is no notebook.
    """
    try:
        import nbclient.exceptions as failures
        import nbformat
        from jupyter_client.kernelspec import NoSuchKernel
        from nbclient import NotebookClient
    except ImportError as error:
        raise UserError(
            f"notebooks need packages of their own ({reason(error)}); "
            "install them: pip install -r requirements-notebook.txt"
        ) from error
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from error
    client = NotebookClient(
        notebook,
        timeout=LONGEST_CELL,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,  # one output for all that a cell prints, however it came
    )
    try:
        client.execute()
    except failures.CellExecutionError as error:
        raise UserError(f"{path}: a cell failed: {error.ename}: {error.evalue}", status=1) from error
    except (failures.CellTimeoutError, failures.DeadKernelError) as error:
        raise UserError(f"{path}: a cell did not end: {reason(error)}", status=1) from error
    except NoSuchKernel as error:
        raise UserError(f"{path}: {reason(error)}; pip install -r requirements-notebook.txt") from error
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


@command_line
def main(argv=None) -> int:
    parser = ArgumentParser(
        prog="notebooks/execute.py", description="Run the notebook and keep its outputs."
    )
    parser.add_argument(
        "notebook", nargs="?", type=Path, default=NOTEBOOK, help="(notebooks/lenet5.ipynb)"
    )
    path = parser.parse_args(argv).notebook
    check_writable(path)
    notebook = executed(path, path.resolve().parent)

    import nbformat

    write_file(path, (nbformat.writes(notebook).rstrip() + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
