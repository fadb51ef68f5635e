"""The command that puts another model's tokenizer onto a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import invoke
from tests.helpers.vocabularies import bpe, model_of, saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, own, theirs = tmp_path_factory.mktemp("transplant"), bpe(), bpe("tables of tables meet " * 9, size=40)
    saved(place / "model", model_of("gpt2", own), own)
    saved(place / "donor", model_of("llama", theirs, 1), theirs)
    return place


def test_a_dry_run_tells_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    given = ["transplant", "--model", str(folder / "model"), "--donor", str(folder / "donor")]
    done = invoke(*given, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "would write" in done.output and "of the donor's" in done.output
    assert not list(tmp_path.iterdir())
    done = invoke(*given, "--output", str(tmp_path / "out"), "--rule", "mean", "--pad-to-multiple-of", "32", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["recipe"]["tokenizer"]["missing"] == "mean"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] % 32 == 0
    assert (tmp_path / "out" / "README.md").exists() and (tmp_path / "out" / "tokenizer.json").exists()


def test_what_it_does_not_take(folder: Path) -> None:
    given = ["transplant", "--model", str(folder / "model"), "--donor", str(folder / "donor")]
    assert "--rule is one of nearest, omp, mean" in invoke(*given, "--rule", "median", "--dry-run").output
    assert "--output says where to write" in invoke(*given).output
