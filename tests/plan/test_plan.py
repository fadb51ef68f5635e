"""A plan accounts for every tensor of every input, from headers alone, and lists all that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, RecipeError, SourceError
from mergeometry.plan import Plan, TensorTask
from mergeometry.sources import TensorReader
from tests.helpers import models


def plan_of(recipe: dict[str, Any]) -> Plan:
    return mg.make_plan(recipe)


def task_of(plan: Plan, name: str) -> TensorTask:
    return next(task for task in plan.tasks if task.name == name)


def mismatches(recipe: dict[str, Any]) -> list[str]:
    with pytest.raises(MismatchError) as caught:
        mg.make_plan(recipe)
    return list(caught.value.mismatches)


def one_mismatch(recipe: dict[str, Any]) -> str:
    (found,) = mismatches(recipe)
    return found


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Any]:
    return models.write_family(tmp_path, count=2)


def changed(folder: str | Path, **tensors: torch.Tensor | None) -> None:
    whole = models.loaded(Path(folder))
    for key, tensor in tensors.items():
        name = key.replace("__", ".")
        whole.pop(name, None)
        if tensor is not None:
            whole[name] = tensor
    models.write_model(Path(folder), whole)


def test_no_weight_is_read(family: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(TensorReader, "_bytes", fail)
    plan = plan_of({**family, "method": "dc_merge"})
    kinds = {task.name: (task.kind, task.method_name) for task in plan.tasks}
    assert kinds["layer.0.dense.weight"] == ("matrix", "dc_merge")
    assert kinds["embed.weight"] == kinds["temperature"] == ("other", "average")
    size = sum(tensor.nbytes for tensor in models.random_tensors(0).values())
    assert plan.bytes_read == 3 * size and plan.bytes_written == plan.layout.nbytes >= size
    assert plan.peak_memory(1) < plan.peak_memory(2) and plan.seconds(1) >= plan.seconds(2) > 0


def test_all_that_does_not_fit_is_listed_at_once(tmp_path: Path) -> None:
    recipe = models.write_family(tmp_path, count=3, shapes={**models.SHAPES, "lm_head.weight": (11, 6)})
    first, second, third = recipe["models"]
    changed(first, layer__0__dense__weight=None, layer__0__dense__weights=torch.zeros(8, 6), lm_head__weight=None)
    changed(second, layer__0__dense__bias=torch.zeros(9), embed__weight=torch.zeros(12, 6))
    changed(third, temperature=torch.tensor(3), layer__1__dense__weight=torch.zeros(5, 8, dtype=torch.float16))
    found = mismatches({**recipe, "method": "average", "tensors": [{"match": "layr.*"}], "heads": ["none.*"]})
    wanted = [
        "task0: has no tensor 'layer.0.dense.weight' (nearest: 'layer.0.dense.weights')",
        "task0: has no tensor 'lm_head.weight', which the base stores; if it is tied",
        "task0: holds 'layer.0.dense.weights', which the base does not have (nearest: 'layer.0.dense.weight')",
        "task1: 'embed.weight' has shape [12, 6], the base [11, 6] (vocabularies",
        "task1: 'layer.0.dense.bias' has shape [9], the base [8]",
        "task2: 'layer.1.dense.weight' is F16, the base's F32; set `output.dtype`",
        "task2: 'temperature' is I64, the base's F32",
        "tensors.0: 'layr.*' matches no tensor",
        "heads: 'none.*' matches no tensor",
    ]
    assert len(found) == len(wanted)
    for start in wanted:
        assert any(text.startswith(start) for text in found), start


def test_a_tied_output_layer_that_only_a_model_stores(family: dict[str, Any]) -> None:
    changed(family["models"][0], lm_head__weight=torch.zeros(11, 6))
    assert "tied to the embeddings" in one_mismatch({**family, "method": "average"})


def test_a_prefix_is_found_and_heads_are_kept(family: dict[str, Any]) -> None:
    for place in family["models"]:
        tensors = {f"bert.{name}": tensor for name, tensor in models.loaded(Path(place)).items()}
        models.write_model(Path(place), {**tensors, "classifier.weight": torch.zeros(2, 6)})
    recipe = {**family, "method": "average"}
    assert all("classifier.weight" in text and "`heads`" in text for text in mismatches(recipe))
    plan = plan_of({**recipe, "heads": ["classifier.*"]})
    assert [info.name for info in plan.heads["task0"]] == ["classifier.weight"]
    assert "task0: names begin with 'bert.', the base's do not; they are matched" in plan.notes
    assert "task1: names begin with 'bert.', the base's do not; they are matched" in plan.notes
    assert set(plan.layout.slots) == set(models.SHAPES)


def test_a_base_with_a_prefix_keeps_its_names(family: dict[str, Any]) -> None:
    base = Path(family["base"])
    models.write_model(base, {f"bert.{name}": tensor for name, tensor in models.loaded(base).items()})
    plan = plan_of({**family, "method": "average"})
    assert set(plan.layout.slots) == {f"bert.{name}" for name in models.SHAPES}
    assert any("lack the base's 'bert.'" in note for note in plan.notes)


def test_integer_buffers_that_a_model_lacks_are_kept(family: dict[str, Any]) -> None:
    changed(family["base"], position_ids=torch.arange(5))
    changed(family["models"][1], position_ids=torch.arange(5))
    plan = plan_of({**family, "method": "average"})
    task = task_of(plan, "position_ids")
    assert task.kind == "copied" and [label for label, _ in task.equal] == ["task1"]
    assert "task0: has no position_ids; the base's integers are kept" in plan.notes


def test_float_dtypes_that_differ_need_an_answer(family: dict[str, Any]) -> None:
    changed(family["models"][0], embed__weight=torch.zeros(11, 6, dtype=torch.bfloat16))
    assert "output.dtype" in one_mismatch({**family, "method": "average"})
    plan = plan_of({**family, "method": "average", "output": {"dtype": "bfloat16"}})
    assert {slot.code for slot in plan.layout.slots.values()} == {"BF16"}
    plan = plan_of({**family, "method": "average", "output": {"dtype": "base"}})
    assert {slot.code for slot in plan.layout.slots.values()} == {"F32"}


def test_a_model_of_another_precision_is_one_line_with_its_cure(tmp_path: Path) -> None:
    shapes = {f"layer.{number}.dense.weight": (4, 3) for number in range(103)}
    family = {**models.write_family(tmp_path, count=2, shapes=shapes), "method": "average"}
    half = {name: tensor.bfloat16() for name, tensor in models.loaded(Path(family["models"][0])).items()}
    models.write_model(Path(family["models"][0]), half)
    with pytest.raises(MismatchError) as caught:
        mg.make_plan(family)
    assert len(caught.value.mismatches) == 103
    (line,) = [line for line in str(caught.value).splitlines() if line.startswith("  - ")]
    assert line.startswith("  - task0: 'layer.0.dense.weight' is BF16, the base's F32; set `output.dtype`")
    assert "`output: {dtype: float32}`, or --dtype float32; likewise 'layer.1.dense.weight', " in line
    assert line.endswith("and 99 more, 103 in all")
    assert {slot.code for slot in plan_of({**family, "output": {"dtype": "float32"}}).layout.slots.values()} == {"F32"}


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.float16, "float16"), (torch.float64, "float64"), (None, "base")])
def test_the_precision_named_is_the_bases(family: dict[str, Any], dtype: torch.dtype | None, wanted: str) -> None:
    base = models.loaded(Path(family["base"]))
    first = next(iter(base))
    changes = {name: tensor.to(dtype or torch.bfloat16) for name, tensor in base.items() if dtype or name == first}
    models.write_model(Path(family["base"]), {**base, **changes})
    found = mismatches({**family, "method": "average"})
    assert found and all(f"--dtype {wanted}" in text for text in found)


def test_a_rule_gives_a_method_or_a_scale_and_the_first_wins(family: dict[str, Any]) -> None:
    rules = [
        {"match": "*embed*", "method": "task_arithmetic"},
        {"match": "layer.0.*", "scale": 0.5},
        {"match": "layer.*", "method": "ties", "scale": 0.25},
    ]
    plan = plan_of({**family, "method": "tsv_m", "scale": 2.0, "tensors": rules})
    said = {task.name: (task.method_name, task.scale) for task in plan.tasks}
    assert said == {
        "embed.weight": ("task_arithmetic", 2.0),
        "layer.0.dense.weight": ("tsv_m", 0.5),
        "layer.0.dense.bias": ("average", 0.5),
        "layer.1.dense.weight": ("ties", 0.25),
        "layer.1.norm.weight": ("ties", 0.25),
        "temperature": ("average", 2.0),
    }


def test_a_rule_can_make_a_table_a_matrix_but_not_a_vector(family: dict[str, Any]) -> None:
    recipe = {**family, "method": "average"}
    plan = plan_of({**recipe, "tensors": [{"match": "embed.weight", "method": "tsv_m"}]})
    assert task_of(plan, "embed.weight").method_name == "tsv_m"
    found = one_mismatch({**recipe, "tensors": [{"match": "*bias", "method": "tsv_m"}]})
    assert found.startswith("tensor 'layer.0.dense.bias': needs a matrix")


def test_a_rank_out_of_range_lists_every_tensor(family: dict[str, Any]) -> None:
    found = mismatches({**family, "method": {"name": "tsv_m", "rank": 7}})
    assert ["'layer.0.dense.weight'" in found[0], "'layer.1.dense.weight'" in found[1]] == [True, True]
    assert all("rank 7 is out of range" in text for text in found)


def test_one_model_where_two_are_needed(family: dict[str, Any]) -> None:
    recipe = {**family, "models": family["models"][:1], "method": {"name": "mda", "simplex": "tasks"}}
    assert all("needs at least two tasks, got 1" in text for text in mismatches(recipe))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"method": "tsvm"}, "did you mean 'tsv_m'"),
        ({"method": {"name": "ties", "densty": 0.2}}, "did you mean 'density'"),
        ({"method": {"name": "ties", "density": 2}}, "density"),
        ({"method": {"name": "tsv_m", "rank": 0}}, "rank"),
        ({"method": "average", "other": "iso_c"}, "merges matrices only"),
        ({"method": "average", "other": "dc_merge"}, "merges matrices only"),
        ({"method": "average", "tensors": [{"match": "*", "method": "nope"}]}, "no method 'nope'"),
    ],
)
def test_methods_that_do_not_fit_are_refused_first(changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(RecipeError) as caught:
        mg.make_plan({"base": "missing", "models": ["missing"], **changes})
    assert wanted in str(caught.value)


def test_an_adapter_as_base(tmp_path: Path, family: dict[str, Any]) -> None:
    models.write_adapter(tmp_path / "adapter", models.random_factors(0, models.MODULES))
    with pytest.raises(SourceError, match="the base is an adapter"):
        mg.make_plan({**family, "base": str(tmp_path / "adapter"), "method": "average"})


def test_a_missing_model_is_named(family: dict[str, Any], tmp_path: Path) -> None:
    entry = {"path": str(tmp_path / "gone"), "name": "second"}
    with pytest.raises(SourceError) as caught:
        mg.make_plan({**family, "models": [family["models"][0], entry], "method": "average"})
    assert caught.value.model == "second" and "gone" in str(caught.value)


def test_adapters_of_another_base_are_refused(tmp_path: Path, family: dict[str, Any]) -> None:
    other = {"layer.0.dense": (8, 7), "layer.7.dense": (8, 6)}
    models.write_adapter(tmp_path / "adapter", models.random_factors(0, other))
    found = mismatches({**family, "models": [str(tmp_path / "adapter")], "method": "average"})
    assert any("has shape [8, 7]" in text and "another base" in text for text in found)
    assert any("it changes 'layer.7.dense.weight'" in text for text in found)


def test_a_base_of_another_name_is_told(tmp_path: Path, family: dict[str, Any]) -> None:
    for number, name in enumerate(["org/base", "org/other"]):
        factors = models.random_factors(number, models.MODULES)
        models.write_adapter(tmp_path / f"a{number}", factors, base_name=name)
    recipe = {**family, "method": "average"}
    assert not plan_of({**recipe, "models": [str(tmp_path / "a0")]}).notes
    assert "'org/other'" in plan_of({**recipe, "models": [str(tmp_path / "a1")]}).notes[0]
    both = plan_of({**recipe, "models": [str(tmp_path / "a0"), str(tmp_path / "a1")]})
    assert both.notes[0].startswith("the adapters name different bases")


def test_the_base_among_the_models_is_told(family: dict[str, Any]) -> None:
    plan = plan_of({**family, "models": [*family["models"], family["base"]], "method": "average"})
    assert plan.notes == ("base-2: is the base itself, so its task vector is zero",)


@pytest.mark.parametrize(
    ("adapters", "method", "wanted"),
    [
        (2, "ties", "the method's result is not low-rank"),
        (0, "tsv_m", "a model holds the tensor itself, so its update is not low-rank"),
    ],
)
def test_what_no_adapter_can_hold_exactly(tmp_path: Path, adapters: int, method: str, wanted: str) -> None:
    shapes = {name: shape for name, shape in models.SHAPES.items() if "." in name}
    family = models.write_family(tmp_path, count=2, shapes=shapes, adapters=adapters)
    found = mismatches({**family, "method": method, "output": {"adapter": True}})
    assert found and all(wanted in text and "{adapter: {rank: 16}}" in text for text in found)
    plan = plan_of({**family, "method": method, "output": {"adapter": {"rank": 2}}})
    assert {task.outputs[0].shape[0] for task in plan.tasks if task.route == "factors"} == {2}


def test_an_update_by_dora_is_named_as_what_no_adapter_can_hold_and_the_method_is_not_blamed(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2, adapters=2, shapes={"layer.0.dense.weight": (8, 6)})
    for place in map(Path, family["models"]):
        models.write_adapter(place, models.random_factors(0, {"layer.0.dense": (8, 6)}))
        settings = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps({**settings, "use_dora": True}))
        tensors = models.loaded(place, "adapter_model")
        tensors["base_model.model.layer.0.dense.lora_magnitude_vector"] = torch.ones(8)
        safetensors.torch.save_file(tensors, place / "adapter_model.safetensors", metadata={"format": "pt"})
    (found,) = mismatches({**family, "method": "average", "output": {"adapter": True}})
    assert "a model's update by DoRA is not low-rank" in found


def test_a_parameter_of_no_module_is_held_by_no_adapter(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    (found,) = mismatches({**family, "method": "tsv_m", "output": {"adapter": {"rank": 2}}})
    assert "'temperature': it belongs to no module" in found


def test_an_adapter_of_nothing(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=1, adapters=1)
    models.write_adapter(tmp_path / "task0", {}, saved={"head.weight": torch.zeros(2, 6)})
    recipe = {**family, "method": "average", "heads": ["head.*"], "output": {"adapter": True}}
    with pytest.raises(RecipeError, match="no tensor is changed"):
        mg.make_plan(recipe)


def test_an_adapter_is_as_large_as_its_rank(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {**models.write_family(tmp_path, count=3, adapters=3), "method": "tsv_m"}
    shapes = [
        output.shape for task in plan_of({**recipe, "output": {"adapter": True}}).tasks for output in task.outputs
    ]
    assert shapes == [(6, 6), (8, 6), (5, 8), (5, 5)]
    shapes = [
        output.shape
        for task in plan_of({**recipe, "output": {"adapter": {"rank": 3}}}).tasks
        for output in task.outputs
    ]
    assert shapes == [(3, 6), (8, 3), (3, 8), (5, 3)]


def test_costly_tensors_come_first_and_comparisons_before_them(family: dict[str, Any]) -> None:
    for place in [family["base"], *family["models"]]:
        changed(place, position_ids=torch.arange(5))
    first, *rest = plan_of({**family, "method": "dc_merge"}).ordered()
    costs = [task.cost.seconds for task in rest]
    assert first.name == "position_ids" and costs == sorted(costs, reverse=True)


def test_names_of_hostile_models_are_printable(tmp_path: Path, family: dict[str, Any]) -> None:
    changed(family["models"][0], **{"evil\x1b[2J\u202e": torch.zeros(1)})
    with pytest.raises(MismatchError) as caught:
        mg.make_plan({**family, "method": "average"})
    assert "\x1b" not in str(caught.value) and "\u202e" not in str(caught.value)
