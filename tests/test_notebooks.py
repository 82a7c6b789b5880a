"""The notebooks: each source has its outputs beside it, and runs."""

import importlib.util
import os
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="needs the extra 'notebooks'")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def load_build():
    spec = importlib.util.spec_from_file_location("notebooks_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()
SOURCES = build.sources()


def test_there_are_notebooks_and_no_outputs_without_a_source():
    assert SOURCES
    assert {path.with_suffix("") for path in FOLDER.glob("*.ipynb")} == {p.with_suffix("") for p in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_outputs_are_those_of_the_source(source):
    made = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    cells = build.convert(source).cells
    assert [(c.cell_type, c.source) for c in made.cells] == [(c.cell_type, c.source) for c in cells], (
        f"{source.name} was edited since: run make notebooks"
    )
    code = [c for c in made.cells if c.cell_type == "code"]
    outputs = [o for c in code for o in c.outputs]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert any(c.outputs and "**Found.**" in str(c.outputs) for c in code)
    text = "\n".join(c.source for c in made.cells)
    assert text.count("<details>") == text.count("</details>") == 3


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_output_names_a_folder_of_the_machine_that_ran_it(source):
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert str(FOLDER) not in text
    assert "site-packages" not in text
    assert str(Path.home()) + os.sep not in text
    assert "/tmp/" not in text


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_it_runs(source):
    notebook = build.run(source)  # a failed assertion raises
    assert all(c.execution_count for c in notebook.cells if c.cell_type == "code")
