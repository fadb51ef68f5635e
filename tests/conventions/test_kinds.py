"""Which tensors are the matrices of linear maps, in the names of real architectures."""

from __future__ import annotations

import pytest

from mergeometry.conventions.kinds import is_matrix, is_vocabulary

MATRICES = {
    "bert": [
        ("bert.encoder.layer.0.attention.self.query.weight", (8, 8)),
        ("bert.encoder.layer.11.intermediate.dense.weight", (32, 8)),
        ("bert.pooler.dense.weight", (8, 8)),
        ("cls.predictions.transform.dense.weight", (8, 8)),
        ("classifier.weight", (2, 8)),
    ],
    "gpt2": [("transformer.h.0.attn.c_attn.weight", (8, 24)), ("h.0.mlp.c_proj.weight", (32, 8))],
    "llama": [("model.layers.0.self_attn.q_proj.weight", (8, 8)), ("model.layers.0.mlp.down_proj.weight", (8, 32))],
    "t5": [
        ("encoder.block.0.layer.0.SelfAttention.q.weight", (8, 8)),
        ("decoder.block.0.layer.2.DenseReluDense.wi_0.weight", (32, 8)),
    ],
    "qwen-moe": [
        ("model.layers.0.mlp.shared_expert.gate_proj.weight", (32, 8)),
        ("model.layers.0.mlp.shared_expert_gate.weight", (1, 8)),
        ("model.layers.0.mlp.experts.3.up_proj.weight", (32, 8)),
        ("model.layers.0.mlp.gate.weight", (4, 8)),
    ],
    "clip": [
        ("visual_projection.weight", (8, 8)),
        ("vision_model.encoder.layers.0.self_attn.k_proj.weight", (8, 8)),
        ("text_model.encoder.layers.0.mlp.fc1.weight", (32, 8)),
    ],
    "vit": [("vit.encoder.layer.0.attention.attention.query.weight", (8, 8)), ("blocks.0.attn.qkv.weight", (24, 8))],
    "dinov2": [
        ("encoder.layer.0.attention.attention.value.weight", (8, 8)),
        ("encoder.layer.0.mlp.fc1.weight", (32, 8)),
    ],
}
OTHERS = {
    "ctrl": [("transformer.w.weight", (40, 8)), ("w.weight", (40, 8))],
    "bert": [
        ("bert.embeddings.word_embeddings.weight", (40, 8)),
        ("embeddings.position_embeddings.weight", (12, 8)),
        ("bert.embeddings.token_type_embeddings.weight", (2, 8)),
        ("bert.encoder.layer.0.output.LayerNorm.weight", (8,)),
        ("bert.encoder.layer.0.attention.self.query.bias", (8,)),
        ("embeddings.position_ids", (1, 12)),
    ],
    "gpt2": [("transformer.wte.weight", (40, 8)), ("wpe.weight", (12, 8)), ("h.0.attn.bias", (1, 1, 12, 12)),
             ("lm_head.weight", (40, 8)), ("h.0.ln_1.weight", (8,))],
    "llama": [("model.embed_tokens.weight", (40, 8)), ("lm_head.weight", (40, 8)), ("model.norm.weight", (8,)),
              ("model.layers.0.self_attn.rotary_emb.inv_freq", (4,))],
    "t5": [
        ("shared.weight", (40, 8)),
        ("encoder.embed_tokens.weight", (40, 8)),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, 2)),
        ("encoder.block.0.layer.0.layer_norm.weight", (8,)),
    ],
    "qwen-moe": [("model.layers.0.mlp.experts.gate_up_proj", (4, 8, 64))],
    "clip": [
        ("text_projection.weight", (8, 8)),
        ("vision_model.embeddings.patch_embedding.weight", (8, 3, 4, 4)),
        ("vision_model.embeddings.class_embedding", (8,)),
        ("text_model.embeddings.token_embedding.weight", (40, 8)),
        ("logit_scale", ()),
    ],
    "vit": [
        ("vit.embeddings.cls_token", (1, 1, 8)),
        ("vit.embeddings.patch_embeddings.projection.weight", (8, 3, 4, 4)),
        ("patch_embed.proj.weight", (8, 3, 4, 4)),
        ("pos_embed", (1, 17, 8)),
    ],
    "dinov2": [("embeddings.mask_token", (1, 8)), ("encoder.layer.0.layer_scale1.lambda1", (8,))],
    "odd": [("dense.weight", (0, 8)), ("dense.weight", (8,)), ("gpt_neox.embed_out.weight", (40, 8))],
}  # fmt: skip


@pytest.mark.parametrize(("name", "shape"), [case for cases in MATRICES.values() for case in cases])
def test_linear_maps_are_matrices(name: str, shape: tuple[int, ...]) -> None:
    assert is_matrix(name, shape)


@pytest.mark.parametrize(("name", "shape"), [case for cases in OTHERS.values() for case in cases])
def test_everything_else_is_not(name: str, shape: tuple[int, ...]) -> None:
    assert not is_matrix(name, shape)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shared.weight", True),
        ("model.embed_tokens.weight", True),
        ("cls.predictions.decoder.weight", True),
        ("mlp.shared_expert.down_proj.weight", False),
        ("encoder.dense.weight", False),
    ],
)
def test_tables_of_a_vocabulary(name: str, expected: bool) -> None:
    assert is_vocabulary(name) is expected
