"""Data sets of the datasets library, on disk and by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mergeometry.errors import DataError
from mergeometry.inputs import read_texts
from mergeometry.recipe.inputs import DataSource
from tests.helpers.text_files import TEXTS, refusal, rows, texts, written


def library(values: list[str], **columns: Any) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"text": values, **columns})


def test_a_data_set_saved_on_disk(tmp_path: Path) -> None:
    saved = library(TEXTS, label=list(range(5)))
    saved.save_to_disk(tmp_path / "one")
    assert texts(tmp_path / "one") == tuple(TEXTS)
    saved.select([4, 0]).save_to_disk(tmp_path / "chosen")
    assert texts(tmp_path / "chosen", limit=1) == (TEXTS[4],)
    assert "no column 'txet', did you mean 'text'?" in refusal(tmp_path / "one", column="txet")
    assert "values of type int64, not texts" in refusal(tmp_path / "one", column="label")
    assert "one data set without splits" in refusal(tmp_path / "one", split="train")


def test_splits_of_a_data_set_saved_on_disk(tmp_path: Path) -> None:
    import datasets

    splits = datasets.DatasetDict({"train": library(["a", "b"]), "test": library(["c"])})
    splits.save_to_disk(tmp_path / "all")
    assert texts(tmp_path / "all") == ("a", "b") and texts(tmp_path / "all", split="test") == ("c",)
    assert "no split 'tset', did you mean 'test'?" in refusal(tmp_path / "all", split="tset")
    datasets.DatasetDict({"other": library(["c"])}).save_to_disk(tmp_path / "other")
    assert "no split 'train'; name one of: other" in refusal(tmp_path / "other")


def test_a_damaged_saved_data_set_is_one_error(tmp_path: Path) -> None:
    library(TEXTS).save_to_disk(tmp_path / "one")
    for name in ["state.json", "dataset_info.json"]:
        content = (tmp_path / "one" / name).read_bytes()
        written(tmp_path / "one" / name, b"{")
        assert "datasets library cannot load it" in refusal(tmp_path / "one")
        written(tmp_path / "one" / name, content)
    data = next((tmp_path / "one").glob("*.arrow"))
    data.write_bytes(b"nonsense")
    assert "datasets library cannot load it" in refusal(tmp_path / "one")
    data.unlink()
    os.mkfifo(data)  # the library would wait
    assert "no regular file" in refusal(tmp_path / "one")


def test_a_data_set_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    # The library takes a local folder wherever it takes the name of a data set on the hub.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    written(tmp_path / "set/train.jsonl", rows({"text": "a", "label": 1}, {"text": "b", "label": 0}))
    written(tmp_path / "set/test.jsonl", rows({"text": "c", "label": 1}))
    name = str(tmp_path / "set")
    assert read_texts(DataSource(dataset=name)) == ("a", "b")
    assert read_texts(DataSource(dataset=name, split="test")) == ("c",)
    with pytest.raises(DataError, match="no column 'body'"):
        read_texts(DataSource(dataset=name, column="body"))
    with pytest.raises(DataError, match="datasets library cannot load it"):
        read_texts(DataSource(dataset=name, split="dev"))
    with pytest.raises(DataError, match="datasets library cannot load it"):
        read_texts(DataSource(dataset=str(tmp_path / "none")))


def test_progress_bars_of_the_library_are_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import datasets

    library(TEXTS * 1000).save_to_disk(tmp_path / "one")
    capfd.readouterr()
    before = datasets.are_progress_bars_disabled()
    texts(tmp_path / "one")
    assert datasets.are_progress_bars_disabled() == before
    assert capfd.readouterr() == ("", "")
