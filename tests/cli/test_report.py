"""`mergeometry report`: where its page goes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import mergeometry as mg
from tests.helpers import models
from tests.helpers.commands import invoke


def test_the_page_goes_beside_the_output_which_stays_as_it_is(tmp_path: Path) -> None:
    tensors = models.random_tensors(0)
    base = models.write_model(tmp_path / "base", tensors)
    tuned = [models.write_model(tmp_path / f"task{seed}", models.tuned(tensors, seed)) for seed in (1, 2)]
    mg.merge(base=base, models=tuned, method="average", output=tmp_path / "out", workers=1)
    before = models.file_hashes(tmp_path / "out")
    done = invoke("report", tmp_path / "out", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert "held in the merge" in done.output and "0.5" in done.output
    assert sorted(path.name for path in (tmp_path / "out-report").iterdir()) == ["index.html", "inspection.json"]
    assert models.file_hashes(tmp_path / "out") == before
    shown = invoke("report", tmp_path / "out", "--output", tmp_path / "page", "--workers", "1", "--json")
    figures = json.loads(shown.stdout)
    assert figures["output"]["digest"] == figures["record"]["digest"]
    refused = invoke("report", tmp_path / "out", "--output", tmp_path / "out" / "report")
    assert refused.exit_code == 1 and "folder of an input" in refused.output
    refused = invoke("report", base)
    assert refused.exit_code == 1 and "mergeometry merge" in refused.output
