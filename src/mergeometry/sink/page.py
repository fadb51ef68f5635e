"""The page on an output, in a folder beside it: where it is, and when it is of another output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.regular_files import read_regular

FIGURES, PAGE, EVALUATION = "inspection.json", "index.html", "evaluation.json"
"""Every figure, the page drawn from them, and the scores that `mergeometry evaluate --save` keeps."""
PAGE_FILES = frozenset({FIGURES, PAGE, EVALUATION})


def page_folder(output: Path) -> Path:
    """Where the page of a merge goes: beside its output."""
    return output.with_name(f"{output.resolve().name}-report")


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where the file is missing, cannot be read, or holds anything else."""
    try:
        content = json.loads(read_regular(path, limits.SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def remove_stale_page(output: Path, digest: str, fingerprint: str) -> str | None:
    """Remove the page of an earlier output of this name; what somebody else put there stays.

    ``digest`` and ``fingerprint`` are those of the output that is there now: a page on the same merge stays. Returns
    why the page could not be removed, or None.
    """
    folder = page_folder(output)
    figures, scores = read_object(folder / FIGURES), read_object(folder / EVALUATION)
    stale = set[str]()
    if figures is not None and {"schema", "verdict", "totals"} <= figures.keys():
        record = figures.get("record")
        own = record if isinstance(record, dict) else {}
        stale |= {PAGE, FIGURES} if (own.get("digest"), own.get("fingerprint")) != (digest, fingerprint) else set()
    if scores is not None and "evaluation" in scores and scores.get("digest") != digest:
        stale.add(EVALUATION)
    try:
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        if stale and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        return f"the page of an earlier output could not be removed from {folder}: {error.strerror}"
    return None
