"""The script that measures a GPU, on the CPU with shapes of a few entries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed import gpu
from mergeometry.errors import RecipeError


@pytest.mark.suite
def test_every_case_runs_and_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = tmp_path / "figures.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--json", str(figures)]) == 0
    result = json.loads(figures.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert [row["method"] for row in result["rows"]] == [*gpu.METHODS, *gpu.METHODS, "tsv_m"]
    assert all(row["error"] < 1e-5 and row["seconds"] > 0 for row in result["rows"])
    assert all(row["error"] < 1e-6 for row in result["solvers"])
    monkeypatch.setattr(gpu, "LIMIT", 0.0)
    assert gpu.main(["--device", "cpu", "--tiny"]) == 1
    assert "error" in capsys.readouterr().err


def test_a_machine_without_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RecipeError, match="PyTorch finds no GPU here"):
        gpu.main([])
