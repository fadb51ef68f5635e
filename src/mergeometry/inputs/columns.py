"""What every table has in common: columns found by their names, and texts that are texts."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import DataError
from mergeometry.words import nearest

_NAMES_SHOWN = 20


def column_place(column: str, columns: Sequence[str], file: Path | str) -> int:
    """Return the position of the column.

    Raises:
        DataError: the column is missing (the error lists all columns and suggests the nearest), the table names it
            twice, or the table has too many columns.
    """
    if len(columns) > limits.DATA_COLUMNS:
        raise DataError(f"the table has {len(columns):,} columns; at most {limits.DATA_COLUMNS:,} are read", file=file)
    places = [place for place, name in enumerate(columns) if name == column]
    if len(places) == 1:
        return places[0]
    if places:
        raise DataError(f"the table has {len(places)} columns named {column!r}", file=file)
    raise missing(f"there is no column {column!r}", column, columns, file)


def missing(what: str, column: str, columns: Sequence[str], file: Path | str) -> DataError:
    """Return the error for a column that is not there: those that are, and how to ask for one of them."""
    shown = [reprlib.repr(name) for name in columns[:_NAMES_SHOWN]]
    there = ", ".join(shown) + (", ..." if len(columns) > _NAMES_SHOWN else "")
    close = nearest(column, list(columns)) if columns else ""
    guess = f"{close} Columns:" if close.startswith(", did") else "; columns:"
    return DataError(
        f"{what}{guess} {there or 'none'}",
        file=file,
        hint="name the column of texts or image paths: data: {path: ..., column: ...}",
    )


def refuse_numbers(column: str, values: Sequence[str], file: Path | str) -> None:
    """Raise DataError if every value reads as a number: such a column holds labels, not texts."""
    filled = [value for value in values if value.strip()]
    if filled and all(map(_is_number, filled)):
        raise not_texts(column, f"numbers ({reprlib.repr(filled[0])}, ...)", file)


def not_texts(column: str, what: str, file: Path | str) -> DataError:
    """Return the error for a column that holds something else."""
    return DataError(f"column {column!r} holds {what}, not texts", file=file, hint="name the column of the texts")


def check_size(count: int, size: int, file: Path | str) -> None:
    """Raise DataError if a source holds more items or characters than are kept in memory."""
    if count > limits.DATA_ITEMS or size > limits.DATA_BYTES:
        raise DataError(
            f"there are more than {limits.DATA_ITEMS:,} items or {limits.DATA_BYTES:,} characters here",
            file=file,
            hint="a few thousand are enough: shorten it",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
