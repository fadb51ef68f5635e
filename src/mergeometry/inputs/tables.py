"""Tables on disk, whatever their format."""

from __future__ import annotations

from pathlib import Path

from mergeometry.errors import DataError
from mergeometry.inputs.arrow import Take, Value, read_parquet
from mergeometry.inputs.delimited import read_delimited
from mergeometry.inputs.jsonl import read_jsonl, text

TABLES = (".jsonl", ".csv", ".tsv", ".parquet")


def read_table(path: Path, column: str, take: Take[Value]) -> list[Value] | list[str]:
    """Return a column of a table: its texts, or what ``take`` makes of it if the table is Parquet.

    Raises:
        DataError: the ending is unknown, the column is missing, or the table is malformed; the error names the line.
        SourceError: the file cannot be opened.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        return read_parquet(path, column, take)
    if ending == ".jsonl":
        return read_jsonl(path, column, text)
    if ending in {".csv", ".tsv"}:
        return read_delimited(path, column, "," if ending == ".csv" else "\t")
    raise DataError(
        f"files that end in {ending!r} are not read" if ending else "the file's name has no ending",
        file=path,
        hint=f"give a {', '.join(TABLES)} or .txt file, a folder of .txt files or images, or the name of a `dataset`",
    )
