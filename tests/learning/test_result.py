"""What is written is what was learned: it loads in transformers and PEFT, and computes what the learner computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.sink import read_record
from tests.helpers import learning_models, models
from tests.helpers.learning_recipes import COUNT, DISTILL, QUICK, check_features, recipe_of
from tests.helpers.learning_runs import CLASSES

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mda": ("tuned", {**QUICK, "coefficients": "layer"}, {}),
    "mda as published": ("tuned", {**QUICK, "coefficients": "shared-layer", "coefficients_from": "entropy"}, {}),
    "full rotation, directions": ("tuned", {**QUICK, "coefficients": "direction", "rotation": "full"}, {}),
    "pairs": ("tuned", {**DISTILL, "coefficients": "pair"}, {"method": "tsv_m"}),
    "rotations alone": ("tuned", {**QUICK, "coefficients": "fixed"}, {"method": "dc_merge"}),
    "adamerging": ("tuned", {**QUICK, "objective": "adamerging", "coefficients": "task"}, {"method": "adamerging"}),
    "plus": ("tuned", {**QUICK, "objective": "adamerging"}, {"method": {"name": "adamerging", "density": 0.3}}),
    "ties": ("tuned", {**DISTILL, "coefficients": "tensor"}, {"method": "ties", "other": "task_arithmetic"}),
    "adapters": ("adapters", {**QUICK, "coefficients": "direction"}, {}),
    "adapters, trimmed": ("adapters", DISTILL, {"method": {"name": "adamerging", "density": 0.5}}),
    "checkpointed": ("tuned", {**QUICK, "activation_checkpointing": True}, {}),
    "a rule of its own": (
        "tuned", {**QUICK, "coefficients": "layer"},
        {"tensors": [{"match": "*query.weight", "scale": 0.2, "method": "tsv_m"}, {"match": "*word_emb*", "scale": 0}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_written_is_what_was_learned(case: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    family, settings, more = CASES[case]
    recipe = recipe_of(request.getfixturevalue(family), settings, **more)
    out = tmp_path / "out"
    run = mg.merge(recipe, out, workers=1)
    prepared = learning_models.learned_by(recipe)
    state, table = prepared.learner.state, prepared.table

    model, info = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    check_features(prepared, recipe, model, out)

    base, written = models.loaded(Path(recipe["base"])), models.loaded(out)
    assert set(base) == set(written)
    changed = 0
    for name, tensor in prepared.scene.merged.tensors.items():
        expected = base[name] + tensor.update(table.of(name))
        assert torch.allclose(written[name], expected, atol=1e-6), name
        changed += not torch.equal(written[name], base[name])
    assert changed > len(prepared.scene.merged.tensors) / 2
    untouched = set(base) - set(prepared.scene.merged.tensors)
    assert all(torch.equal(written[name], base[name]) for name in untouched)

    kept = safetensors.torch.load_file(out / "adapt" / "coefficients.safetensors")
    assert set(kept) == set(table.parameters)
    assert all(torch.equal(kept[key], value) for key, value in table.parameters.items())
    rotations = out / "adapt" / "rotations.safetensors"
    assert rotations.exists() == any(prepared.scene.rotations)
    if rotations.exists():
        for task, own in enumerate(prepared.scene.rotations):
            assert torch.equal(safetensors.torch.load_file(rotations)[f"task{task}"], own.matrix())
    curves = json.loads((out / "adapt" / "curves.json").read_text())
    assert [point["step"] for point in curves] == list(range(7))
    assert [point["held_out"] is not None for point in curves] == [True, False, True, False, True, False, True]
    assert curves[0]["loss"] is None and all(isinstance(point["loss"], float) for point in curves[1:])

    assert read_record(out) == run
    summary = run.adapt
    assert summary is not None and summary["learned_numbers"] == sum(value.numel() for value in kept.values())
    held_out = {point["step"]: point["held_out"] for point in curves if point["held_out"] is not None}
    assert summary["kept_step"] == min(held_out, key=lambda step: held_out[step]) == state.best_step
    told = summary["held_out"]
    assert (told["start"], told["kept"]) == (held_out[0], min(held_out.values()))
    assert told["standard_error"] >= 0 and told["inputs"] == sum(COUNT // 4 for _ in range(3))
    if summary["rotation"] == "none":
        assert told["fell_by"] == pytest.approx(told["start"] - told["kept"], rel=1e-3, abs=1e-6)
    assert summary["steps"] == 6 and [own["items"] for own in summary["data"]] == [COUNT] * 3
    assert summary["coefficients"] == settings["coefficients"] and summary["precision"] == "float32"
    if case not in ("rotations alone",):
        used = next(own for own in run.methods if own.name == prepared_name(recipe))
        assert used.parameters["learned"] == summary["coefficients"]
    assert not list(tmp_path.glob(".out*")), "something is left beside the output"


def prepared_name(recipe: Mapping[str, Any]) -> str:
    method = recipe["method"]
    return method if isinstance(method, str) else method["name"]


@pytest.mark.parametrize("method", ["tsv_m", "mda", "dc_merge", "task_arithmetic", "adamerging"])
def test_an_adapter_as_output_is_the_dense_result(adapters: dict[str, Any], tmp_path: Path, method: str) -> None:
    settings = {**QUICK, "coefficients": "pair" if method == "mda" else "direction"}
    recipe = recipe_of(adapters, settings, method=method)
    dense = mg.merge(recipe, tmp_path / "dense", workers=1)
    run = mg.merge({**recipe, "output": {"adapter": True}}, tmp_path / "adapter", workers=1)
    base = transformers.AutoModel.from_pretrained(recipe["base"])
    adapted = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    prepared = learning_models.learned_by(recipe)
    check_features(prepared, recipe, adapted, tmp_path / "adapter")
    assert run.adapt is not None and dense.adapt is not None
    assert {**run.adapt, "seconds": 0} == {**dense.adapt, "seconds": 0}


def test_a_zero_adapter_takes_part(adapters: dict[str, Any], tmp_path: Path) -> None:
    """A fresh adapter, whose B is zero, has no direction to learn a coefficient for."""
    base = transformers.AutoModel.from_pretrained(adapters["base"])
    fresh = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["query", "value", "intermediate.dense"]))
    fresh.save_pretrained(tmp_path / "task0")
    inputs = {**adapters, "models": [str(tmp_path / "task0"), *adapters["models"][1:]]}
    for output in ({"adapter": True}, {}):
        recipe = recipe_of(inputs, {**QUICK, "coefficients": "direction"}, output=output)
        run = mg.merge(recipe, tmp_path / f"out{len(output)}", workers=1)
        assert run.adapt is not None and run.adapt["learned_numbers"] == 6 * (3 + 4)
    inputs["models"] = [str(tmp_path / "task0")] * 3
    inputs["models"] = [{"path": place, "name": f"task{t}"} for t, place in enumerate(inputs["models"])]
    recipe = recipe_of(inputs, {**QUICK, "coefficients": "direction"}, output={"adapter": True})
    mg.merge(recipe, tmp_path / "nothing", workers=1)
    written = safetensors.torch.load_file(tmp_path / "nothing" / "adapter_model.safetensors")
    assert written and not any(
        bool((tensor if "lora_B" in name else tensor * 0).any()) for name, tensor in written.items()
    )


def test_heads_of_the_models_give_way_to_those_that_were_learned(tuned: dict[str, Any], tmp_path: Path) -> None:
    """Experts saved with classifiers: `heads` keeps those, but the turned one is what fits the merge."""
    import shutil

    places = []
    for number, classes in enumerate(CLASSES):
        place = tmp_path / f"task{number}"
        shutil.copytree(tuned["models"][number], place)
        disk = models.loaded(place)
        head = safetensors.torch.load_file(tuned["adapt"]["tasks"][number]["head"])
        assert len(head["bias"]) == classes
        disk = {f"bert.{name}": tensor for name, tensor in disk.items()}
        disk |= {f"classifier.{name}": tensor for name, tensor in head.items()}
        safetensors.torch.save_file(disk, place / "model.safetensors", metadata={"format": "pt"})
        places.append(str(place))
    tasks = [
        {**task, "head": {"path": place, "weight": "classifier.weight"}}
        for task, place in zip(tuned["adapt"]["tasks"], places, strict=True)
    ]
    inputs = {**tuned, "models": places, "heads": ["classifier.*"], "adapt": {"tasks": tasks}}
    mg.merge(recipe_of(inputs, QUICK), tmp_path / "out", workers=1)
    mg.merge(recipe_of(tuned, QUICK), tmp_path / "plain", workers=1)
    for number in range(3):
        own, plain = (models.loaded(tmp_path / name / "heads", f"task{number}") for name in ("out", "plain"))
        assert set(own) == {"weight", "bias"}
        assert all(torch.allclose(tensor, plain[name], atol=1e-5) for name, tensor in own.items())
