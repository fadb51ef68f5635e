"""Columns of Parquet files: strings of every kind, refusals of the others, damaged files."""

from __future__ import annotations

from pathlib import Path

from mergeometry.errors import DataError, MergeometryError
from tests.helpers.text_files import TEXTS, parquet, refusal, store, texts, written


def test_parquet_columns_of_other_types(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", label=[1, 2], tokens=[["a"], ["b"]], raw=[b"a", b"b"])
    assert "holds values of type int64, not texts" in refusal(path, column="label")
    assert "not texts" in refusal(path, column="tokens") and "not texts" in refusal(path, column="raw")


def test_parquet_strings_of_every_kind(tmp_path: Path) -> None:
    import pyarrow as pa

    kinds = {"a": pa.string(), "b": pa.large_string(), "c": pa.dictionary(pa.int32(), pa.string()), "d.e": pa.string()}
    columns = {name: pa.array(["x", None, "y"], pa.string()).cast(kind) for name, kind in kinds.items()}
    path = parquet(tmp_path / "a.parquet", **columns)
    for name in kinds:
        assert texts(path, column=name) == ("x", "y")


def test_a_damaged_parquet_file_is_one_error(tmp_path: Path) -> None:
    content = store(tmp_path, TEXTS * 50, ".parquet").read_bytes()
    seen = 0
    for place in range(0, len(content), 23):
        try:
            texts(
                written(tmp_path / "b.parquet", content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
            )
        except MergeometryError:
            seen += 1
        try:
            texts(written(tmp_path / "b.parquet", content[:place]))
        except DataError:
            seen += 1
    assert seen > len(content) / 23
