"""Unlabelled texts from every kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mergeometry import limits
from mergeometry.errors import DataError
from mergeometry.inputs.arrow import take_texts
from mergeometry.inputs.choice import note_of_limit, spread
from mergeometry.inputs.columns import check_size, refuse_numbers
from mergeometry.inputs.folders import files_below, is_folder
from mergeometry.inputs.lines import MARK, decoded, opened, text_lines
from mergeometry.inputs.saved import is_saved, read_named, read_saved
from mergeometry.inputs.tables import read_table
from mergeometry.recipe.inputs import DataSource

_COLUMN = "text"


def read_texts(source: DataSource) -> tuple[str, ...]:
    """Return the texts of a source, without empty ones, at most ``source.limit`` of them, spread evenly.

    A source is a .jsonl, .csv, .tsv or .parquet table with a column of texts (by default ``text``), a .txt file
    with one text per line, a folder of .txt files with one text each, a folder that the datasets library saved, or a
    data set's name. Everything is UTF-8.

    Raises:
        DataError: there are no texts, the column is missing or holds something else, or the source is malformed; the
            error names the line.
        SourceError: a file cannot be opened.
    """
    return texts_and_notes(source)[0]


def texts_and_notes(source: DataSource) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what `read_texts` does, and notes on what was left out of the source."""
    place = source.path or source.dataset or ""
    values = read_column(source)
    texts = [value for value in values if value.strip()]
    if not texts:
        raise DataError(f"all {len(values):,} texts are empty" if values else "there are no texts", file=place)
    chosen = spread(texts, source.limit)
    empty = len(values) - len(texts)
    notes = (f"{empty:,} empty texts of {len(values):,} are left out",) if empty else ()
    return chosen, notes + note_of_limit(len(chosen), len(texts))


def read_column(source: DataSource) -> list[str]:
    """Return every text of a source in its order, empty ones too; DataError and SourceError as `read_texts`."""
    column = source.column or _COLUMN
    if source.path is None:
        place, values = source.dataset or "", read_named(source, column, take_texts)
    else:
        place = Path(source.path)
        if is_folder(place) and is_saved(place):
            values = read_saved(place, source.split, column, take_texts)
        else:
            refuse_split(source)
            if is_folder(place) or place.suffix.lower() == ".txt":
                return _plain(source, place)
            values = read_table(place, column, take_texts)
    refuse_numbers(column, values, place)
    return values


def refuse_split(source: DataSource) -> None:
    """Raise DataError if a split is given for a source that has none."""
    if source.split is not None:
        hint = "leave `split` out, or give a `dataset`"
        raise DataError(f"only data sets have splits, such as {source.split!r}", file=source.path, hint=hint)


def _plain(source: DataSource, place: Path) -> list[str]:
    if source.column is not None:
        raise DataError(f"plain text has no columns, such as {source.column!r}", file=place, hint="leave it out")
    values: list[str] = []
    size = 0
    texts = _files(place) if is_folder(place) else (line.rstrip("\r\n") for _, line in text_lines(place))
    for text in texts:
        values.append(text)
        size += len(text)
        check_size(len(values), size, place)
    return values


def _files(folder: Path) -> Iterator[str]:
    for path in files_below(folder, {".txt"}, "text files"):
        with opened(path, limits.TEXT_BYTES) as file:
            yield decoded(file.read().removeprefix(MARK), path, "the text")
