"""A merge in a notebook shows a bar, and its report a table; outside one it shows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from mergeometry.notebook import in_notebook
from tests.helpers import models


def test_a_program_is_no_notebook() -> None:
    assert not in_notebook()


def test_a_cell_that_merges_shows_a_bar_and_its_report(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    keys = json.dumps({**family, "method": "average"}, default=str)
    cell = nbformat.v4.new_code_cell(
        f"import mergeometry as mg\nrun = mg.merge({keys}, {str(tmp_path / 'out')!r})\nrun.report()"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    output, report = notebook.cells[0]["outputs"]
    assert report["output_type"] == "execute_result" and "What became of 2 models" in report["data"]["text/html"]
    assert output["output_type"] == "display_data"
    count = len(models.SHAPES)
    assert output["data"]["text/plain"].startswith(f"merging {count}/{count}, ")
    assert "<progress value=" in output["data"]["text/html"]
