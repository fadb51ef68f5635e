"""JSON Lines: one object per line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mergeometry import limits
from mergeometry.errors import DataError
from mergeometry.inputs.columns import check_size, column_place, missing
from mergeometry.inputs.lines import raw_lines
from mergeometry.strict_json import parse_object

Value = TypeVar("Value", str, str | int)


def read_jsonl(path: Path, column: str, value_of: Callable[[Any, str, int, Path], Value]) -> list[Value]:
    """Return what ``value_of`` makes of the column in each line (`text` or `text_or_number`); empty lines are skipped.

    Raises:
        SourceError: a line is not UTF-8 or not a JSON object; the error names the line.
        DataError: a line lacks the column or has a value of another kind; the error names the line.
    """
    values: list[Value] = []
    size = 0
    for number, raw in raw_lines(path):
        if not raw.strip():
            continue
        # Other columns may hold NaN, which many programs write although JSON has none.
        row = parse_object(raw, path, f"JSON in line {number:,}", nesting=limits.JSON_NESTING, finite=False)
        if not values:
            column_place(column, list(row), path)
        if column not in row:
            raise missing(f"line {number:,} has no column {column!r}", column, list(row), path)
        values.append(value_of(row[column], column, number, path))
        size += len(str(values[-1]))
        check_size(len(values), size, path)
    return values


def text_or_number(value: Any, column: str, number: int, path: Path) -> str | int:
    """A label: a whole number as it is, or a text as `text` reads it."""
    return value if type(value) is int else text(value, column, number, path)


def text(value: Any, column: str, number: int, path: Path) -> str:
    """A text, "" for null; DataError for anything else."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    kind = {bool: "a boolean", list: "an array", dict: "an object"}.get(type(value), "a number")
    hint = "name the column of the texts"
    raise DataError(f"column {column!r} holds {kind} in line {number:,}, not a text", file=path, hint=hint)
