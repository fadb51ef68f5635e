"""Models and adapters whose names on disk differ from the base's, merged and run by the library that people use."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch

import mergeometry as mg
from mergeometry.conventions.buffers import is_computed
from mergeometry.conventions.wrappers import unwrapped
from mergeometry.errors import MismatchError
from tests.helpers import models
from tests.helpers.tiny import moved, tiny, tokens

PIXELS = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)


def under_names_in_memory(model: Any, folder: Path) -> Path:
    """A folder as a training loop writes it with the names of the parameters in memory."""
    model.config.save_pretrained(folder)
    safetensors.torch.save_file(dict(model.state_dict()), folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder, base = tmp_path_factory.mktemp("vit"), tiny("vit")
    base.save_pretrained(folder / "old")
    under_names_in_memory(base, folder / "new")
    return folder, base


@pytest.mark.parametrize(("base_names", "own_names"), [("old", "new"), ("new", "old")])
def test_a_model_saved_under_other_names_merges(
    tmp_path: Path, vit: tuple[Path, Any], base_names: str, own_names: str
) -> None:
    folder, base = vit
    tuned = moved(copy.deepcopy(base), 1)
    if own_names == "new":
        under_names_in_memory(tuned, tmp_path / "tuned")
    else:
        tuned.save_pretrained(tmp_path / "tuned")
    run = mg.merge(
        base=folder / base_names, models=[tmp_path / "tuned"], method="task_arithmetic", output=tmp_path / "out"
    )
    assert any("names were changed by transformers" in note for note in run.warnings)
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(PIXELS).logits, tuned(PIXELS).logits, atol=2e-6, rtol=0)


def test_an_adapter_under_the_names_in_memory_merges_into_a_base_on_disk(tmp_path: Path, vit: tuple[Path, Any]) -> None:
    folder, base = vit
    live = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2, target_modules="all-linear"))
    moved(live, 2).save_pretrained(tmp_path / "adapter")
    # Only the adapter's own parameters count: the base's are those on disk.
    live = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "adapter").eval()
    mg.merge(base=folder / "old", models=[tmp_path / "adapter"], method="task_arithmetic", output=tmp_path / "out")
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(PIXELS).logits, live(PIXELS).logits, atol=2e-6, rtol=0)


def test_a_base_with_names_of_tensorflow_merges(tmp_path: Path) -> None:
    base = tiny("bert")
    tuned = moved(copy.deepcopy(base), 1)
    tuned.save_pretrained(tmp_path / "tuned")
    base.save_pretrained(tmp_path / "base")
    weights = models.loaded(tmp_path / "base")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    models.write_model(tmp_path / "base", renamed)
    mg.merge(base=tmp_path / "base", models=[tmp_path / "tuned"], method="task_arithmetic", output=tmp_path / "out")
    assert set(models.loaded(tmp_path / "out")) == set(renamed)
    merged = type(base).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(merged(tokens()).logits, tuned(tokens()).logits, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("module.encoder.layer.0.w", "encoder.layer.0.w"),
        ("module.module.w", "w"),
        ("_orig_mod.layers.0.w", "layers.0.w"),
        ("model._fsdp_wrapped_module.layers.0._fsdp_wrapped_module.w", "model.layers.0.w"),
        ("layers.0._checkpoint_wrapped_module.attn.w", "layers.0.attn.w"),
        ("_forward_module.model.w", "model.w"),
        ("encoder.module.w", "encoder.module.w"),
        ("module", "module"),
    ],
)
def test_wrappers_are_stripped(name: str, expected: str) -> None:
    assert unwrapped(name) == expected


def test_a_model_saved_from_within_wrappers_merges(tmp_path: Path) -> None:
    family = models.write_family(tmp_path, count=2)
    plain = mg.merge({**family, "method": "average"}, tmp_path / "plain")
    own = models.loaded(tmp_path / "task1")
    wrapped = {name.replace("layer.0.", "layer.0._fsdp_wrapped_module."): tensor for name, tensor in own.items()}
    models.write_model(tmp_path / "task1", {f"_orig_mod.{name}": tensor for name, tensor in wrapped.items()})
    run = mg.merge({**family, "method": "average"}, tmp_path / "out")
    assert run.digest == plain.digest
    assert any("carry a wrapper's parts" in note for note in run.warnings)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (8,), True),
        ("transformer.h.0.attn.bias", (1, 1, 64, 64), True),
        ("transformer.h.0.attn.bias", (64,), False),
        ("transformer.h.0.attn.c_attn.bias", (1, 1, 8, 8), False),
        ("gpt_neox.layers.0.attention.masked_bias", (), True),
        ("bert.embeddings.position_ids", (1, 64), True),
        ("roberta.embeddings.token_type_ids", (1, 64), True),
        ("encoder.layers.0.blocks.0.attention.self.relative_position_index", (4, 4), True),
        ("bert.embeddings.position_embeddings.weight", (64, 32), False),
    ],
)
def test_tensors_that_models_compute(name: str, shape: tuple[int, ...], expected: bool) -> None:
    assert is_computed(name, shape) is expected


@pytest.mark.parametrize("side", ["base", "task1"])
def test_a_computed_tensor_may_be_missing_on_either_side(tmp_path: Path, side: str) -> None:
    family = models.write_family(tmp_path, count=2)
    extra = {"layer.0.rotary_emb.inv_freq": torch.rand(4), "layer.0.attn.bias": torch.ones(1, 1, 4, 4)}
    models.write_model(tmp_path / side, {**models.loaded(tmp_path / side), **extra})
    run = mg.merge({**family, "method": "task_arithmetic"}, tmp_path / "out")
    merged = models.loaded(tmp_path / "out")
    if side == "base":
        assert all(torch.equal(merged[name], tensor) for name, tensor in extra.items())
    else:
        assert not extra.keys() & merged.keys()
    assert sum("inv_freq" in note for note in run.warnings) == (2 if side == "base" else 1)


def test_another_base_is_still_another_base(tmp_path: Path, vit: tuple[Path, Any]) -> None:
    base = tiny("bert")
    base.save_pretrained(tmp_path / "bert")
    with pytest.raises(MismatchError, match="the base does not have"):
        mg.merge(base=vit[0] / "old", models=[tmp_path / "bert"], method="average", output=tmp_path / "out")


@pytest.mark.parametrize("adapter", [False, True])
def test_a_layout_that_nothing_tells_is_refused(tmp_path: Path, adapter: bool) -> None:
    shapes = {"h.0.attn.c_proj.weight": (6, 6), "h.0.attn.c_proj.bias": (6,), "ln_f.weight": (6,)}
    family = models.write_family(tmp_path, count=2, shapes=shapes)
    if adapter:
        factors = {"h.0.attn.c_proj": (torch.ones(2, 6), torch.ones(6, 2))}
        family["models"] = [models.write_adapter(tmp_path / "adapter", factors)]
    with pytest.raises(MismatchError, match="nothing says how these matrices are stored"):
        mg.make_plan(mg.load_recipe({**family, "method": "average" if adapter else "tsv_m"}))
    for place in ("base", "task0", "task1"):
        (tmp_path / place / "config.json").write_text('{"model_type": "gpt2"}')
    plan = mg.make_plan(mg.load_recipe({**family, "method": "average" if adapter else "tsv_m"}))
    assert next(task for task in plan.tasks if task.kind == "matrix").transposed
