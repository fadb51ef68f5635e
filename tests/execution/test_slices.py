"""Stacked experts merge as the same experts in tensors of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mergeometry import merge, merge_state_dicts
from mergeometry.digests import digest_of
from mergeometry.plan import make_plan
from mergeometry.recipe import load_recipe
from tests.helpers.experts import mixture, save_unstacked, stacked, write_transposed
from tests.helpers.models import Tensors, random_tensors, tuned, write_model


@dataclass(frozen=True)
class Layouts:
    """The same base and two fine-tunes on disk, with a tensor per expert and stacked."""

    apart: tuple[Path, ...]
    stacks: tuple[Path, ...]


@pytest.fixture(scope="module", params=["mixtral", "qwen2_moe"])
def layouts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    folder = tmp_path_factory.mktemp(request.param)
    base = save_unstacked(mixture(request.param, 0), folder / "base")
    tensors = safetensors.torch.load_file(base / "model.safetensors")
    assert sum(".experts." in name for name in tensors) == 12
    models = [tensors, tuned(tensors, 1, 0.05), tuned(tensors, 2, 0.05)]
    apart = tuple(write_model(folder / f"apart{place}", model) for place, model in enumerate(models))
    stacks = tuple(write_model(folder / f"stacks{place}", stacked(model)) for place, model in enumerate(models))
    return Layouts(apart, stacks)


def recipe_of(models: tuple[Path, ...], **more: Any) -> dict[str, Any]:
    base, *rest = map(str, models)
    return {"base": base, "models": rest, **more}


def in_memory(paths: tuple[Path, ...], **how: Any) -> Tensors:
    base, *models = (safetensors.torch.load_file(path / "model.safetensors") for path in paths)
    return merge_state_dicts(base, models, **how)


def merged(models: tuple[Path, ...], output: Path, **more: Any) -> tuple[Tensors, dict[str, Any]]:
    merge(recipe_of(models, **more), output=output, workers=1)
    record = json.loads((output / "mergeometry.json").read_text())
    return safetensors.torch.load_file(output / "model.safetensors"), record


@pytest.mark.parametrize(
    "how",
    [
        {"method": "dc_merge"},
        {"method": "tsv_m", "scale": {"rule": "projection", "per": "tensor"}},
        {"method": "mda", "scale": {"rule": "norm_mean", "per": "model"}},
        {"method": "ties"},
        {"method": "average"},
        {"method": "average", "refine": ["svc"], "scale": {"rule": "projection", "per": "tensor"}},
        {"method": "rows"},
    ],
    ids=lambda how: "-".join(
        [how["method"], *how.get("refine", []), *([how["scale"]["per"]] if "scale" in how else [])]
    ),
)
def test_both_layouts_merge_to_the_same_bytes(layouts: Layouts, how: dict[str, Any]) -> None:
    apart, stacks = (in_memory(paths, **how) for paths in (layouts.apart, layouts.stacks))
    wanted = stacked(apart)
    assert stacks.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(stacks[name], tensor), name


def test_what_was_read_and_written_is_hashed_whole(layouts: Layouts, tmp_path: Path) -> None:
    tensors, record = merged(layouts.stacks, tmp_path / "out", method="tsv_m", refine=["svc"])
    for entry in record["tensors"]:
        data = tensors[entry["name"]].contiguous().numpy().tobytes()
        assert entry["digest"] == digest_of(data), entry["name"]
    _, plain = merged(layouts.stacks, tmp_path / "plain", method="average")
    assert [one["digest"] for one in record["inputs"]] == [one["digest"] for one in plain["inputs"]]


def test_a_scale_per_tensor_is_one_per_matrix(layouts: Layouts, tmp_path: Path) -> None:
    how = {"method": "tsv_m", "scale": {"rule": "projection", "per": "tensor"}}
    _, apart = merged(layouts.apart, tmp_path / "apart", **how)
    _, record = merged(layouts.stacks, tmp_path / "stacks", **how)
    assert record["scaling"] == apart["scaling"]
    entry = next(one for one in record["tensors"] if one["name"].endswith("gate_up_proj"))
    assert entry["scale"] is None
    assert entry["notes"][0].startswith("each of its 8 matrices has a scale of its own, from ")


def test_a_merge_in_memory_is_the_same(layouts: Layouts, tmp_path: Path) -> None:
    tensors, _ = merged(layouts.stacks, tmp_path / "out", method="dc_merge")
    for name, tensor in in_memory(layouts.stacks, method="dc_merge").items():
        assert torch.equal(tensor, tensors[name]), name


def test_transposed_stacks_merge_as_transposed_matrices(layouts: Layouts, tmp_path: Path) -> None:
    plain = [safetensors.torch.load_file(path / "model.safetensors") for path in layouts.stacks]
    turned = tuple(write_transposed(tmp_path / f"turned{place}", model) for place, model in enumerate(plain))
    result, _ = merged(turned, tmp_path / "out", method="tsv_m")
    # Each expert's gate and up projection lie side by side in its rows, so they merge as one matrix.
    base, one, two = plain
    up = next(name for name in base if name.endswith("gate_up_proj"))
    for name in (up, up.replace("gate_up_proj", "down_proj")):
        for expert in range(4):
            alone = merge_state_dicts(
                {"x.weight": base[name][expert]},
                [{"x.weight": one[name][expert]}, {"x.weight": two[name][expert]}],
                "tsv_m",
            )
            assert torch.allclose(result[name][expert].mT, alone["x.weight"], atol=1e-6), (name, expert)


def test_dbrx_stacks_merge_expert_by_expert(tmp_path: Path) -> None:
    prefix = "transformer.blocks.0.ffn.experts.mlp"
    base = random_tensors(0, shapes={f"{prefix}.{name}": (3 * 8, 6) for name in ("w1", "v1", "w2")})
    config = {"model_type": "dbrx", "ffn_config": {"moe_num_experts": 3}}
    models = [tuned(base, 1), tuned(base, 2)]
    result = merge_state_dicts(base, models, "dc_merge", config=config)
    for name in base:
        for expert in range(3):
            part = [model[name].view(3, 8, 6)[expert] for model in (base, *models)]
            turned = [tensor.mT if name.endswith("w2") else tensor for tensor in part]
            alone = merge_state_dicts({"x.weight": turned[0]}, [{"x.weight": one} for one in turned[1:]], "dc_merge")
            update = alone["x.weight"].mT if name.endswith("w2") else alone["x.weight"]
            assert torch.allclose(result[name].view(3, 8, 6)[expert], update, atol=1e-6), (name, expert)


def test_one_matrix_is_in_memory_at_a_time(layouts: Layouts) -> None:
    apart, stacks = (
        make_plan(load_recipe(recipe_of(paths, method="tsv_m"))) for paths in (layouts.apart, layouts.stacks)
    )
    largest = max(task.cost.memory for task in apart.tasks)
    assert max(task.cost.memory for task in stacks.tasks) == largest
    assert stacks.bytes_read == apart.bytes_read
    assert stacks.seconds(1) == pytest.approx(apart.seconds(1))


def test_methods_that_need_activations_leave_stacked_experts_to_other(layouts: Layouts) -> None:
    names = [path.name for path in layouts.stacks[1:]]
    data = {"tasks": dict.fromkeys(names, "texts.txt")}
    recipe = load_recipe(recipe_of(layouts.stacks, method="regmean", data=data))
    plan = make_plan(recipe)
    experts = [task for task in plan.tasks if ".experts." in task.name]
    assert {task.method_name for task in experts} == {"average"}
    assert plan.notes[-1] == (
        "2 tensors hold stacked experts and are each merged as a whole, by average: regmean needs the inputs of each "
        "matrix, which are not collected"
    )
