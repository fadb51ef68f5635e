"""Files of texts in every format, as other programs write them, and what reading them says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mergeometry.errors import MergeometryError
from mergeometry.inputs import read_texts
from mergeometry.recipe.inputs import DataSource

TEXTS = ["What is it?", 'A "quoted", text', "two\nlines", "naïve 文 🙂", "\ttabs\t"]


def texts(place: Path | str, **keys: Any) -> tuple[str, ...]:
    return read_texts(DataSource(path=str(place), **keys))


def refusal(place: Path | str, **keys: Any) -> str:
    with pytest.raises(MergeometryError) as caught:
        texts(place, **keys)
    said = str(caught.value)
    assert Path(place).name in said
    return said


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def parquet(path: Path, **columns: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def store(folder: Path, values: list[str], ending: str) -> Path:
    """Write texts beside a column of labels, as another program would."""
    path = folder / f"data{ending}"
    if ending == ".jsonl":
        return written(path, rows(*({"label": 3, "text": value} for value in values)))
    if ending == ".parquet":
        return parquet(path, label=list(range(len(values))), text=values)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if ending == ".tsv" else ",")
        writer.writerows([["label", "text"], *([3, value] for value in values)])
    return path
