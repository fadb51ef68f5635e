"""Runs every notebook of examples/ in a kernel, and holds what it prints to what stands in the file."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells print, without the figures: those move with the build of torch."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    # A library's warnings on standard error depend on what else is installed.
    return [NUMBER.sub("0", output["text"]) for output in outputs if output.get("name") == "stdout"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_prints_what_it_shows(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    shown = printed(notebook)
    assert shown, f"{path.name} was saved without its outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert printed(notebook) == shown
