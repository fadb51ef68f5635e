"""What mergekit-moe 0.1.5 makes of small Mistrals, for our tests: ``python -m benchmarks.studies.golden_mixture``.

mergekit runs in an environment of its own. Inputs, its gates by every kind of prompt and its experts go into
``tests/golden/mixture/``, where ``tests/execution/test_mixtures.py`` holds our mixtures against them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.speed.environments import MERGEKIT
from benchmarks.speed.measure import ROOT, say

FILE = ROOT / "tests" / "golden" / "mixture" / "mistral.safetensors"
MODELS = ("base", "first", "second")
GATES = ("hidden", "hidden_avg", "cheap_embed")
WIDTH, HIDDEN, LAYERS = 16, 24, 2
CONFIG = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": WIDTH, "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 16,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
}  # fmt: skip
WORDS = ("<s>", "</s>", *(f"word{number}" for number in range(14)))
PROMPTS = [
    {"positive_prompts": ["word0 word1 word2", "word3 word4 word0"], "negative_prompts": ["word9 word8"]},
    {"positive_prompts": ["word5 word6"], "negative_prompts": ["word7 word1 word2 word3"]},
]
"""Those that are averaged are of one length, since mergekit counts the padding of shorter ones as tokens."""


def recipe(folder: Path, gate: str) -> dict[str, Any]:
    """mergekit-moe's recipe, which is ours too."""
    experts = [
        {"source_model": str(folder / name), **prompts} for name, prompts in zip(MODELS[1:], PROMPTS, strict=True)
    ]
    return {"base_model": str(folder / "base"), "gate_mode": gate, "dtype": "float32", "experts": experts}


def write(states: dict[str, dict[str, Tensor]], folder: Path) -> None:
    """Write the models with their configuration, and the tokenizer that mergekit reads next to the base."""
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [
            {"id": number, "content": WORDS[number], "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for number in (0, 1)
        ],
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: n for n, word in enumerate(WORDS)}, "unk_token": "</s>"},
    }  # fmt: skip
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    for name, state in states.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        save_file(state, place / "model.safetensors", metadata={"format": "pt"})
        for file, content in (
            ("config.json", CONFIG), ("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)
        ):  # fmt: skip
            (place / file).write_text(json.dumps(content))


def inputs() -> dict[str, dict[str, Tensor]]:
    """A base and two models next to it, of random weights."""
    shapes = {"model.embed_tokens.weight": (16, WIDTH), "lm_head.weight": (16, WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (16, WIDTH) for name in ("q", "o")}
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (8, WIDTH) for name in ("k", "v")}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (HIDDEN, WIDTH) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (WIDTH, HIDDEN)
    states = {}
    for seed, name in enumerate(MODELS):
        generator = torch.Generator().manual_seed(seed)
        states[name] = {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}
    return states


def main() -> None:
    MERGEKIT.make()
    states, together, made = inputs(), {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(states, folder)
        for gate in GATES:
            (folder / f"{gate}.yaml").write_text(json.dumps(recipe(folder, gate)))
            program = MERGEKIT.program("mergekit-moe")
            subprocess.run([program, folder / f"{gate}.yaml", folder / gate, "--device", "cpu"], check=True)
            made = load_file(folder / gate / "model.safetensors")
            together |= {f"{gate}/{name}": tensor for name, tensor in made.items() if name.endswith("mlp.gate.weight")}
        together |= {f"experts/{name}": tensor for name, tensor in made.items() if ".experts." in name}
    together |= {f"{name}/{key}": tensor for name, state in states.items() for key, tensor in state.items()}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    save_file(together, FILE, metadata={"mergekit": MERGEKIT.version})
    say(f"wrote {FILE.relative_to(ROOT)}, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
