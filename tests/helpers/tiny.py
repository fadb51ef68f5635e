"""Tiny models of Transformers with random weights, one per architecture that a test needs."""

from __future__ import annotations

import warnings
from typing import Any

import torch

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_VISION = {**_SMALL, "image_size": 16, "patch_size": 8}
_TEXT = {**_SMALL, "vocab_size": 64, "num_key_value_heads": 1, "max_position_embeddings": 64}
_HEADED = {**_TEXT, "head_dim": 16}
_ENCODER = {**_SMALL, "vocab_size": 64, "max_position_embeddings": 64}


def _llava(t: Any) -> Any:
    return t.LlavaForConditionalGeneration, t.LlavaConfig(
        vision_config=t.CLIPVisionConfig(**_VISION), text_config=t.LlamaConfig(**_TEXT)
    )


def _paligemma(t: Any) -> Any:
    return t.PaliGemmaForConditionalGeneration, t.PaliGemmaConfig(
        vision_config=t.SiglipVisionConfig(**_VISION).to_dict(),
        text_config=t.GemmaConfig(**_HEADED).to_dict(),
        projection_dim=32,
    )


def _gemma3(t: Any) -> Any:
    return t.Gemma3ForConditionalGeneration, t.Gemma3Config(
        vision_config=t.SiglipVisionConfig(**_VISION).to_dict(), text_config=t.Gemma3TextConfig(**_HEADED).to_dict()
    )


def _qwen2_vl(t: Any) -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 2, 4], "rope_theta": 10_000.0}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8}
    return t.Qwen2VLForConditionalGeneration, t.Qwen2VLConfig(
        text_config={**_TEXT, "rope_parameters": rope}, vision_config=vision
    )


def _detr(t: Any) -> Any:
    backbone = t.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage4"]
    )  # fmt: skip
    sizes = {
        f"{side}_{name}": number
        for side in ("encoder", "decoder")
        for name, number in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
    }
    return t.DetrModel, t.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32,
        **sizes,
    )


_KINDS: dict[str, Any] = {
    "bert": lambda t: (t.BertForMaskedLM, t.BertConfig(**_ENCODER)),
    "roberta": lambda t: (t.RobertaForMaskedLM, t.RobertaConfig(**_ENCODER)),
    "distilbert": lambda t: (
        t.DistilBertForMaskedLM,
        t.DistilBertConfig(vocab_size=64, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=64),
    ),
    "llama": lambda t: (t.LlamaForCausalLM, t.LlamaConfig(**_TEXT)),
    "llama-tied": lambda t: (t.LlamaForCausalLM, t.LlamaConfig(**_TEXT, tie_word_embeddings=True)),
    "gpt2": lambda t: (t.GPT2LMHeadModel, t.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64, n_positions=64)),
    "t5": lambda t: (
        t.T5ForConditionalGeneration,
        t.T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, vocab_size=64, decoder_start_token_id=0),
    ),
    "gpt_neox": lambda t: (t.GPTNeoXForCausalLM, t.GPTNeoXConfig(**_ENCODER)),
    "vit": lambda t: (t.ViTForImageClassification, t.ViTConfig(**_VISION, num_labels=3)),
    "deit": lambda t: (t.DeiTForImageClassification, t.DeiTConfig(**_VISION)),
    "beit": lambda t: (t.BeitForImageClassification, t.BeitConfig(**_VISION, use_relative_position_bias=True)),
    "beit-shared": lambda t: (
        t.BeitForImageClassification,
        t.BeitConfig(**_VISION, use_shared_relative_position_bias=True),
    ),
    "dinov2": lambda t: (t.Dinov2Model, t.Dinov2Config(**_VISION)),
    "vit_msn": lambda t: (t.ViTMSNModel, t.ViTMSNConfig(**_VISION)),
    "vit_mae": lambda t: (
        t.ViTMAEForPreTraining,
        t.ViTMAEConfig(
            **_VISION, decoder_num_hidden_layers=1, decoder_hidden_size=32, decoder_num_attention_heads=2,
            decoder_intermediate_size=32,
        ),
    ),
    "swin": lambda t: (
        t.SwinForImageClassification,
        t.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2),
    ),
    "segformer": lambda t: (
        t.SegformerForImageClassification,
        t.SegformerConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
    ),
    "detr": _detr,
    "llava": _llava,
    "paligemma": _paligemma,
    "gemma3": _gemma3,
    "qwen2_vl": _qwen2_vl,
}  # fmt: skip


def tiny(kind: str, seed: int = 0) -> Any:
    """A model of the kind, ready to be run; equal kinds and seeds give equal weights."""
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model, config = _KINDS[kind](transformers)
        return model(config).eval()


def moved(model: Any, seed: int, size: float = 0.05) -> Any:
    """A fine-tune of the model, in place: each parameter a little elsewhere, and what is tied stays tied."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model


def tokens(count: int = 7) -> torch.Tensor:
    """Two short texts."""
    return torch.arange(3, 3 + 2 * count).reshape(2, count)
