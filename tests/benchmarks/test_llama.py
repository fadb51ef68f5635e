"""The Llama that speed is measured on: the sizes that the page names, and the comparison of two outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.speed import llama, llama_models
from benchmarks.speed.sizes import LLAMA_HALF_B, Llama
from mergeometry.methods import registry


def test_every_method_is_ours_and_the_model_has_half_a_billion_parameters() -> None:
    assert {row.method for row in llama.ROWS} <= set(registry.names())
    assert 490_000_000 < LLAMA_HALF_B.parameters < 500_000_000


def test_fine_tunes_differ_and_are_written_once(tmp_path: Path) -> None:
    tiny = Llama("tiny", 1, 8, 12, tasks=2, adapter_rank=2, words=16, head=4, keys=4, tied=True)
    places = llama_models.write(tmp_path, tiny, 2)
    stamps = [(place / "model.safetensors").stat().st_mtime_ns for place in places]
    assert llama_models.write(tmp_path, tiny, 2) == places
    assert [(place / "model.safetensors").stat().st_mtime_ns for place in places] == stamps
    found = llama.apart(places[0], places[1], places[2], llama.ROWS[0])
    assert found["tensors"] == 11 and 1.0 < found["median"] < 2.0  # two independent updates of one size
    assert llama.apart(places[0], places[1], places[1], llama.ROWS[0])["worst"] == 0.0


def test_recipes_for_mergekit_name_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = type("Environment", (), {"program": lambda _self, name: Path(name)})()
    monkeypatch.setattr(llama, "MERGEKIT", program)
    places = [tmp_path / name for name in ("base", "task0", "task1", "task2")]
    for row in llama.ROWS:
        llama._mergekit(row, places, tmp_path)
        recipe = json.loads((tmp_path / f"mergekit-{row.method}.json").read_text())
        expected = str(places[1]) if row.method == "slerp" else str(places[0]) if row.with_base else None
        assert recipe.get("base_model") == expected and len(recipe["models"]) == row.tasks


def test_random_updates_are_compared_by_size(tmp_path: Path) -> None:
    for name, value in {"base": 0.0, "one": 1.0, "two": -2.0}.items():
        (tmp_path / name).mkdir()
        save_file({"weight": torch.full((4,), value)}, tmp_path / name / "model.safetensors")
    row = next(row for row in llama.ROWS if row.random)
    assert llama.apart(tmp_path / "base", tmp_path / "one", tmp_path / "two", row)["worst"] == 0.5
