"""Every renamed family is held against the Transformers that is installed: names on disk become the names in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors

from mergeometry.conventions.renames import Renames
from tests.helpers.tiny import tiny

KINDS = [
    "vit", "deit", "beit", "beit-shared", "dinov2", "vit_msn", "vit_mae", "swin", "segformer", "detr", "llava",
    "paligemma", "gemma3", "qwen2_vl", "gpt_neox", "bert",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_names_on_disk_become_the_names_in_memory(tmp_path: Path, kind: str) -> None:
    model = tiny(kind)
    model.save_pretrained(tmp_path)
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        disk = set(file.keys())
    memory = {name for name, _ in model.named_parameters()} | {
        n for n, _ in model.named_buffers() if n in model.state_dict()
    }
    renames = Renames(json.loads((tmp_path / "config.json").read_text()))
    assert {renames.newest(name) for name in disk} == memory
    assert {renames.newest(name) for name in memory} == memory


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
        ("bert.embeddings.LayerNorm.beta", "bert.embeddings.LayerNorm.bias"),
        ("encoder.pos_conv_embed.conv.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        ("encoder.pos_conv_embed.conv.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    ],
)
def test_names_that_changed_in_every_model(old: str, new: str) -> None:
    assert Renames(None).newest(old) == new == Renames({"model_type": "bert"}).newest(new)


def test_a_rule_of_one_family_leaves_the_others_alone() -> None:
    name = "bert.encoder.layer.0.attention.output.dense.weight"
    assert Renames({"model_type": "bert"}).newest(name) == name


@pytest.mark.parametrize("prefix", ["", "model."])
def test_towers_lost_a_name(prefix: str) -> None:
    for kind in ("llava", "paligemma"):
        renames = Renames({"model_type": kind})
        for name in ("vision_tower.vision_model.embeddings.bias", "vision_tower.embeddings.bias"):
            assert renames.newest(prefix + name) == "model.vision_tower.embeddings.bias"
