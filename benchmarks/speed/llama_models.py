"""Writes a 0.5B Llama in bfloat16 and fine-tunes of it: ``python -m benchmarks.speed.llama_models FOLDER COUNT``.

The shapes are those of Qwen2.5-0.5B under Llama's names, with tied tables. Weights are random; a fine-tune moves each
entry by about a thirtieth of its size, so that after rounding to bfloat16 one entry in ten stays as it was.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

LAYERS, WIDTH, INNER, KEYS, WORDS = 24, 896, 4864, 128, 151_936
SPREAD, MOVE = 0.02, 0.0006
"""Standard deviations of the base's entries and of what a fine-tune adds to them."""


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor."""
    yield "model.embed_tokens.weight", (WORDS, WIDTH)
    maps = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (KEYS, WIDTH),
        "self_attn.v_proj": (KEYS, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    for layer in range(LAYERS):
        for name, shape in maps.items():
            yield f"model.layers.{layer}.{name}.weight", shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", (WIDTH,)
    yield "model.norm.weight", (WIDTH,)


PARAMETERS = sum(math.prod(shape) for _, shape in shapes())

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def write(folder: Path, count: int) -> list[Path]:
    """Write the base and ``count`` fine-tunes, unless they are there, and return their folders, the base's first."""
    places = [folder / "base", *(folder / f"task{task}" for task in range(count))]
    for number, place in enumerate(places):
        if place.exists():
            continue
        unfinished = folder / f"{place.name}.unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        save_file(dict(_tensors(number)), unfinished / "model.safetensors", metadata={"format": "pt"})
        (unfinished / "config.json").write_text(json.dumps(CONFIG, indent=1))
        unfinished.rename(place)
    return places


def _tensors(number: int) -> Iterator[tuple[str, Tensor]]:
    """The base's tensors for number 0, a fine-tune's for any other."""
    for place, (name, shape) in enumerate(shapes()):
        base = torch.randn(shape, generator=torch.Generator().manual_seed(place)).mul_(SPREAD)
        if len(shape) == 1:
            base.add_(1.0)
        if number:
            own = torch.Generator().manual_seed(1_000_000 * number + place)
            base.add_(torch.randn(shape, generator=own), alpha=MOVE)
        yield name, base.bfloat16()


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]), int(sys.argv[2]))
