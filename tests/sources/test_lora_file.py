"""LoRA files of kohya, diffusers and LyCORIS: read by the base's names, merged, and written in either format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.errors import MergeometryError, MismatchError, SourceError
from tests.helpers import models

SHAPES = {
    "conv_in.weight": (8, 4, 3, 3),
    "down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
    "down_blocks.0.attentions.0.to_q.weight": (8, 8),
    "down_blocks.0.attentions.0.to_out.0.weight": (8, 8),
    "down_blocks.0.attentions.0.to_out.0.bias": (8,),
    "mid_block.attentions.0.to_k.weight": (6, 8),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Tensor]:
    tensors = {name: random(*shape, seed=place) for place, (name, shape) in enumerate(SHAPES.items())}
    models.write_model(tmp_path / "unet", tensors)
    config = {"_class_name": "UNet2DConditionModel"}
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    return tensors


def saved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata)
    return path


def folded(tmp_path: Path, *files: Path, name: str = "folded") -> dict[str, Tensor]:
    mg.merge(base=tmp_path / "unet", models=list(files), method="task_arithmetic", output=tmp_path / name, workers=1)
    (weights,) = (tmp_path / name).glob("*.safetensors")
    return safetensors.torch.load_file(weights)


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-5)


def kohya(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A file of kohya with an alpha, one without, a convolution, and one in LyCORIS's three factors."""
    tensors, updates = {}, {}
    for module, alpha in (("down_blocks.0.attentions.0.to_q", 2.0), ("down_blocks.0.attentions.0.to_out.0", None)):
        down, up = random(4, 8, seed=7), random(8, 4, seed=8)
        place = f"lora_unet_{module.replace('.', '_')}"
        tensors |= {f"{place}.lora_down.weight": down, f"{place}.lora_up.weight": up}
        tensors |= {} if alpha is None else {f"{place}.alpha": torch.tensor(alpha)}
        updates[f"{module}.weight"] = (1.0 if alpha is None else alpha / 4) * up @ down
    down, up = random(2, 4, 3, 3, seed=9), random(8, 2, 1, 1, seed=10)
    tensors |= {"lora_unet_conv_in.lora_down.weight": down, "lora_unet_conv_in.lora_up.weight": up}
    tensors["lora_unet_conv_in.alpha"] = torch.tensor(1.0, dtype=torch.bfloat16)
    updates["conv_in.weight"] = 0.5 * (up.flatten(1) @ down.flatten(1)).reshape(8, 4, 3, 3)
    down, mid, up = random(3, 8, 1, 1, seed=11), random(3, 3, 3, 3, seed=12), random(8, 3, 1, 1, seed=13)
    place = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors |= {f"{place}.lora_{part}.weight": one for part, one in (("down", down), ("mid", mid), ("up", up))}
    composed = torch.nn.functional.conv2d(torch.eye(72).reshape(72, 8, 3, 3), down)
    composed = torch.nn.functional.conv2d(torch.nn.functional.conv2d(composed, mid), up)
    updates["down_blocks.0.resnets.0.conv1.weight"] = composed.reshape(72, 8).T.reshape(8, 8, 3, 3)
    return saved(tmp_path / "kohya.safetensors", tensors), updates


def test_kohya_and_lycoris_are_folded_with_their_alphas(base: dict[str, Tensor], tmp_path: Path) -> None:
    file, updates = kohya(tmp_path)
    merged = folded(tmp_path, file)
    for name, tensor in base.items():
        same(merged[name], tensor + updates[name] if name in updates else tensor)


BLOCK = "down_blocks.0.attentions.0"


@pytest.mark.parametrize(
    ("module", "down", "up"),
    [
        ("to_q", f"unet.{BLOCK}.to_q.lora_A.weight", f"unet.{BLOCK}.to_q.lora_B.weight"),
        ("to_q", f"unet.{BLOCK}.to_q.lora.down.weight", f"unet.{BLOCK}.to_q.lora.up.weight"),
        (
            "to_out.0",
            f"unet.{BLOCK}.processor.to_out_lora.down.weight",
            f"unet.{BLOCK}.processor.to_out_lora.up.weight",
        ),
        ("to_q", f"diffusion_model.{BLOCK}.to_q.lora_down.weight", f"diffusion_model.{BLOCK}.to_q.lora_up.weight"),
        ("to_q", "lora_unet_input_blocks_1_1_to_q.lora_down.weight", "lora_unet_input_blocks_1_1_to_q.lora_up.weight"),
    ],
)
def test_every_spelling_of_a_module(module: str, down: str, up: str, base: dict[str, Tensor], tmp_path: Path) -> None:
    factors = random(2, 8, seed=1), random(8, 2, seed=2)
    merged = folded(tmp_path, saved(tmp_path / "lora.safetensors", dict(zip((down, up), factors, strict=True))))
    name = f"down_blocks.0.attentions.0.{module}.weight"
    same(merged[name], base[name] + factors[1] @ factors[0])


