"""A task's unlabelled texts: counted, named, and identified by what they say alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergeometry.errors import DataError, SourceError
from mergeometry.inputs import read_unlabelled, unlabelled_texts
from mergeometry.recipe.inputs import AdaptTask, DataSource
from tests.helpers.text_files import TEXTS, rows, store, written


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", rows({"text": " \n"}, {"text": "a"}, {"text": None}, {"text": ""}))
    found = read_unlabelled(AdaptTask(name="trec", data=DataSource(path=str(path))), "texts")
    assert found.items == ("a",) and found.kind == "texts"
    assert found.notes == ("3 empty texts of 4 are left out",)


def test_errors_name_the_task(tmp_path: Path) -> None:
    task = AdaptTask(name="trec", data=DataSource(path=str(tmp_path / "none.txt")))
    with pytest.raises(SourceError, match="model: trec"):
        read_unlabelled(task, "texts")


def test_the_digest_is_of_the_texts_alone(tmp_path: Path) -> None:
    def digest(values: list[str], ending: str, name: str = "t") -> str:
        path = store(tmp_path, values, ending)
        return read_unlabelled(AdaptTask(name=name, data=DataSource(path=str(path))), "texts").digest

    assert digest(TEXTS, ".csv") == digest(TEXTS, ".parquet", "u") == unlabelled_texts(TEXTS).digest
    others = [TEXTS[::-1], TEXTS[:-1], [*TEXTS, "x"], ["ab", "c"], ["a", "bc"], ["abc"]]
    assert len({unlabelled_texts(values).digest for values in others}) == len(others)


def test_texts_in_memory() -> None:
    assert unlabelled_texts(["a", "b"]).items == ("a", "b")
    with pytest.raises(DataError, match="no texts"):
        unlabelled_texts([])
    with pytest.raises(DataError, match="text 2 holds half a surrogate"):
        unlabelled_texts(["a", "\ud800"])
