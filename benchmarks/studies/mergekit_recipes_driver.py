"""Makes small models and runs mergekit on recipes: for the interpreter of mergekit's own environment.

``python benchmarks/studies/mergekit_recipes_driver.py RECIPES FOLDER``: for each architecture, models base, a, b and c in
``FOLDER/ARCHITECTURE``, and what mergekit makes of every recipe of ``RECIPES`` that is meant for it, each as one file in
``out``; ``failures.json`` says what mergekit did not merge, and why.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
import transformers as t
import yaml
from mergekit.architecture.auto import infer_architecture_info
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file, save_file

SMALL = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 16, "num_key_value_heads": 1, "max_position_embeddings": 16, "head_dim": 4}
MODELS = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**TEXT)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**TEXT)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**TEXT)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**TEXT)),
    "phi": lambda: t.PhiForCausalLM(t.PhiConfig(**{**TEXT, "num_key_value_heads": 2, "head_dim": 4})),
    "mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(**TEXT, num_local_experts=2, num_experts_per_tok=1)),
    "bert": lambda: t.BertModel(t.BertConfig(**SMALL, vocab_size=16, max_position_embeddings=16)),
    "vit": lambda: t.ViTModel(t.ViTConfig(**SMALL, image_size=8, patch_size=4)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(n_embd=8, n_layer=3, n_head=2, vocab_size=16, n_positions=16)),
}


def tuned(base, seed):
    """Fine-tunes that share much of their direction, and change seven entries of ten."""
    states = {name: {} for name in "abc"}
    draw = torch.Generator().manual_seed(seed)
    for key, tensor in base.items():
        common = torch.randn(tensor.shape, generator=draw)
        for state in states.values():
            own = torch.randn(tensor.shape, generator=draw)
            changed = torch.rand(tensor.shape, generator=draw) < 0.7
            state[key] = tensor + 0.1 * (3 * common + own) * changed
    return states


def make(architecture, folder):
    torch.manual_seed(3)
    model = MODELS[architecture]()
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    model.save_pretrained(folder / "base")
    base = load_file(folder / "base" / "model.safetensors")
    config = (folder / "base" / "config.json").read_text()
    for name, state in tuned(base, len(architecture)).items():
        (folder / name).mkdir()
        save_file(state, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(config)


def main():
    recipes, root = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    failures = {}
    for architecture in MODELS:
        folder = root / architecture
        (folder / "out").mkdir(parents=True)
        make(architecture, folder)
        os.chdir(folder)
        # Both remember models by their references, which are the same in every folder.
        LoaderCache().loaders.clear()
        infer_architecture_info.cache_clear()
        for recipe in sorted(recipes.glob("*.yml")):
            if architecture != "llama" and not recipe.name.startswith("all-"):
                continue
            config = MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text()))
            options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=0)
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    run_merge(config, out_path=scratch, options=options)
                    merged = load_file(Path(scratch) / "model.safetensors")
                except Exception as error:
                    failures[f"{architecture} {recipe.stem}"] = f"{type(error).__name__}: {error}"[:300]
                    continue
            save_file({key: tensor.float().contiguous() for key, tensor in merged.items()},
                      folder / "out" / f"{recipe.stem}.safetensors")
    (root / "failures.json").write_text(json.dumps(failures, indent=1))


if __name__ == "__main__":
    main()
