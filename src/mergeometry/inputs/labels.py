"""Labelled inputs for scoring: texts or images with their classes, from the same kinds of tables as unlabelled data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry.errors import DataError
from mergeometry.inputs.arrow import Column, is_text, take_texts
from mergeometry.inputs.choice import note_of_limit, spread
from mergeometry.inputs.columns import check_size
from mergeometry.inputs.extras import optional
from mergeometry.inputs.folders import is_folder
from mergeometry.inputs.images import check_images, image_paths
from mergeometry.inputs.jsonl import read_jsonl, text_or_number
from mergeometry.inputs.saved import is_saved, read_named, read_saved
from mergeometry.inputs.tables import read_table
from mergeometry.inputs.texts import read_column
from mergeometry.inputs.unlabelled import Kind, digest_of_texts, naming
from mergeometry.recipe.inputs import DataSource
from mergeometry.words import nearest

_COLUMN = "label"
_SHOWN = 8


@dataclass(frozen=True)
class LabelledData:
    """Texts, or images by their paths, each with the number of its class; ``digest`` covers both."""

    items: tuple[str, ...] | tuple[Path, ...]
    labels: tuple[int, ...]
    kind: Kind
    notes: tuple[str, ...]
    digest: str


def read_labelled(
    source: DataSource, label: str | None, kind: Kind, task: str, count: int, classes: Sequence[str] | None = None
) -> LabelledData:
    """Read a task's inputs with their classes, at most ``source.limit`` of them, spread evenly, without empty texts.

    A class is a whole number from 0 to ``count - 1``, a row of the task's head; or one of ``classes``, which are in
    the order of those rows. Labels are in the column ``label``, by default "label", of the same table.

    Raises:
        DataError: data are missing or malformed, or labels are missing or unknown; the error names the task.
        SourceError: a file cannot be opened.
    """
    with naming(task):
        values = read_column(source) if kind == "texts" else image_paths(source)
        column = label or _COLUMN
        given = _labels(source, column)
        place = source.path or source.dataset or ""
        if len(given) != len(values):
            raise DataError(f"there are {len(values):,} inputs and {len(given):,} labels", file=place)
        filled = [row for row, value in enumerate(values) if kind == "images" or str(value).strip()]
        if not filled:
            raise DataError("there is nothing to score", file=place)
        chosen = spread(filled, source.limit)
        labels = tuple(_class(given[row], row, column, count, classes, place) for row in chosen)
        empty = len(values) - len(filled)
        notes = (f"{empty:,} empty texts of {len(values):,} are left out",) if empty else ()
        notes += note_of_limit(len(chosen), len(filled))
        if kind == "texts":
            texts = tuple(str(values[row]) for row in chosen)
            return LabelledData(texts, labels, kind, notes, _digest(digest_of_texts(texts), labels))
        paths = tuple(Path(values[row]) for row in chosen)
        digest, converted = check_images(paths)
        return LabelledData(paths, labels, kind, (*notes, *converted), _digest(digest, labels))


def _labels(source: DataSource, column: str) -> Sequence[str | int]:
    if source.path is None:
        return read_named(source, column, _taken)
    place = Path(source.path)
    if is_folder(place) and is_saved(place):
        return read_saved(place, source.split, column, _taken)
    if is_folder(place) or place.suffix.lower() == ".txt":
        raise DataError(
            "plain files have no labels", file=place, hint="give a .jsonl, .csv, .tsv or .parquet table with a column "
            f"of classes: {{path: ..., label: {column}}}",
        )  # fmt: skip
    if place.suffix.lower() == ".jsonl":
        return read_jsonl(place, column, text_or_number)
    return read_table(place, column, _taken)


def _taken(column: Column) -> list[str | int]:
    if is_text(column.kind):
        return [*take_texts(column)]
    types: Any = optional("pyarrow.types", "data", "reading Arrow tables")
    if not types.is_integer(column.kind):
        raise DataError(f"column {column.name!r} holds values of type {column.kind}, not classes", file=column.place)
    labels: list[str | int] = []
    for piece in column.pieces:
        labels += ["" if value is None else value for value in piece.to_pylist()]
        check_size(len(labels), 0, column.place)
    return labels


def _class(
    given: str | int, row: int, column: str, count: int, classes: Sequence[str] | None, place: Path | str
) -> int:
    """The row of the head that a label stands for."""
    where = f"row {row + 1:,}, column {column!r}"
    if classes is not None and isinstance(given, str):
        if given in classes:
            return list(classes).index(given)
        raise DataError(f"the label {given!r} ({where}) is not a class{nearest(given, list(classes))}", file=place)
    try:
        number = int(given)
    except ValueError as error:
        raise DataError(
            f"the label {given!r} ({where}) is not a number", file=place,
            hint="say which row of the head each class is: classes: [first, second, ...] next to the task's name",
        ) from error  # fmt: skip
    if not 0 <= number < count:
        raise DataError(f"the label {number} ({where}) is not one of the head's classes, 0 to {count - 1}", file=place)
    return number


def _digest(inputs: str, labels: Sequence[int]) -> str:
    return hashlib.sha256(f"{inputs} {list(labels)}".encode()).hexdigest()
