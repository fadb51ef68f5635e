"""The page of architectures says what was measured, and no merge of them differs from the live model."""

from __future__ import annotations

import json

import pytest

from benchmarks.studies.architectures.catalogue import architectures
from benchmarks.studies.architectures.page import PAGE, RESULT, page_of

MERGES = ("average", "directional", "adapter", "adapters")


def test_the_page_is_written_from_the_kept_result() -> None:
    assert PAGE.read_text("utf-8") == page_of(json.loads(RESULT.read_text("utf-8")))


def test_every_architecture_has_a_row_and_none_differs() -> None:
    rows = json.loads(RESULT.read_text("utf-8"))["rows"]
    assert [row["architecture"] for row in rows] == [one.kind for one in architectures()]
    built = [row for row in rows if "failed" not in row]
    assert len({row["architecture"] for row in built}) >= 60
    assert [row["architecture"] for row in built if any(row[part].get("same") is False for part in MERGES)] == []


@pytest.mark.slow
def test_a_few_merge_as_their_live_models() -> None:
    from benchmarks.studies.architectures.run import run

    names = {"bert", "gpt2", "qwen2_moe", "granitemoe", "mamba", "t5", "vit", "llava"}
    rows = run([one for one in architectures() if one.kind in names])
    assert len(rows) >= len(names)
    for row in rows:
        assert all(row[part]["same"] for part in ("average", "directional")), row
