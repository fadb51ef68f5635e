"""What mergekit 0.1.5 makes of vocabularies that differ, for our tests: run it with ``python -m``.

mergekit runs each case of `CASES`, in an environment of its own, on a tiny Llama and two fine-tunes that added tokens
in different orders. Inputs and outputs go into ``tests/golden/mergekit_tokenizers/``, where
``tests/plan/test_golden_tokenizers.py`` holds our merges of the same recipes against them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.speed.environments import MERGEKIT
from benchmarks.speed.measure import ROOT, say

FOLDER = ROOT / "tests" / "golden" / "mergekit_tokenizers"
ADDED = {"base": (), "first": ("<|turn|>", "<|end|>"), "second": ("<|tool|>", "<|end|>", "<|turn|>")}
MODELS = [{"model": "first", "parameters": {"weight": 0.5}}, {"model": "second", "parameters": {"weight": 0.25}}]
RECIPE = {"merge_method": "task_arithmetic", "base_model": "base", "models": MODELS, "dtype": "float32",
          "parameters": {"normalize": False}}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "union": {**RECIPE, "tokenizer_source": "union"},
    "base": {**RECIPE, "tokenizer_source": "base"},
    "model": {**RECIPE, "tokenizer_source": "second"},
    "rules": {
        **RECIPE,
        "tokenizer": {
            "source": "union",
            "tokens": {
                "<|end|>": {"source": "second", "force": True},
                "<|turn|>": {"source": {"kind": "model_token", "model": "first", "token": "<s>"}},
                "<|new|>": {"source": {"kind": "zero"}},
            },
            "pad_to_multiple_of": 16,
        },
    },
}
"""Recipes of mergekit, with models by the names of their folders."""


def recipe_of(name: str) -> str:
    """A case as a file, with the full paths of its models."""
    case = dict(CASES[name])
    source = {"tokenizer_source": case["tokenizer_source"]} if "tokenizer_source" in case else {}
    text = json.dumps({key: value for key, value in case.items() if key != "tokenizer_source"})
    for model in ADDED:
        text = text.replace(f'"{model}"', json.dumps(str(FOLDER / model)))
        source = {key: str(FOLDER / model) if value == model != "base" else value for key, value in source.items()}
    return json.dumps({**json.loads(text), **source})


def write_inputs(folder: Path) -> None:
    """The base and its two fine-tunes, whose tables have random rows."""
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415  (the cases are read without it)

    from tests.helpers.vocabularies import bpe  # noqa: PLC0415

    for seed, (name, added) in enumerate(ADDED.items()):
        tokenizer = bpe(size=64)
        tokenizer.add_special_tokens({"additional_special_tokens": list(added)})
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                        num_attention_heads=2, num_key_value_heads=1, bos_token_id=0, eos_token_id=1, pad_token_id=2)
        )  # fmt: skip
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def main() -> None:
    """Write inputs and mergekit's outputs."""
    write_inputs(FOLDER)
    vocabularies = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            given, output = Path(scratch) / "recipe.yml", Path(scratch) / "out"
            given.write_text(recipe_of(name))
            command = [str(MERGEKIT.program("mergekit-yaml")), str(given), str(output)]
            subprocess.run(command, check=True, cwd=FOLDER, capture_output=True)
            save_file(load_file(output / "model.safetensors"), FOLDER / f"{name}.safetensors")
            content = json.loads((output / "tokenizer.json").read_text())
            added = {one["content"]: one["id"] for one in content["added_tokens"]}
            vocabularies[name] = content["model"]["vocab"] | added
        say(f"{name}: written")
    (FOLDER / "vocabularies.json").write_text(json.dumps(vocabularies, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
