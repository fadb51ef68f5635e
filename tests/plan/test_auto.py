"""`method: auto`: what is chosen by what the models are, why, and that the recipe says so from then on."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import RecipeError
from mergeometry.methods import registry
from mergeometry.plan.choice_of_method import ALIKE, FITTED, PLAIN, Facts, Merge, choose_method
from mergeometry.plan.likeness import base_cosine, sample
from mergeometry.recipe import load_recipe
from mergeometry.sources import Checkpoint, open_model
from tests.helpers import models


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return models.write_family(tmp_path_factory.mktemp("auto"), count=4, adapters=2)


def at_rank(rank: int, merge: Merge) -> Merge:
    return replace(merge, method={**merge.method, "rank": rank})


@pytest.mark.parametrize(
    ("facts", "merge"),
    [
        (Facts(models=8, adapters=8, kind="text", likeness=0.02), FITTED["text adapters"]),
        (Facts(models=3, adapters=2, kind="image", likeness=0.02), FITTED["image adapters"]),
        (Facts(models=8, adapters=0, kind="image", likeness=0.02), FITTED["full"]),
        (Facts(models=3, adapters=1), FITTED["full"]),
        (Facts(models=3, adapters=2, kind="causal"), PLAIN),
        (Facts(models=3, adapters=2), PLAIN),
        (Facts(models=3, adapters=3, kind="text", learns=True), PLAIN),
        (Facts(models=3, adapters=3, kind="image", learns=True), PLAIN),
        (Facts(models=3, adapters=3, kind="image", matrices=False), PLAIN),
        (Facts(models=3, adapters=0, learns=True), FITTED["full"]),
        (Facts(models=8, adapters=0, kind="text", likeness=0.02, folded=8), at_rank(8, FITTED["text adapters"])),
        (Facts(models=3, adapters=1, kind="text", folded=4), at_rank(4, FITTED["text adapters"])),
        (Facts(models=8, adapters=0, kind="image", folded=8), FITTED["image adapters"]),
        (Facts(models=3, adapters=0, kind="causal", folded=8), at_rank(8, PLAIN)),
        (Facts(models=3, adapters=0, kind="text", folded=8, learns=True), at_rank(8, PLAIN)),
        (Facts(models=3, adapters=0, folded=8, likeness=ALIKE + 0.01), Merge({"name": "average"})),
        (Facts(models=3, adapters=0, folded=8, inputs=True), Merge({"name": "esm"})),
        (Facts(models=3, adapters=3, likeness=ALIKE + 0.01), Merge({"name": "average"})),
        (Facts(models=1, adapters=1), Merge({"name": "average"})),
        (Facts(models=3, adapters=0, inputs=True), Merge({"name": "esm"})),
    ],
)
def test_the_first_rule_that_holds_chooses(facts: Facts, merge: Merge) -> None:
    choice = choose_method(facts)
    assert choice.merge == merge
    looked, chose, because = choice.reasons
    assert looked.startswith("auto: looked at ") and chose == f"auto: chose {choice.merge}" and "because" in because


def test_a_recipe_without_a_method_is_planned_and_recorded_with_the_one_that_was_chosen(
    family: dict[str, Any], tmp_path: Path
) -> None:
    keys = {"base": family["base"], "models": family["models"][:2]}
    run = mg.merge(**keys, output=tmp_path / "out")
    chosen = run.recipe
    assert chosen["method"] == dict(FITTED["full"].method) and chosen["heads"] == []
    assert sum(note.startswith("auto: ") for note in run.warnings) == 3
    again = mg.merge(chosen, output=tmp_path / "again")
    assert again.digest == run.digest and not any(note.startswith("auto: ") for note in again.warnings)


def test_keys_that_are_given_stay(family: dict[str, Any]) -> None:
    adapters = {"base": family["base"], "models": family["models"][2:]}
    chosen = mg.make_plan(**adapters).recipe
    assert chosen.method.name == PLAIN.method["name"]
    assert chosen.scale == PLAIN.scale == 0.5
    told = mg.make_plan(**adapters, method="auto", scale=0.4, other="ties").recipe
    assert told.method == chosen.method and told.scale == 0.4 and told.other is not None and told.other.name == "ties"
    assert mg.make_plan(**adapters, method="average").recipe.method.name == "average"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Adapters of a model whose configuration says that it reads text."""
    family = models.write_family(tmp_path_factory.mktemp("adapters"), count=2, adapters=2)
    (Path(family["base"]) / "config.json").write_text(json.dumps({"vocab_size": 40}))
    return family


