"""Small mixtures of experts, written with a tensor per expert and with all experts of a layer in one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.helpers.models import Tensors, write_model

SIZES = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "tie_word_embeddings": False,
}  # fmt: skip
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(w1|w2|w3|gate_proj|down_proj|up_proj)\.weight")
_PLACES = {"w1": "gate", "gate_proj": "gate", "w3": "up", "up_proj": "up", "w2": "down", "down_proj": "down"}


def mixture(kind: str, seed: int) -> Any:
    """A live Mixtral, or a Qwen2-MoE with a shared expert."""
    import transformers

    torch.manual_seed(seed)
    if kind == "mixtral":
        config = transformers.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
        return transformers.MixtralForCausalLM(config).eval()
    config = transformers.Qwen2MoeConfig(
        **SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=10, shared_expert_intermediate_size=12
    )
    return transformers.Qwen2MoeForCausalLM(config).eval()


def save_unstacked(model: Any, folder: Path) -> Path:
    """As transformers writes it: a tensor per expert."""
    model.save_pretrained(folder)
    return folder


def stacked(tensors: Tensors) -> Tensors:
    """The same weights with the experts of each layer in `gate_up_proj` and `down_proj`."""
    found: dict[str, dict[str, dict[int, Tensor]]] = {}
    whole = {}
    for name, tensor in tensors.items():
        if match := _EXPERT.fullmatch(name):
            prefix, expert, part = match.groups()
            found.setdefault(prefix, {}).setdefault(_PLACES[part], {})[int(expert)] = tensor
        else:
            whole[name] = tensor
    for prefix, parts in found.items():
        gate, up, down = (
            torch.stack([parts[part][place] for place in sorted(parts[part])]) for part in ("gate", "up", "down")
        )
        whole |= {f"{prefix}.gate_up_proj": torch.cat([gate, up], dim=1), f"{prefix}.down_proj": down}
    return whole


def write_transposed(folder: Path, tensors: Tensors) -> Path:
    """The stacked weights with every expert's matrix as (inputs, outputs)."""
    turned = {name: tensor.mT if tensor.ndim == 3 else tensor for name, tensor in tensors.items()}
    return write_model(folder, turned)
