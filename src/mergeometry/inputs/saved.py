"""Data sets of the datasets library: saved folders, and names that it resolves itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mergeometry.errors import DataError, MergeometryError
from mergeometry.inputs.arrow import ROWS_AT_ONCE, Column, Take, Value
from mergeometry.inputs.columns import check_size, column_place
from mergeometry.inputs.extras import optional
from mergeometry.recipe.inputs import DataSource
from mergeometry.words import nearest

_DEFAULT_SPLIT = "train"


def is_saved(folder: Path) -> bool:
    """Whether the folder is what the datasets library's ``save_to_disk`` writes: one data set, or one per split."""
    one = all(os.path.lexists(folder / name) for name in ("dataset_info.json", "state.json"))
    return one or os.path.lexists(folder / "dataset_dict.json")


def read_saved(folder: Path, split: str | None, column: str, take: Take[Value]) -> list[Value]:
    """Return what ``take`` makes of a column of a data set saved on disk; by default of its split ``train``.

    Raises:
        DataError: the folder cannot be loaded, or the split or column is missing.
    """
    datasets = _library()
    for path in folder.rglob("*"):
        # The library would wait on a pipe for ever.
        if not (path.is_dir() or path.is_file()):
            raise DataError("a data set holds something that is no regular file", file=path)
    with _in_words(datasets, folder):
        dataset = datasets.load_from_disk(str(folder))
        if isinstance(dataset, datasets.DatasetDict):
            name = split or _DEFAULT_SPLIT
            if name not in dataset:
                others = nearest(name, list(dataset)) if split else f"; name one of: {', '.join(dataset)}"
                raise DataError(f"there is no split {name!r}{others}", file=folder)
            dataset = dataset[name]
        elif split is not None:
            raise DataError(f"the folder holds one data set without splits, not a split {split!r}", file=folder)
        return _taken(dataset, column, take, folder)


def read_named(source: DataSource, column: str, take: Take[Value]) -> list[Value]:
    """Return what ``take`` makes of a column of a data set that the datasets library loads by its name.

    Raises:
        DataError: the library finds no such name, configuration, split or column.
    """
    datasets = _library()
    name = source.dataset
    assert name is not None
    with _in_words(datasets, name):
        dataset = datasets.load_dataset(name, source.config, split=source.split or _DEFAULT_SPLIT)
        return _taken(dataset, column, take, name)


def _taken(dataset: Any, column: str, take: Take[Value], place: Path | str) -> list[Value]:
    column_place(column, dataset.column_names, place)
    check_size(dataset.num_rows, 0, place)
    kind = dataset.features.arrow_schema.field(column).type
    pieces = dataset.select_columns([column]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    return take(Column(column, kind, dataset.num_rows, (piece.column(0) for piece in pieces), place))


def _library() -> Any:
    return optional("datasets", "data", "reading a data set of the datasets library")


@contextmanager
def _in_words(datasets: Any, place: Path | str) -> Iterator[None]:
    """Silence the library's progress bars, and turn its many kinds of errors into one."""
    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except MergeometryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        hint = "without network, give a file, or a folder written by save_to_disk: data: {path: ...}"
        raise DataError(f"the datasets library cannot load it: {reason}", file=place, hint=hint) from error
    finally:
        if not silent:
            datasets.enable_progress_bars()
