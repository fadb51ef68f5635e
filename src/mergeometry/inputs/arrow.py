"""Columns that Apache Arrow reads: Parquet files, and data sets that the datasets library loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mergeometry import limits
from mergeometry.errors import DataError, MergeometryError
from mergeometry.inputs.columns import check_size, column_place, not_texts
from mergeometry.inputs.extras import optional
from mergeometry.inputs.lines import opened

ROWS_AT_ONCE = 256  # a dictionary-encoded column can hold one long text many times over


@dataclass(frozen=True)
class Column:
    """One column of a table that Arrow reads: its name and type, its rows in pieces, and where it comes from."""

    name: str
    kind: Any
    rows: int
    pieces: Iterable[Any]
    place: Path | str


Value = TypeVar("Value")
Take = Callable[[Column], list[Value]]
"""A function that makes one value from each row of a column."""


def read_parquet(path: Path, column: str, take: Take[Value]) -> list[Value]:
    """Return what ``take`` makes of a column of a Parquet file, without reading the others.

    Raises:
        DataError: the file is not Parquet, lacks the column or holds too much, or pyarrow is missing.
        SourceError: the file cannot be opened.
    """
    parquet = optional("pyarrow.parquet", "data", "reading Parquet")
    with opened(path) as file:
        try:
            table = parquet.ParquetFile(file, pre_buffer=False)
            schema = table.schema_arrow
            place = column_place(column, schema.names, path)
            rows = table.metadata.num_rows
            check_size(rows, 0, path)
            _check_unpacked(table.metadata, column, path)
            if is_text(schema.field(place).type):
                # What the file stores as a dictionary stays one: unpacked, a long text may stand there many times.
                table = parquet.ParquetFile(file, pre_buffer=False, read_dictionary=[column])
            batches = table.iter_batches(batch_size=ROWS_AT_ONCE, columns=[column], use_threads=False)
            return take(Column(column, schema.field(place).type, rows, (batch.column(0) for batch in batches), path))
        except MergeometryError:
            raise
        # Arrow answers malformed files with OSError, ValueError and errors of its own.
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"the Parquet file cannot be read: {reason}", file=path) from error


def _check_unpacked(metadata: Any, column: str, path: Path) -> None:
    """Refuse a column whose pages unpack to more than is read, before one is unpacked."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            inside = chunk.path_in_schema == column or chunk.path_in_schema.startswith(f"{column}.")
            if inside and chunk.total_uncompressed_size > limits.DATA_BYTES:
                raise DataError(
                    f"column {column!r} unpacks to {chunk.total_uncompressed_size:,} bytes; at most "
                    f"{limits.DATA_BYTES:,} are read",
                    file=path,
                )


def _values(piece: Any) -> Iterable[str | None]:
    """The texts of a piece; equal ones of a dictionary are one text in memory."""
    if hasattr(piece, "dictionary"):
        words = piece.dictionary.to_pylist()
        return (None if place is None else words[place] for place in piece.indices.to_pylist())
    return piece.to_pylist()


def take_texts(column: Column) -> list[str]:
    """Return a column of strings, "" for nulls; DataError if the column is of another type."""
    if not is_text(column.kind):
        raise not_texts(column.name, f"values of type {column.kind}", column.place)
    values: list[str] = []
    size = 0
    for piece in column.pieces:
        for value in _values(piece):
            values.append(value or "")
            size += len(values[-1])
            if len(values[-1]) > limits.TEXT_BYTES:
                reason = f"the text of row {len(values):,} is longer than {limits.TEXT_BYTES:,} characters"
                raise DataError(reason, file=column.place)
        check_size(len(values), size, column.place)
    return values


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is one of its kinds of strings, dictionary-encoded or not."""
    types = optional("pyarrow.types", "data", "reading Arrow tables")
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