def test_settings_in_the_metadata_scale(base: dict[str, Tensor], tmp_path: Path) -> None:
    names = [
        f"{module}.lora_{factor}.weight" for module in ("conv_in", "mid_block.attentions.0.to_k") for factor in "AB"
    ]
    shapes = [(4, 4, 3, 3), (8, 4, 1, 1), (2, 8), (6, 2)]
    tensors = {name: random(*shape, seed=place) for place, (name, shape) in enumerate(zip(names, shapes, strict=True))}
    settings = {"r": 4, "lora_alpha": 2, "use_rslora": True, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"to_k": 6}}
    file = saved(tmp_path / "lora.safetensors", tensors, {"lora_adapter_metadata": json.dumps(settings)})
    merged = folded(tmp_path, file)
    name = "mid_block.attentions.0.to_k.weight"
    same(merged[name], base[name] + 6 / 2**0.5 * tensors[names[3]] @ tensors[names[2]])
    conv = (tensors[names[1]].flatten(1) @ tensors[names[0]].flatten(1)).reshape(8, 4, 3, 3)
    same(merged["conv_in.weight"], base["conv_in.weight"] + conv)
    with pytest.raises(SourceError, match="LoRA factors without their base"):
        folded(tmp_path, saved(tmp_path / "bare.safetensors", tensors), name="no")


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_files_merge_to_a_file_that_folds_to_the_same(layout: str, base: dict[str, Tensor], tmp_path: Path) -> None:
    first, _ = kohya(tmp_path)
    name = "unet.down_blocks.0.attentions.0.to_q"
    second = saved(
        tmp_path / "second.safetensors",
        {f"{name}.lora_A.weight": random(3, 8, seed=20), f"{name}.lora_B.weight": random(8, 3, seed=21)},
    )
    whole = folded(tmp_path, first, second)
    recipe: dict[str, Any] = {
        "base": tmp_path / "unet", "models": [first, second], "method": "task_arithmetic",
        "output": {"adapter": {"format": layout}},
    }  # fmt: skip
    record = mg.merge(recipe, tmp_path / "out.safetensors", workers=1)
    assert not any("truncated" in note for note in record.warnings)
    stored = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert all(name.startswith("lora_unet_" if layout == "kohya" else "unet.") for name in stored)
    assert {stored[name].shape[0] for name in stored if "to_q" in name and ("down" in name or "_A" in name)} & {7}
    again = folded(tmp_path, tmp_path / "out.safetensors", name="again")
    for tensor in base:
        same(again[tensor], whole[tensor])


def test_parts_for_another_model_are_noted_and_a_foreign_file_is_refused(
    base: dict[str, Tensor], tmp_path: Path
) -> None:
    factors = {"lora_down.weight": random(2, 8), "lora_up.weight": random(8, 2)}
    places = ("unet_down_blocks_0_attentions_0_to_q", "te1_text_model_q_proj")
    both = {f"lora_{place}.{end}": one for place in places for end, one in factors.items()}
    file = saved(tmp_path / "both.safetensors", both)
    plan = mg.make_plan(base=tmp_path / "unet", models=[file], method="average")
    assert any("holds for other models" in note and "te1 (1)" in note for note in plan.notes)
    other = saved(tmp_path / "other.safetensors", {name.replace("to_q", "to_x"): one for name, one in both.items()})
    with pytest.raises(MismatchError) as refused:
        mg.make_plan(base=tmp_path / "unet", models=[other], method="average")
    assert any("down_blocks_0_attentions_0_to_x" in reason for reason in refused.value.mismatches)


def test_names_that_underscores_make_one_are_refused(tmp_path: Path) -> None:
    models.write_model(tmp_path / "unet", {"a.b_c.weight": torch.zeros(8, 8), "a_b.c.weight": torch.zeros(8, 8)})
    tensors = {"lora_unet_a_b_c.lora_down.weight": random(2, 8), "lora_unet_a_b_c.lora_up.weight": random(8, 2)}
    file = saved(tmp_path / "file.safetensors", tensors)
    with pytest.raises(MismatchError) as refused:
        mg.make_plan(base=tmp_path / "unet", models=[file], method="average")
    assert any("is the name of several modules" in reason for reason in refused.value.mismatches)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({".lora_up.weight": None}, "has no up factor"),
        ({".lora_up.weight": random(8, 3)}, "have no product"),
        ({".alpha": torch.tensor(float("nan"))}, "alpha is not finite"),
        ({".alpha": torch.ones(2)}, "alpha has the shape"),
        ({".dora_scale": torch.ones(8, 1)}, "DoRA as LyCORIS stores it"),
        ({".lora_up.weight": random(7, 2)}, "down_blocks.0.attentions.0.to_q.weight"),
    ],
)
def test_malformed_files(changes: dict[str, Tensor | None], text: str, base: dict[str, Tensor], tmp_path: Path) -> None:
    place = "lora_unet_down_blocks_0_attentions_0_to_q"
    given: dict[str, Tensor | None] = {".lora_down.weight": random(2, 8), ".lora_up.weight": random(8, 2), **changes}
    tensors = {f"{place}{end}": one for end, one in given.items() if one is not None}
    with pytest.raises(MergeometryError) as refused:
        mg.make_plan(base=tmp_path / "unet", models=[saved(tmp_path / "x.safetensors", tensors)], method="average")
    assert text in str(refused.value) + str(getattr(refused.value, "mismatches", ""))


def test_what_the_formats_cannot_hold_is_refused_with_the_way_out(base: dict[str, Tensor], tmp_path: Path) -> None:
    moved = {name: tensor + 0.1 * random(*tensor.shape, seed=3) for name, tensor in base.items()}
    models.write_model(tmp_path / "tuned", moved)
    recipe = {"base": tmp_path / "unet", "models": [tmp_path / "tuned"], "method": "average"}
    with pytest.raises(MismatchError, match="holds factors of matrices and convolutions only"):
        adapter = {"rank": 8, "format": "kohya"}
        mg.make_plan({**recipe, "output": {"adapter": adapter}})
    lossy = {"rank": 8, "format": "kohya", "other": "none"}
    record = mg.merge({**recipe, "output": {"adapter": lossy}}, tmp_path / "out.safetensors", workers=1)
    assert any("leaves out 1 tensor that" in note and "to_out.0.bias" in note for note in record.warnings)
    merged = folded(tmp_path, tmp_path / "out.safetensors")
    for name, tensor in moved.items():
        same(merged[name], base[name] if name.endswith("bias") else tensor)
