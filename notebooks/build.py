"""Run the notebooks: every ``.py`` becomes an ``.ipynb`` with its outputs.

People edit the ``.py`` (jupytext's percent format); the ``.ipynb`` is made from it, and written only if all
of its cells ran::

    make notebooks
    python notebooks/build.py 03 07
    python notebooks/build.py --figures /tmp/figures 03
"""

import argparse
import base64
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Run the notebooks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="how their names begin, such as 03; by default all")
    parser.add_argument("--figures", type=Path, help="a folder to put every figure in, as a PNG file")
    arguments = parser.parse_args()
    chosen = [
        path for path in sources() if not arguments.names or path.name.startswith(tuple(arguments.names))
    ]
    if not chosen:
        print(f"No notebook begins with {' or '.join(arguments.names)}.", file=sys.stderr)
        return 2
    failed = 0
    for path in chosen:
        start = time.perf_counter()
        try:
            notebook = run(path)
        except CellExecutionError as error:
            failed = 1
            print(f"{path.stem:32} failed\n{error}", file=sys.stderr)
            continue
        write(notebook, path.with_suffix(".ipynb"))
        if arguments.figures:
            write_figures(notebook, path.stem, arguments.figures)
        print(f"{path.stem:32} {time.perf_counter() - start:6.1f} s", flush=True)
    return failed


def sources() -> list[Path]:
    """Return the notebooks' sources in order: those whose name begins with two digits."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def convert(path: Path) -> nbformat.NotebookNode:
    """Return a source's cells as a notebook without outputs, the same each time."""
    notebook = jupytext.read(path)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # drawn at random otherwise, so that every run would change the file
    notebook.metadata = nbformat.from_dict(
        {
            "jupytext": {"formats": "ipynb,py:percent"},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook in its own folder and return it with its outputs.

    Raises
    ------
    CellExecutionError
        If a cell raises.
    """
    notebook = convert(path)
    with TemporaryDirectory(prefix="notebook-") as sockets:
        # Between two processes of one machine no port needs to be open.
        manager = AsyncKernelManager(kernel_name="python3")
        if os.name != "nt":
            manager.transport, manager.ip = "ipc", str(Path(sockets) / "kernel")
        NotebookClient(
            notebook,
            km=manager,
            timeout=600,
            record_timing=False,
            resources={"metadata": {"path": str(FOLDER)}},
        ).execute(env=kernel_environment())
    notebook.metadata.language_info = nbformat.from_dict({"name": "python"})
    return notebook


def kernel_environment() -> dict[str, str]:
    """Return the environment that notebooks run in."""
    search = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, search)
        ),  # the packages of this checkout, installed or not
        "PYTHONWARNINGS": "ignore:IProgress not found",  # bars are drawn as text without ipywidgets
        "OPENBLAS_NUM_THREADS": "1",  # the matrices are small: threads that wait for each other cost more
    }


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    nbformat.write(notebook, temporary)
    temporary.replace(path)


def write_figures(notebook: nbformat.NotebookNode, name: str, folder: Path) -> None:
    """Write every figure of a notebook as a PNG file."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    for i, figure in enumerate(figures):
        (folder / f"{name}-{i}.png").write_bytes(base64.b64decode(figure))


if __name__ == "__main__":
    sys.exit(main())
