"""Runs every notebook of examples/ in a kernel, and holds what it prints to what stands in the file."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def printed(cell: nbformat.NotebookNode) -> str:
    """What one cell prints, without the figures: those move with the build of torch."""
    # A kernel may deliver one cell's standard output in several pieces. A library's warnings on standard error
    # depend on what else is installed.
    pieces = [output["text"] for output in cell.get("outputs", []) if output.get("name") == "stdout"]
    return NUMBER.sub("0", "".join(pieces))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.suite
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_prints_what_it_shows(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    shown = [printed(cell) for cell in notebook.cells]
    assert any(shown), f"{path.name} was saved without its outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell, expected in zip(notebook.cells, shown, strict=True):
        assert printed(cell) == expected, cell.source


def test_standard_output_in_pieces_reads_as_one_text() -> None:
    pieces = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("loss 0.", "25\n", "done\n")]
    warning = nbformat.v4.new_output("stream", name="stderr", text="warning\n")
    cell = nbformat.v4.new_code_cell(outputs=[pieces[0], warning, *pieces[1:]])
    assert printed(cell) == "loss 0\ndone\n"
