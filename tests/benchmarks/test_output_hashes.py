"""The hashes that hold a change to leaving results alone: what they cover, and what makes them differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mergeometry as mg
from benchmarks.studies import output_hashes
from benchmarks.studies.small_encoders import write_bert
from benchmarks.studies.small_models import write_encoder_adapters, write_encoders, write_gpt2
from tests.helpers import models


def test_every_recipe_fits_its_inputs(tmp_path: Path) -> None:
    for write in (write_encoders, write_encoder_adapters, write_gpt2, write_bert):
        write(tmp_path)
    recipes = output_hashes.recipes(tmp_path)
    plans = {name: mg.make_plan(recipe) for name, recipe in recipes.items()}
    assert len(plans) == 10
    used = {task.method_name for plan in plans.values() for task in plan.tasks}
    assert {"average", "dare", "iso_cts", "knots", "mda", "regmean", "rows", "ties", "tsv_m", "wudi"} <= used
    matrices = [task.name for task in plans["adapters_to_adapter"].tasks if task.outputs]
    assert len(matrices) == 5


def test_a_second_run_has_the_same_hashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = output_hashes.recipes
    few = ("sums", "spectral", "adapters_to_adapter")
    monkeypatch.setattr(output_hashes, "recipes", lambda folder: {name: whole(folder)[name] for name in few})
    for number in (1, 2):
        output_hashes.main(["--json", str(tmp_path / f"{number}.json")])
    first, second = ((tmp_path / f"{number}.json").read_text() for number in (1, 2))
    assert first == second
    hashes = json.loads(first)
    assert list(hashes) == list(few) and len(set(hashes.values())) == 3
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed == [[name, value] for name, value in hashes.items()] * 2


def test_names_and_bytes_and_heads_count(tmp_path: Path) -> None:
    models.write_model(tmp_path / "one", {"weight": torch.ones(2)})
    one = output_hashes.weights_hash(tmp_path / "one")
    models.write_model(tmp_path / "equal", {"weight": torch.ones(2)}, {"model_type": "bert"})
    assert output_hashes.weights_hash(tmp_path / "equal") == one
    models.write_model(tmp_path / "other", {"weight": torch.tensor([1.0, 1.0 + 2**-23])})
    assert output_hashes.weights_hash(tmp_path / "other") != one
    models.write_model(tmp_path / "one" / "heads", {"weight": torch.ones(2)})
    assert output_hashes.weights_hash(tmp_path / "one") != one
    (tmp_path / "equal" / "model.safetensors").rename(tmp_path / "equal" / "renamed.safetensors")
    assert output_hashes.weights_hash(tmp_path / "equal") != one
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="no weights"):
        output_hashes.weights_hash(tmp_path / "none")
