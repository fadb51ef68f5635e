"""CSV and TSV: a header line, then rows of as many fields."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import DataError
from mergeometry.inputs.columns import check_size, column_place
from mergeometry.inputs.lines import text_lines


def read_delimited(path: Path, column: str, delimiter: str) -> list[str]:
    """Return the column's field of each row; empty lines are skipped.

    Fields that hold the delimiter, quotes or line breaks are quoted, quotes inside them doubled.

    Raises:
        DataError: a line is not UTF-8, a row has more or fewer fields than the header, or a quote never ends.
        SourceError: the file cannot be read.
    """
    values: list[str] = []
    size = 0
    with _long_fields():
        # The lines keep their ends, which a quoted field may hold.
        rows = csv.reader((line for _, line in text_lines(path)), delimiter=delimiter, strict=True)
        header = _next(rows, path)
        if header is None:
            return []
        place = column_place(column, header, path)
        while (row := _next(rows, path)) is not None:
            if len(row) != len(header):
                raise DataError(
                    f"the row that ends in line {rows.line_num:,} has {len(row)} fields, but the header {len(header)}",
                    file=path,
                    hint=f"quote fields that hold {'tabs' if delimiter == chr(9) else 'commas'} or line breaks",
                )
            values.append(row[place])
            size += len(row[place])
            check_size(len(values), size, path)
    return values


def _next(rows: Iterator[list[str]], path: Path) -> list[str] | None:
    """Return the next row that holds anything, None at the end."""
    try:
        return next((row for row in rows if row), None)
    except csv.Error as error:
        line = getattr(rows, "line_num", 0)
        reason = f"the table cannot be read near line {line:,}: {error}"
        raise DataError(reason, file=path, hint="double the quotes inside quoted fields") from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let fields be as long as texts; the module's own cap of 131,072 characters is set for the whole process."""
    before = csv.field_size_limit(limits.TEXT_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)
