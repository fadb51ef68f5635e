"""The page of the best merge, which the demo ends with."""

from __future__ import annotations

import json
from pathlib import Path

from mergeometry.inspection.after import report_on
from mergeometry.inspection.own_folder import FIGURES, PAGE, page_folder
from mergeometry.results import Inspection
from mergeometry.sink import read_record
from mergeometry_suite.demo.work import file_name


def best_page(output: Path, row: str, *, workers: int | None) -> Path:
    """Write the page of a merge beside it, unless it is there already; return the page.

    Raises:
        MergeometryError: the merged model is gone, or the disk refuses the page.
    """
    merged = output / "merged" / file_name(row)
    folder = page_folder(merged)
    if not _is_of(folder, read_record(merged).digest):
        Inspection.of(report_on(merged, workers=workers)).save(folder)
    return folder / PAGE


def _is_of(folder: Path, digest: str) -> bool:
    """Whether the folder's page measured every tensor of this output."""
    try:
        figures = json.loads((folder / FIGURES).read_text("utf-8"))
        return figures["record"]["digest"] == digest and not figures["left_out"] and (folder / PAGE).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False
