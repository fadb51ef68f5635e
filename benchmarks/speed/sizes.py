"""The shapes that are measured."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DENSITY = 0.2
"""Share of entries that TIES keeps, its default."""


@dataclass(frozen=True)
class Size(ABC):
    """A transformer's shapes, how many models of it are merged, and the rank of its adapters."""

    name: str
    layers: int
    width: int
    inner: int
    tasks: int
    adapter_rank: int
    directions: float = field(default=1.0, kw_only=True)
    """Share of a task vector's directions with sizes of their own; the rest is noise. Few are quick to write."""

    @abstractmethod
    def layer(self, number: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """The linear maps of one layer: name of the module and (outputs, inputs)."""

    @abstractmethod
    def others(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Every tensor that is not a linear map."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The content of ``config.json`` except the dtype."""

    def matrices(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Name of the module and (outputs, inputs) of every linear map."""
        for number in range(self.layers):
            yield from self.layer(number)

    @property
    def parameters(self) -> int:
        """The number of parameters of a model."""
        return sum(m * n for _, (m, n) in self.matrices()) + sum(math.prod(shape) for _, shape in self.others())


@dataclass(frozen=True)
class VisionTransformer(Size):
    """ViT, by the names that transformers writes to disk, without the pooler."""

    patch: int
    patches: int

    def layer(self, number: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """The six linear maps of one layer."""
        block = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield f"{block}.attention.attention.{name}", (self.width, self.width)
        yield f"{block}.attention.output.dense", (self.width, self.width)
        yield f"{block}.intermediate.dense", (self.inner, self.width)
        yield f"{block}.output.dense", (self.width, self.inner)

    def others(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Embeddings, biases and norms."""
        yield "embeddings.cls_token", (1, 1, self.width)
        yield "embeddings.position_embeddings", (1, self.patches + 1, self.width)
        yield "embeddings.patch_embeddings.projection.weight", (self.width, 3, self.patch, self.patch)
        yield "embeddings.patch_embeddings.projection.bias", (self.width,)
        for module, (outputs, _) in self.matrices():
            yield f"{module}.bias", (outputs,)
        for number in range(self.layers):
            for norm in ("layernorm_before", "layernorm_after"):
                yield f"encoder.layer.{number}.{norm}.weight", (self.width,)
                yield f"encoder.layer.{number}.{norm}.bias", (self.width,)
        yield "layernorm.weight", (self.width,)
        yield "layernorm.bias", (self.width,)

    def config(self) -> dict[str, Any]:
        """ViT's configuration."""
        return {
            "architectures": ["ViTModel"],
            "model_type": "vit",
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 12,
            "image_size": self.patch * round(self.patches**0.5),
            "patch_size": self.patch,
        }


@dataclass(frozen=True)
class Bert(Size):
    """BERT, by the names that transformers writes to disk, without the pooler."""

    words: int
    positions: int

    def layer(self, number: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """The six linear maps of one layer."""
        block = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield f"{block}.attention.self.{name}", (self.width, self.width)
        yield f"{block}.attention.output.dense", (self.width, self.width)
        yield f"{block}.intermediate.dense", (self.inner, self.width)
        yield f"{block}.output.dense", (self.width, self.inner)

    def others(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Embeddings, biases and norms."""
        yield "embeddings.word_embeddings.weight", (self.words, self.width)
        yield "embeddings.position_embeddings.weight", (self.positions, self.width)
        yield "embeddings.token_type_embeddings.weight", (2, self.width)
        for module, (outputs, _) in self.matrices():
            yield f"{module}.bias", (outputs,)
        blocks = (f"encoder.layer.{number}" for number in range(self.layers))
        norms = [f"{block}.{part}.LayerNorm" for block in blocks for part in ("attention.output", "output")]
        for norm in ("embeddings.LayerNorm", *norms):
            yield f"{norm}.weight", (self.width,)
            yield f"{norm}.bias", (self.width,)

    def config(self) -> dict[str, Any]:
        """BERT's configuration."""
        return {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 32,
            "vocab_size": self.words,
            "max_position_embeddings": self.positions,
            "type_vocab_size": 2,
        }


@dataclass(frozen=True)
class Llama(Size):
    """Llama, by the names that transformers writes to disk."""

    words: int
    head: int = 128
    """The width of an attention head."""
    keys: int | None = None
    """The width of keys and values, where heads share them."""
    tied: bool = False
    """Whether the output layer is the table of word embeddings."""

    def layer(self, number: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """The seven linear maps of one layer."""
        block = f"model.layers.{number}"
        for name, outputs in (
            ("q_proj", self.width), ("k_proj", self._keys), ("v_proj", self._keys), ("o_proj", self.width)
        ):  # fmt: skip
            yield f"{block}.self_attn.{name}", (outputs, self.width)
        for name in ("gate_proj", "up_proj"):
            yield f"{block}.mlp.{name}", (self.inner, self.width)
        yield f"{block}.mlp.down_proj", (self.width, self.inner)

    def others(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Tables and norms."""
        yield "model.embed_tokens.weight", (self.words, self.width)
        for number in range(self.layers):
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield f"model.layers.{number}.{norm}.weight", (self.width,)
        yield "model.norm.weight", (self.width,)
        if not self.tied:
            yield "lm_head.weight", (self.words, self.width)

    def config(self) -> dict[str, Any]:
        """Llama's configuration."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": max(1, self.width // self.head),
            "num_key_value_heads": max(1, self._keys // self.head),
            "vocab_size": self.words,
            "tie_word_embeddings": self.tied,
        }

    @property
    def _keys(self) -> int:
        return self.width if self.keys is None else self.keys


VIT_B = VisionTransformer("ViT-B", 12, 768, 3072, tasks=8, adapter_rank=16, patch=16, patches=196)
MINILM = Bert("MiniLM", 6, 384, 1536, tasks=8, adapter_rank=16, words=30522, positions=512)
SMALL_VIT = VisionTransformer("small-ViT", 3, 384, 1536, tasks=3, adapter_rank=16, patch=16, patches=196)
BERT_LARGE = Bert("BERT-large", 24, 1024, 4096, tasks=8, adapter_rank=16, words=30522, positions=512, directions=0.125)
TINY = VisionTransformer("tiny", 1, 24, 48, tasks=3, adapter_rank=2, patch=2, patches=4)
TINY_BERT = Bert("tiny-BERT", 1, 96, 128, tasks=3, adapter_rank=2, words=120, positions=16)
LLAMA_7B = Llama("Llama-7B", 32, 4096, 11_008, tasks=8, adapter_rank=16, words=32_000)
TINY_LLAMA = Llama("tiny-Llama", 1, 32, 48, tasks=3, adapter_rank=2, words=40)
LLAMA_1B = Llama("Llama-1.2B", 16, 2048, 8192, tasks=3, adapter_rank=16, words=128_256, head=64, keys=512, tied=True)
LLAMA_HALF_B = Llama("Llama-0.5B", 24, 896, 4864, tasks=3, adapter_rank=16, words=151_936, head=64, keys=128, tied=True)
"""The shapes of Qwen2.5-0.5B under Llama's names."""
BY_NAME = {size.name: size for size in (VIT_B, MINILM, SMALL_VIT, BERT_LARGE, LLAMA_7B, TINY, TINY_BERT, TINY_LLAMA)}
