"""Real experts merge by the names of their folders once the encoder that they name is in the hub's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

import mergeometry_suite
from mergeometry.plan.choice_of_method import FITTED
from mergeometry.sink import read_record
from mergeometry_suite.backbone import backbone
from tests.helpers.commands import invoke

EXPERTS = Path(mergeometry_suite.__file__).parent / "experts"
COMMIT = "a" * 40


@pytest.mark.suite
def test_real_experts_merge_by_the_names_of_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXPERTS)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refused = invoke("plan", "trec", "movie", "language")
    assert refused.exit_code == 1
    assert "trec: adapter_config.json names 'sentence-transformers/all-MiniLM-L6-v2'" in refused.output
    assert "--base hf://sentence-transformers/all-MiniLM-L6-v2" in refused.output
    repository = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "snapshots" / COMMIT).symlink_to(backbone())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    merged = invoke("merge", "trec", "movie", "language", "--output", tmp_path / "out")
    assert merged.exit_code == 0, merged.output
    record = read_record(tmp_path / "out")
    merge = FITTED["text adapters"]
    assert record.recipe["method"] == dict(merge.method)
    assert [step["name"] for step in record.recipe["refine"]] == list(merge.refine)
    assert any("3 adapters of a text model" in note for note in record.warnings)
