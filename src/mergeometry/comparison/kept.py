"""Reads a comparison that `mergeometry compare` wrote, and finds in it the rows of a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mergeometry import limits
from mergeometry.comparison.own_folder import PAGES
from mergeometry.comparison.result import CompareRow, Comparison
from mergeometry.errors import SourceError
from mergeometry.regular_files import read_regular

_COMPARISON = TypeAdapter(Comparison)


def read_comparison(given: Path) -> Comparison:
    """The comparison in a folder of `mergeometry compare`, or in its comparison.json.

    Raises:
        SourceError: there is none, or it is malformed.
    """
    path = given / PAGES[0] if given.is_dir() else given
    try:
        return comparison_from(json.loads(read_regular(path, limits.SIDECAR_BYTES)))
    except (OSError, ValueError, RecursionError) as error:
        hint = "give the folder that `mergeometry compare --output` wrote"
        raise SourceError("the comparison cannot be read", file=path, hint=hint) from error


def comparison_from(content: Mapping[str, Any]) -> Comparison:
    """The comparison of its JSON.

    Raises:
        ValueError: a field is missing or of another type, or there is no row.
    """
    comparison = _COMPARISON.validate_python(content)
    if not (comparison.rows and comparison.seen and comparison.scales):
        raise ValueError("the comparison has no row")
    return comparison


def rows_of(comparison: Comparison, recipe: Mapping[str, Any]) -> list[CompareRow]:
    """The rows that merge as a recipe does, at whatever scale."""
    method, refine = recipe.get("method"), list(recipe.get("refine") or ())
    return [
        row
        for row in comparison.rows
        if row.method == method
        and _refined(row.refine) == _refined(refine)
        and (row.other is None or _named(row.other) == _named(recipe.get("other")))
    ]


def _named(choice: Any) -> Any:
    """A method by its name alone is the same as one without options."""
    return {"name": choice} if isinstance(choice, str) else choice


def _refined(steps: Sequence[Any]) -> list[Any]:
    return [_named(step) for step in steps]
