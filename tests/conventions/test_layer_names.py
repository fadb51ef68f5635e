"""Names of layers in the files that Transformers writes, and in those of other libraries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergeometry.conventions.layer_names import LayerNames
from mergeometry.sources import open_checkpoint
from tests.helpers.tiny import tiny


def _names(kind: str, folder: Path) -> LayerNames:
    tiny(kind).save_pretrained(folder)
    checkpoint = open_checkpoint(folder, "model")
    return LayerNames(checkpoint.tensors, checkpoint.config)


@pytest.mark.parametrize(
    ("kind", "tower", "section", "key", "before", "after"),
    [
        ("llama", "model.layers", "", "num_hidden_layers", "model.embed_tokens.weight", "lm_head.weight"),
        ("gpt2", "transformer.h", "", "n_layer", "transformer.wpe.weight", "transformer.ln_f.bias"),
        ("gpt_neox", "gpt_neox.layers", "", "num_hidden_layers", "gpt_neox.embed_in.weight", "embed_out.weight"),
        (
            "roberta", "roberta.encoder.layer", "", "num_hidden_layers", "roberta.embeddings.LayerNorm.bias",
            "lm_head.dense.weight",
        ),
        ("vit", "vit.encoder.layer", "", "num_hidden_layers", "vit.embeddings.cls_token", "classifier.weight"),
        (
            "llava", "language_model.model.layers", "text_config", "num_hidden_layers",
            "multi_modal_projector.linear_1.weight", "language_model.lm_head.weight",
        ),
        ("qwen2_vl", "model.layers", "text_config", "num_hidden_layers", "model.embed_tokens.weight", "lm_head.weight"),
    ],
)  # fmt: skip
def test_layers_and_what_surrounds_them(
    tmp_path: Path, kind: str, tower: str, section: str, key: str, before: str, after: str
) -> None:
    names = _names(kind, tmp_path)
    assert names.main is not None
    assert (names.main.name, names.main.count, names.main.section, names.main.keys) == (tower, 2, section, (key,))
    for name, depth in ((before, 0.0), (after, 1.0)):
        place = names.place(name)
        assert place is not None
        assert (place.tower.name, place.layer, place.depth) == (tower, None, depth)
    layered = [name for name in names.names if names.number(name) is not None and name.startswith(tower)]
    depths = {place.depth for name in layered if (place := names.place(name))}
    assert depths == {0.0, 1.0}


def test_a_vision_tower_counts_its_own_layers(tmp_path: Path) -> None:
    names = _names("qwen2_vl", tmp_path)
    tower = names.towers["visual.blocks"]
    assert (tower.count, tower.section, tower.keys) == (1, "vision_config", ("depth",))
    place = names.place("visual.patch_embed.proj.weight")
    assert place is not None
    assert (place.tower.name, place.after) == ("visual.blocks", False)


def test_an_encoder_and_a_decoder_have_no_main_tower(tmp_path: Path) -> None:
    names = _names("t5", tmp_path)
    assert names.main is None
    assert names.towers["encoder.block"].keys == ("num_layers",)
    assert names.towers["decoder.block"].keys[0] == "num_decoder_layers"
    place = names.place("decoder.final_layer_norm.weight")
    assert place is not None
    assert (place.tower.name, place.depth) == ("decoder.block", 1.0)


def test_experts_are_no_layers() -> None:
    names = LayerNames(
        [f"model.layers.{n}.block_sparse_moe.experts.{e}.w1.weight" for n in (0, 1) for e in range(8)], {}
    )
    assert [tower.count for tower in names.towers.values()] == [2]
    assert names.renamed("model.layers.1.block_sparse_moe.experts.7.w1.weight", 5) == (
        "model.layers.5.block_sparse_moe.experts.7.w1.weight"
    )


def test_modules_that_predict_more_tokens_come_after_the_layers_that_are_counted() -> None:
    config = json.loads('{"num_hidden_layers": 2, "num_nextn_predict_layers": 1}')
    names = LayerNames([f"model.layers.{n}.mlp.up_proj.weight" for n in range(3)], config)
    place = names.place("model.layers.2.mlp.up_proj.weight")
    assert place is not None
    assert (place.tower.count, place.layer, place.after) == (2, None, True)
    assert names.number("model.layers.2.mlp.up_proj.weight") == 2


def test_depths_are_even_and_an_only_layer_is_the_last() -> None:
    names = LayerNames([f"blocks.{n}.attn.qkv.weight" for n in range(5)], None)
    depths = [place.depth for n in range(5) if (place := names.place(f"blocks.{n}.attn.qkv.weight"))]
    assert depths == [0.0, 0.25, 0.5, 0.75, 1.0]
    only = LayerNames(["h.0.attn.weight"], None).place("h.0.attn.weight")
    assert only is not None
    assert only.depth == 1.0


def test_a_model_without_layers_has_no_places() -> None:
    names = LayerNames(["embed.weight", "dense.weight"], None)
    assert names.place("embed.weight") is None
    assert names.main is None
