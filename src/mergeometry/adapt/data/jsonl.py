"""JSON Lines: one object a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.adapt.data.columns import check_size, column_place, missing
from mergeometry.adapt.data.lines import raw_lines
from mergeometry.errors import DataError
from mergeometry.sources.strict_json import parse_object


def read_jsonl(path: Path, column: str) -> list[str]:
    """Return the column's text of each line, "" for null; lines without anything are skipped.

    Raises DataError or SourceError, naming the line, for what is not UTF-8 or no JSON object, for a line without
    the column and for a value that is no text.
    """
    values: list[str] = []
    size = 0
    for number, raw in raw_lines(path):
        if not raw.strip():
            continue
        # Other columns may hold NaN, which many programs write although JSON has none.
        row = parse_object(raw, path, f"JSON in line {number:,}", nesting=limits.JSON_NESTING, finite=False)
        if not values:
            column_place(column, list(row), path)
        values.append(_text(row, column, number, path))
        size += len(values[-1])
        check_size(len(values), size, path)
    return values


def _text(row: Mapping[str, Any], column: str, number: int, path: Path) -> str:
    if column not in row:
        raise missing(f"Line {number:,} has no column {column!r}", column, list(row), path)
    value = row[column]
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    kind = {bool: "a truth value", list: "an array", dict: "an object"}.get(type(value), "a number")
    hint = "name the column of the texts"
    raise DataError(f"Column {column!r} holds {kind} in line {number:,}, not a text.", file=path, hint=hint)
