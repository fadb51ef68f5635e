"""Two layers of models of full size, in headers alone: real names and shapes, and files without data on the disk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARD = 10_000_000_000
"""Bytes of a file, about."""


@dataclass(frozen=True)
class Size:
    """A model of full size: a name, the shapes of its tensors in bfloat16, and its configuration."""

    name: str
    tensors: Mapping[str, tuple[int, ...]]
    """Those of the first two layers; all others are as the second."""
    config: Mapping[str, Any]
    layers: int

    def times(self, tensor: str) -> int:
        """How often a tensor of the second layer, or any other, stands in the whole model."""
        return self.layers - 1 if tensor.startswith("model.layers.1.") else 1

    @property
    def parameters(self) -> int:
        return sum(self.times(name) * math.prod(shape) for name, shape in self.tensors.items())


def _attention(width: int, keys: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    maps = [(f"self_attn.{part}_proj", (keys if part in "kv" else width, width)) for part in "qkvo"]
    return [*maps, ("input_layernorm", (width,)), ("post_attention_layernorm", (width,))]


def _mlp(width: int, inner: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    return [("gate_proj", (inner, width)), ("up_proj", (inner, width)), ("down_proj", (width, inner))]


def llama(name: str, width: int, inner: int, keys: int, words: int, layers: int) -> Size:
    """A Llama with untied tables."""
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, width)}
    for layer in range(2):
        tensors |= {f"model.layers.{layer}.{part}.weight": shape for part, shape in _attention(width, keys)}
        tensors |= {f"model.layers.{layer}.mlp.{part}.weight": shape for part, shape in _mlp(width, inner)}
    tensors |= {"model.norm.weight": (width,), "lm_head.weight": (words, width)}
    config: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width}
    config |= {"num_hidden_layers": 2, "intermediate_size": inner, "vocab_size": words, "tie_word_embeddings": False}
    return Size(name, tensors, config, layers)


def mixture(name: str, width: int, inner: int, keys: int, words: int, layers: int, experts: int) -> Size:
    """A mixture of experts with a tensor per expert and projection, as Qwen3-MoE writes it."""
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, width)}
    for layer in range(2):
        place = f"model.layers.{layer}"
        tensors |= {f"{place}.{part}.weight": shape for part, shape in _attention(width, keys)}
        tensors[f"{place}.mlp.gate.weight"] = (experts, width)
        for expert in range(experts):
            tensors |= {f"{place}.mlp.experts.{expert}.{part}.weight": shape for part, shape in _mlp(width, inner)}
    tensors |= {"model.norm.weight": (width,), "lm_head.weight": (words, width)}
    config: dict[str, Any] = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}
    config["hidden_size"] = width
    config |= {"num_hidden_layers": 2, "moe_intermediate_size": inner, "num_experts": experts}
    return Size(name, tensors, {**config, "vocab_size": words, "tie_word_embeddings": False}, layers)


SIZES = (
    llama("7B", 4096, 11_008, 4096, 32_000, 32),
    llama("70B", 8192, 28_672, 1024, 32_000, 80),
    mixture("400B mixture", 6144, 2560, 1024, 151_936, 64, 128),
)
"""Llama 2's 7B and 70B, and a mixture between Qwen3's 235B and its 480B: 64 layers of 128 experts."""


def write(folder: Path, size: Size) -> Path:
    """Write the headers and the configuration; the files are as long as real ones, and take no room."""
    folder.mkdir(parents=True)
    places: dict[str, str] = {}
    for number, shard in enumerate(_shards(size.tensors)):
        file = f"model-{number + 1:05d}.safetensors"
        _write_file(folder / file, shard)
        places.update(dict.fromkeys(shard, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(json.dumps(size.config))
    return folder


def write_adapter(folder: Path, size: Size, rank: int) -> Path:
    """Write the header of an adapter of every linear map, in bfloat16."""
    folder.mkdir(parents=True)
    tensors: dict[str, tuple[int, ...]] = {}
    modules = [name.removesuffix(".weight") for name in size.tensors if name.endswith("_proj.weight")]
    for module in modules:
        outputs, inputs = size.tensors[f"{module}.weight"]
        tensors[f"base_model.model.{module}.lora_A.weight"] = (rank, inputs)
        tensors[f"base_model.model.{module}.lora_B.weight"] = (outputs, rank)
    _write_file(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none"}
    targets = sorted({module.rsplit(".", 1)[1] for module in modules})
    (folder / "adapter_config.json").write_text(
        json.dumps({**config, "target_modules": targets, "base_model_name_or_path": None, "fan_in_fan_out": False})
    )
    return folder


def _write_file(file: Path, tensors: Mapping[str, tuple[int, ...]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)


def _shards(tensors: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, tuple[int, ...]]]:
    shard: dict[str, tuple[int, ...]] = {}
    filled = 0
    for name, shape in tensors.items():
        shard[name] = shape
        filled += 2 * math.prod(shape)
        if filled > SHARD:
            yield shard
            shard, filled = {}, 0
    if shard:
        yield shard
