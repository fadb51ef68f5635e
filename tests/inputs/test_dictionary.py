"""A small Parquet file whose dictionary unpacks to gigabytes costs the memory of the dictionary."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from tests.helpers.text_files import parquet, refusal, texts


@pytest.mark.suite
def test_a_long_text_many_times_is_in_memory_once(tmp_path: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 1_000_000]))
    path = parquet(tmp_path / "bomb.parquet", text=words.cast(pa.string()).slice(0, 40))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    found = texts(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 40 and len({id(text) for text in found}) == 1
    assert peak < 10e6 and pa.total_allocated_bytes() - before < 10e6


def test_a_text_longer_than_is_read_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "long.parquet", text=["a", "x" * (17 * 1024 * 1024)])
    assert "longer than" in refusal(path)
