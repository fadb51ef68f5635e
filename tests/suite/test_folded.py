"""Real adapters, folded into the encoder as people publish them, are merged by `method: auto` as the adapters are."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import mergeometry as mg
from mergeometry.plan.choice_of_method import FITTED
from mergeometry_suite.backbone import backbone
from mergeometry_suite.experts import SHIPPED

TASKS = ("trec", "movie")
MODEL = "model.safetensors"


def folds(place: Path, dtype: str) -> list[Path]:
    """Each adapter added to the encoder, and rounded."""
    for task in TASKS:
        recipe = {"base": str(backbone()), "models": [str(SHIPPED / task)], "output": {"dtype": dtype}}
        mg.merge({**recipe, "method": "task_arithmetic"}, place / task, workers=1)
    return [place / task for task in TASKS]


@pytest.mark.suite
@pytest.mark.parametrize(("dtype", "apart"), [("float32", 1e-5), ("float16", 0.01), ("bfloat16", 0.1)])
def test_folds_merge_as_their_adapters(tmp_path: Path, dtype: str, apart: float) -> None:
    keys = {"base": str(backbone()), "output": {"dtype": "float32"}}
    run = mg.merge({**keys, "models": list(map(str, folds(tmp_path, dtype)))}, tmp_path / "folds", workers=1)
    merge = FITTED["text adapters"]
    assert run.recipe["method"] == {**merge.method, "rank": 16} and run.recipe["scale"] == merge.scale
    assert [step["name"] for step in run.recipe["refine"]] == list(merge.refine)
    assert "2 folded adapters of a text model" in run.warnings[0] and "of low rank" in run.warnings[2]
    mg.merge({**keys, "models": [str(SHIPPED / task) for task in TASKS]}, tmp_path / "adapters", workers=1)
    start, found, wanted = (
        load_file(folder / MODEL) for folder in (backbone(), *map(tmp_path.joinpath, ("folds", "adapters")))
    )
    moved = [name for name in start if start[name].is_floating_point() and not start[name].equal(wanted[name])]
    off = sum(float((found[name] - wanted[name]).double().square().sum()) for name in moved)
    whole = sum(float((wanted[name] - start[name]).double().square().sum()) for name in moved)
    assert moved and (off / whole) ** 0.5 < apart


@pytest.mark.suite
def test_folds_beside_a_full_fine_tune_are_merged_as_that(tmp_path: Path) -> None:
    weights = load_file(backbone() / MODEL)
    for name, tensor in weights.items():
        weights[name] = tensor + 0.05 * tensor.flip(0) if tensor.is_floating_point() else tensor
    (tmp_path / "full").mkdir()
    save_file(weights, tmp_path / "full" / MODEL)
    plan = mg.make_plan(base=str(backbone()), models=[*map(str, folds(tmp_path, "float32")), str(tmp_path / "full")])
    assert plan.recipe.method.name == FITTED["full"].method["name"] and "3 full fine-tunes" in plan.notes[0]
