"""The recipe's `adapt:` section means what it says, and says what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeometry.errors import RecipeError
from mergeometry.recipe import LEARNING_STARTS_AT, Recipe, load_recipe
from mergeometry.recipe.adapt import AdaptSection, LossWeights

TASKS: list[dict[str, Any]] = [
    {"name": "m", "data": "m.jsonl", "head": "m.safetensors"},
    {"name": "n", "data": "n.txt"},
]


def recipe(adapt: Any = None, **changes: Any) -> Recipe:
    section = {"tasks": TASKS, **adapt} if isinstance(adapt, dict) else adapt
    return load_recipe({"base": "b", "models": ["m", "n"], "method": "average", "adapt": section, **changes})


def section(**keys: Any) -> AdaptSection:
    found = recipe(keys).adapt
    assert found is not None
    return found


def refusal(adapt: Any, **changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe(adapt, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "changes", "scale"),
    [
        ({}, {}, 1.0),
        ({"coefficients": "pair"}, {}, LEARNING_STARTS_AT),
        ({"objective": "mda"}, {}, LEARNING_STARTS_AT),
        ({}, {"method": "adamerging"}, LEARNING_STARTS_AT),
        ({}, {"scale": 0.7}, 0.7),
    ],
)
def test_where_learning_starts(keys: dict[str, Any], changes: dict[str, Any], scale: float) -> None:
    """From the merge itself, unless the coefficients are named: then where the papers start."""
    assert recipe(keys, **changes).scale == scale


def test_defaults() -> None:
    found = section()
    assert found.objective == "distill" and found.coefficients == "auto" and found.prototypes == "head"
    assert (found.steps, found.batch_size, found.patience, found.check_every) == (300, 16, 5, 20)
    assert found.learning_rate is None and found.rotation_learning_rate is None and found.temperature == 1.0
    assert found.held_out == 0.1 and found.precision == "auto" and found.stops_early
    assert not found.activation_checkpointing and not found.accelerate
    assert (found.encoder.kind, found.encoder.pooling, found.encoder.max_length) == ("auto", None, 128)
    assert found.tasks[0].data.path == "m.jsonl" and found.tasks[0].data.column is None
    assert found.tasks[0].head is not None and found.tasks[0].head.path == "m.safetensors"
    assert found.tasks[1].head is None


@pytest.mark.parametrize(
    ("keys", "weights", "rotation", "needs_heads"),
    [
        ({"objective": "mda"}, (1.0, 0.8, 0.2, 0.0, 0.0), "subspace", True),
        ({"objective": "adamerging"}, (1.0, 0.0, 0.0, 0.0, 0.0), "none", True),
        ({}, (0.0, 0.0, 0.0, 1.0, 3.0), "none", False),
        ({"objective": "distill", "entropy": 0.1}, (0.1, 0.0, 0.0, 1.0, 3.0), "none", True),
        ({"objective": "distill", "hidden": 2, "distill": 0}, (0.0, 0.0, 0.0, 0.0, 2.0), "none", False),
        ({"objective": "distill", "rotation": "full"}, (0.0, 0.0, 0.0, 1.0, 3.0), "full", True),
        ({"objective": "distill", "alpha": 1}, (0.0, 1.0, 0.0, 1.0, 3.0), "none", True),
        ({"objective": "mda", "rotation": "none"}, (1.0, 0.8, 0.0, 0.0, 0.0), "none", True),
        ({"objective": "mda", "rotation": "none", "beta": 0}, (1.0, 0.8, 0.0, 0.0, 0.0), "none", True),
        ({"objective": "mda", "rotation": "full", "alpha": 0.5, "beta": 0.1}, (1.0, 0.5, 0.1, 0.0, 0.0), "full", True),
        ({"objective": "adamerging", "rotation": "subspace", "beta": 0.3}, (1.0, 0.0, 0.3, 0.0, 0.0), "subspace", True),
        ({"objective": "mda", "entropy": 0}, (0.0, 0.8, 0.2, 0.0, 0.0), "subspace", True),
    ],
)
def test_what_is_left_out_comes_from_the_objective(
    keys: dict[str, Any], weights: tuple[float, ...], rotation: str, needs_heads: bool
) -> None:
    found = section(**keys)
    assert found.weights == LossWeights(*weights)
    assert found.resolved_rotation == rotation and found.needs_heads is needs_heads


MADE: list[dict[str, Any]] = [
    {"name": "m", "data": {"synthetic": 512}, "head": "m.safetensors"},
    {"name": "n", "data": {"synthetic": 512}},
]


@pytest.mark.parametrize(
    ("method", "keys", "settled"),
    [
        ("average", {}, ("distill", "auto")),
        ("average", {"objective": "mda"}, ("mda", "layer")),
        ("average", {"objective": "mda", "coefficients": "pair"}, ("mda", "pair")),
        ("average", {"tasks": MADE}, ("logits", "auto")),
        ("average", {"tasks": MADE, "objective": "adamerging"}, ("adamerging", "layer")),
        ("average", {"tasks": MADE, "distill": 0, "hidden": 0}, ("logits", "auto")),
        ("adamerging", {}, ("adamerging", "layer")),
        ("adamerging", {"tasks": MADE}, ("adamerging", "layer")),
        ("adamerging", {"distill": 0, "hidden": 0}, ("adamerging", "layer")),
        ("adamerging", {"objective": "distill"}, ("distill", "auto")),
    ],
)
def test_a_recipe_is_the_same_with_what_it_leaves_out_written(
    method: str, keys: dict[str, Any], settled: tuple[str, str]
) -> None:
    objective, coefficients = settled
    found = recipe(keys, method=method)
    written = recipe({**keys, "objective": objective, "coefficients": coefficients}, method=method)
    assert found.adapt is not None and (found.adapt.objective, found.adapt.coefficients) == settled
    assert found == written and found.canonical() == written.canonical()
    assert "coefficients" in keys or "coefficients" not in found.as_given()["adapt"]


def test_a_default_that_needs_a_key_with_a_problem_is_no_second_problem() -> None:
    said = refusal({"objective": "mdaa"})
    assert said.count("\n  - ") == 1 and "adapt.objective" in said


@pytest.mark.parametrize(
    ("keys", "stops"), [({"patience": 0}, False), ({"held_out": 0}, False), ({"patience": 1}, True)]
)
def test_early_stopping_needs_texts_and_patience(keys: dict[str, Any], stops: bool) -> None:
    assert section(**keys).stops_early is stops


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"objectiv": "mda"}, "unknown key 'adapt.objectiv', did you mean 'objective'"),
        ({"learning_rte": 1}, "unknown key 'adapt.learning_rte', did you mean 'learning_rate'"),
        ({"encoder": {"polling": "mean"}}, "unknown key 'adapt.encoder.polling', did you mean 'pooling'"),
        ({"tasks": [{"name": "m", "daat": "x"}]}, "unknown key 'adapt.tasks.0.daat', did you mean 'data'"),
        (
            {"tasks": [{"name": "m", "data": {"path": "x", "colum": "t"}}]},
            "unknown key 'adapt.tasks.0.data.colum', did you mean 'column'",
        ),
        (
            {"tasks": [{"name": "m", "data": "x", "head": {"path": "x", "wieght": "w"}}]},
            "unknown key 'adapt.tasks.0.head.wieght', did you mean 'weight'",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(keys: dict[str, Any], wanted: str) -> None:
    assert wanted in refusal(keys)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"objective": "mdaa"}, "adapt.objective"),
        ({"coefficients": "element"}, "adapt.coefficients"),
        ({"rotation": "half"}, "adapt.rotation"),
        ({"prototypes": "etf"}, "adapt.prototypes"),
        ({"precision": "float16"}, "adapt.precision"),
        ({"encoder": {"kind": "audio"}}, "adapt.encoder.kind"),
        ({"encoder": {"pooling": "max"}}, "adapt.encoder.pooling"),
        ({"encoder": {"max_length": 0}}, "adapt.encoder.max_length"),
        ({"entropy": -1}, "adapt.entropy"),
        ({"alpha": float("nan")}, "adapt.alpha"),
        ({"beta": float("inf")}, "adapt.beta"),
        ({"alpha": True}, "adapt.alpha: a number is needed"),
        ({"steps": 0}, "adapt.steps"),
        ({"steps": 2.5}, "adapt.steps"),
        ({"steps": True}, "adapt.steps: a number is needed"),
        ({"steps": 10**400}, "adapt.steps"),
        ({"batch_size": 0}, "adapt.batch_size"),
        ({"learning_rate": 0}, "adapt.learning_rate"),
        ({"rotation_learning_rate": -1e-3}, "adapt.rotation_learning_rate"),
        ({"temperature": 0}, "adapt.temperature"),
        ({"held_out": 0.6}, "adapt.held_out"),
        ({"held_out": -0.1}, "adapt.held_out"),
        ({"patience": -1}, "adapt.patience"),
        ({"check_every": 0}, "adapt.check_every"),
        ({"accelerate": "perhaps"}, "adapt.accelerate"),
        ({"tasks": []}, "adapt.tasks"),
        ({"tasks": [{"name": "m"}]}, "'adapt.tasks.0.data' is missing"),
        ({"tasks": [{"data": "m"}]}, "'adapt.tasks.0.name' is missing"),
        ({"tasks": [{"name": "m", "data": ""}]}, "adapt.tasks.0.data.path"),
        ({"tasks": [{"name": "m", "data": {}}]}, "adapt.tasks.0.data: give either `path`"),
        ({"tasks": [{"name": "m", "data": {"path": "x", "dataset": "y"}}]}, "adapt.tasks.0.data: give either `path`"),
        ({"tasks": [{"name": "m", "data": {"path": "x", "config": "y"}}]}, "adapt.tasks.0.data: `config` goes with"),
        ({"tasks": [{"name": "m", "data": {"path": "x", "limit": 0}}]}, "adapt.tasks.0.data.limit"),
        ({"tasks": [{"name": "m", "data": "x", "head": {"weight": "w"}}]}, "'adapt.tasks.0.head.path' is missing"),
        ({"tasks": [TASKS[0], TASKS[0]]}, "two tasks are named 'm'"),
        ({"beta": 0.1, "rotation": "none"}, "`rotation` is none"),
        ({"beta": 0.1, "objective": "adamerging"}, "`rotation` is none"),
        ({"coefficients": "fixed", "rotation": "none"}, "nothing to learn"),
        ({"coefficients": "fixed", "objective": "distill"}, "nothing to learn"),
        ({"coefficients_from": "entropy", "objective": "distill"}, "leaves the other terms to the rotations"),
        ({"coefficients_from": "entropy", "objective": "adamerging"}, "leaves the other terms to the rotations"),
        ({"objective": "distill", "distill": 0, "hidden": 0}, "must be above 0"),
        ({"objective": "mda", "entropy": 0, "alpha": 0}, "must be above 0"),
    ],
)
def test_a_value_that_does_not_fit_is_named(keys: dict[str, Any], wanted: str) -> None:
    assert wanted in refusal(keys)


def test_a_section_without_tasks() -> None:
    with pytest.raises(RecipeError, match=r"'adapt\.tasks' is missing"):
        load_recipe({"base": "b", "models": ["m"], "method": "average", "adapt": {}})


def test_a_task_is_named_after_its_model() -> None:
    tasks = [{"name": "trek", "data": "x"}, {"name": "m", "data": "x"}]
    said = refusal({"tasks": tasks}, models=["trec", "m"])
    assert "adapt.tasks.0.name: no model is named 'trek', did you mean 'trec'?" in said


def test_models_without_data_are_all_named() -> None:
    said = refusal({"tasks": [TASKS[0]]}, models=["m", "n", {"path": "x", "name": "third one"}])
    assert "no data for 'n', 'third one'" in said


def test_tasks_find_models_by_the_names_they_were_given() -> None:
    tasks = [{"name": "x", "data": "1"}, {"name": "x-2", "data": "2"}]
    adapt = recipe({"tasks": tasks}, models=["a/x", "b/x"]).adapt
    assert adapt is not None and [task.name for task in adapt.tasks] == ["x", "x-2"]


def test_paths_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "recipe.yaml").write_text(
        "base: b\nmodels: [m, n, o]\nmethod: average\nadapt:\n  tasks:\n"
        "    - {name: m, data: texts/m.csv, head: {path: heads/m.safetensors, weight: w}}\n"
        "    - {name: n, data: {path: ~/n.txt, limit: 5}, head: /abs/n.safetensors}\n"
        "    - {name: o, data: {dataset: some/name, split: test, column: body}}\n"
    )
    adapt = load_recipe(tmp_path / "recipe.yaml").adapt
    assert adapt is not None
    first, second, third = adapt.tasks
    assert first.data.path == str(tmp_path / "texts/m.csv") and first.head is not None and second.head is not None
    assert first.head.path == str(tmp_path / "heads/m.safetensors") and first.head.weight == "w"
    assert second.data.path == "/home/someone/n.txt" and second.data.limit == 5
    assert second.head.path == "/abs/n.safetensors"
    assert third.data.path is None and third.data.dataset == "some/name" and third.head is None


def test_overrides_reach_the_section() -> None:
    given = {"base": "b", "models": ["m", "n"], "method": "average", "adapt": {"tasks": TASKS}}
    found = load_recipe(given, ["adapt.steps=50", "adapt.encoder.pooling=first", "adapt.learning_rate=1e-3"]).adapt
    assert found is not None and found.steps == 50 and found.encoder.pooling == "first"
    assert found.learning_rate == 1e-3 and "steps" not in given["adapt"]
    with pytest.raises(RecipeError, match="did you mean 'steps'"):
        load_recipe(given, ["adapt.step=50"])


def test_the_canonical_recipe_is_whole_and_reads_back() -> None:
    found = recipe({"objective": "distill", "temperature": 2, "tasks": TASKS})
    canonical = found.canonical()
    assert canonical["adapt"]["temperature"] == 2.0 and canonical["adapt"]["rotation"] is None
    assert canonical["adapt"]["tasks"][0]["data"]["path"] == "m.jsonl"
    assert Recipe.model_validate(canonical) == found
    assert "adapt" not in recipe().canonical()


def test_the_page_shows_a_recipe_and_every_key(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")
    (page,) = [section for section in text.split("\n## ") if "\nadapt:\n" in section]
    example = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "recipe.yaml").write_text(example, "utf-8")
    adapt = load_recipe(tmp_path / "recipe.yaml").adapt
    assert adapt is not None and [task.name for task in adapt.tasks] == ["trec", "news"]
    rows = [line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")]
    assert set(AdaptSection.model_fields) <= set(rows)


KEYS = st.sampled_from([*AdaptSection.model_fields, "name", "data", "path", "head", "kind", "limit"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["mda", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_any_section_is_a_recipe_or_one_clear_error(keys: dict[str, Any]) -> None:
    try:
        found = recipe(keys)
    except RecipeError as error:
        assert str(error)
        return
    assert found.adapt is not None and found.adapt.weights
    assert Recipe.model_validate(found.canonical()) == found
