"""One key set for one run: into mappings, lists and short forms, and an error that names what the list has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergeometry.errors import RecipeError
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.recipe.scale import ScaleRule

GIVEN: dict[str, Any] = {
    "base": "b",
    "models": ["m", {"path": "n", "weight": 0.25}],
    "method": "tsv_m",
    "refine": ["svc"],
    "tensors": [{"match": "*.embed.*", "scale": 0.5}],
}


def recipe_with(*overrides: str) -> Recipe:
    return load_recipe(GIVEN, overrides)


def test_items_of_lists_are_set_and_added() -> None:
    before = repr(GIVEN)
    models = recipe_with("models.0.weight=0.5", "models.1.name=second", "models.2=runs/third", "models.3.path=p").models
    assert [(entry.path, entry.weight) for entry in models] == [
        ("m", 0.5), ("n", 0.25), ("runs/third", 1.0), ("p", 1.0),
    ]  # fmt: skip
    assert models[1].name == "second"
    assert recipe_with("heads.0=classifier.*", "heads.1=score.*").heads == ("classifier.*", "score.*")
    rules = recipe_with("tensors.1.match='*bias'", "tensors.1.method=ties", "tensors.1.method.density=0.5").tensors
    assert rules[0].scale == 0.5 and rules[1].method is not None and rules[1].method.given == {"density": 0.5}
    assert recipe_with("refine.0.strength=2", "refine.1=norm").refine[0].given == {"strength": 2}
    assert repr(GIVEN) == before


def test_one_value_is_a_list_of_one_where_the_key_holds_a_list() -> None:
    for text in ("heads=classifier.*", "heads=[classifier.*]", "heads=['classifier.*']", 'heads="classifier.*"'):
        assert recipe_with(text).heads == ("classifier.*",), text
    assert recipe_with('heads=["*.head.*"]').heads == ("*.head.*",)
    assert [choice.name for choice in recipe_with("refine=norm").refine] == ["norm"]
    assert [rule.match for rule in recipe_with('tensors={match: "*bias", scale: 2}').tensors] == ["*bias"]
    assert [entry.path for entry in recipe_with("models=m").models] == ["m"]


def test_a_short_form_takes_keys(tmp_path: Path) -> None:
    scale = recipe_with("scale=auto", "scale.per=tensor").scale
    assert isinstance(scale, ScaleRule) and (scale.rule, scale.per) == ("auto", "tensor")
    data = {"m": "m.jsonl", "n": "n.jsonl"}
    limited = load_recipe({**GIVEN, "data": {"tasks": data}}, ["data.tasks.m.limit=3"]).data
    assert limited is not None and (limited.tasks["m"].path, limited.tasks["m"].limit) == ("m.jsonl", 3)
    tasks = [{"name": name, "data": place} for name, place in data.items()]
    learned = {key: GIVEN[key] for key in ("base", "models", "method")} | {"adapt": {"tasks": tasks}}
    adapt = load_recipe(learned, ["adapt.tasks.1.data.limit=7", "adapt.tasks.0.head=h.safetensors"]).adapt
    assert adapt is not None and adapt.tasks[1].data.limit == 7
    assert adapt.tasks[0].head is not None and adapt.tasks[0].head.path == "h.safetensors"


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        (
            "models.5.weight=1",
            "'models' is a list, which has items models.0 to models.1; models.2 adds one, and '5'",
        ),
        ("tensors.2.scale=1", "'tensors' is a list, which has item tensors.0; tensors.1 adds one, and '2' is none"),
        ("heads.1=x", "'heads' is a list, which is empty; heads.0 adds one, and '1' is none of them"),
        ("models.first.weight=1", "and 'first' is none of them"),
        ("models.-1.weight=1", "and '-1' is none of them"),
        ("models.²=x", "and '²' is none of them"),
        ("models.0.path.x=1", "'models.0.path' holds no keys; it is 'm'"),
        ("heads=3", "heads.0: Input should be a valid string (got 3)"),
        ("heads.0.x=3", "'heads.0' holds no keys"),
        ("models.0.weight=much", "models.0.weight: Input should be a valid number"),
        ("models.0.wieght=1", "unknown key 'models.0.wieght', did you mean 'weight'?"),
        ("scale.0=1", "scale: a gradient is a list of two or more numbers"),
        ("output.dtype.x=1", "'output.dtype' holds no keys"),
        ("heads=*.x", "quote what begins with *"),
        ("heads=[*.x]", "quote what begins with *"),
    ],
)
def test_what_does_not_fit_is_named(override: str, wanted: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_with(override)
    assert wanted in str(caught.value)