def test_a_refinement_is_chosen_planned_recorded_and_merged_with(adapters: dict[str, Any], tmp_path: Path) -> None:
    merge = FITTED["text adapters"]
    run = mg.merge(**adapters, output=tmp_path / "out")
    assert run.recipe["method"] == dict(merge.method) and run.recipe["scale"] == merge.scale
    assert [step["name"] for step in run.recipe["refine"]] == list(merge.refine) != []
    assert f"auto: chose {merge}" in run.warnings and f"refine: [{', '.join(merge.refine)}]" in str(merge)
    again = mg.merge(run.recipe, output=tmp_path / "again")
    named = mg.merge(**adapters, method=merge.method, refine=list(merge.refine), output=tmp_path / "named")
    assert again.digest == named.digest == run.digest
    thin = mg.merge({**adapters, "scale": 0.3, "output": {"adapter": True}}, tmp_path / "thin")
    assert thin.recipe["scale"] == 0.3 and thin.recipe["refine"] == run.recipe["refine"]
    assert mg.make_plan(**adapters, refine=[]).recipe.refine == ()


def test_learning_starts_from_a_merge_with_a_part_for_each_task(adapters: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    tasks = [{"name": Path(model).name, "data": str(tmp_path / "texts.txt")} for model in adapters["models"]]
    plan = mg.make_plan({**adapters, "adapt": {"tasks": tasks}})
    assert plan.recipe.method.name == PLAIN.method["name"] and plan.recipe.refine == ()
    assert "a part for each task" in plan.notes[2]


def test_copies_are_averaged(family: dict[str, Any], tmp_path: Path) -> None:
    first = models.loaded(Path(family["models"][0]))
    models.write_model(tmp_path / "near", {name: tensor + 1e-3 for name, tensor in first.items()})
    plan = mg.make_plan(base=family["base"], models=[family["models"][0], tmp_path / "near"])
    assert plan.recipe.method.name == "average" and "cosine of two updates: 1.00" in plan.notes[0]


def test_the_cosines_are_those_of_the_whole_matrices(family: dict[str, Any]) -> None:
    base = open_model(family["base"], "base")
    assert isinstance(base, Checkpoint)
    opened = [open_model(path, str(place)) for place, path in enumerate(family["models"])]
    stored = models.loaded(Path(family["base"]))

    def update(path: str) -> torch.Tensor:
        if (Path(path) / "adapter_config.json").exists():
            factors = models.loaded(Path(path), "adapter_model")
            scaling = opened[family["models"].index(path)].deltas["layer.0.dense.weight"].scaling  # type: ignore[union-attr]
            parts = [
                scaling * factors[f"base_model.model.{module}.lora_B.weight"]
                @ factors[f"base_model.model.{module}.lora_A.weight"]
                for module in models.MODULES
            ]  # fmt: skip
        else:
            tensors = models.loaded(Path(path))
            parts = [tensors[f"{module}.weight"] - stored[f"{module}.weight"] for module in models.MODULES]
        return torch.cat([part.flatten() for part in parts]).double()

    updates = torch.stack([update(path) for path in family["models"]])
    directions = torch.nn.functional.normalize(updates)
    cosines = directions @ directions.T
    expected = min(cosines[i, j].item() for i in range(4) for j in range(i))
    assert sample(base, opened).likeness == pytest.approx(expected, abs=1e-5)
    assert sample(base, opened[:1]).likeness is None
    assert isinstance(opened[0], Checkpoint) and 0.9 < (base_cosine(base, opened[0]) or 0) < 1


def test_what_auto_cannot_have(family: dict[str, Any]) -> None:
    keys = {"base": "b", "models": ["m"]}
    with pytest.raises(RecipeError, match=r"method\.rank: `method: auto` chooses the method and its parameters"):
        load_recipe({**keys, "method": {"name": "auto", "rank": 3}})
    with pytest.raises(RecipeError, match=r"unknown key 'models\.0\.density'"):
        load_recipe({**keys, "models": [{"path": "m", "density": 0.5}]})
    state = {"a.weight": torch.eye(2)}
    with pytest.raises(RecipeError, match="these are in memory"):
        mg.merge_state_dicts(state, [state], "auto")


def test_what_is_chosen_for_folded_adapters_has_a_rank_where_a_method_takes_one() -> None:
    for kind, learns in itertools.product(("text", "image", "causal", None), (False, True)):
        merge = choose_method(Facts(models=3, adapters=0, kind=kind, learns=learns, folded=5)).merge
        takes = "rank" in {field.name for field in fields(registry.find(merge.method["name"]))}
        assert merge.method.get("rank") == (5 if takes else None), merge


def test_what_learning_does_without_is_told() -> None:
    choice = choose_method(Facts(models=3, adapters=3, kind="image", learns=True))
    assert f"without `adapt:` it is {FITTED['image adapters']}" in choice.reasons[2]
