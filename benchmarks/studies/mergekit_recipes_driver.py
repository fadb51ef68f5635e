"""Makes small models and runs mergekit on recipes: for the interpreter of mergekit's own environment.

``python benchmarks/studies/mergekit_recipes_driver.py RECIPES FOLDER``: for each architecture, models base, a, b and c
in ``FOLDER/ARCHITECTURE``, and what mergekit makes of every recipe of ``RECIPES`` that is meant for it, each as a file
in ``out``. ``report.json`` says what mergekit did not merge, or not whole, and why. Where it fails on an architecture,
it is given a configuration that it knows nothing of, so that it takes the names on disk.
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
from tokenizers import Tokenizer, models, pre_tokenizers

SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 8, "num_key_value_heads": 1, "max_position_embeddings": 16, "head_dim": 4}
MODELS = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**TEXT)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**TEXT)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**TEXT)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**TEXT)),
    "phi": lambda: t.PhiForCausalLM(t.PhiConfig(**{**TEXT, "num_key_value_heads": 2, "head_dim": 4})),
    "mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(**TEXT, num_local_experts=2, num_experts_per_tok=1)),
    "bert": lambda: t.BertModel(t.BertConfig(**SMALL, vocab_size=8, max_position_embeddings=8)),
    "vit": lambda: t.ViTModel(t.ViTConfig(**SMALL, image_size=8, patch_size=4)),
    "gpt2": lambda: t.GPT2LMHeadModel(
        t.GPT2Config(n_embd=8, n_layer=3, n_head=2, n_inner=8, vocab_size=8, n_positions=8)
    ),
}


UNKNOWN = {"architectures": ["Unlisted"], "hidden_act": "unlisted"}


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


TOKENS = {
    "base": ["<s>", "a", "b", "c", "ab"],
    "x": ["<s>", "a", "b", "c", "ab", "d"],
    "y": ["<s>", "b", "a", "c", "e", "ab"],
}


def make_with_tokenizers(folder):
    """Models whose vocabularies differ in size and order."""
    for seed, (name, tokens) in enumerate(TOKENS.items()):
        torch.manual_seed(seed)
        sizes = {**TEXT, "num_hidden_layers": 1, "vocab_size": len(tokens)}
        t.LlamaForCausalLM(t.LlamaConfig(**sizes)).save_pretrained(folder / name)
        vocabulary = {token: place for place, token in enumerate(tokens)}
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], unk_token=None))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        t.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder / name)


def merged(recipe):
    """What mergekit makes of one recipe in the current folder."""
    # Both remember models by their references, which are the same in every folder.
    LoaderCache().loaders.clear()
    infer_architecture_info.cache_clear()
    config = MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text()))
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        run_merge(config, out_path=scratch, options=options)
        return load_file(Path(scratch) / "model.safetensors")


def whole(recipe):
    """Why mergekit does not merge an architecture whole; None where it does."""
    try:
        count = len(merged(recipe))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    expected = len(load_file("base/model.safetensors"))
    return None if count >= expected else f"writes {count} of {expected} tensors, and no error"


def main():
    recipes, root = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    report = {}
    for architecture in MODELS:
        folder = root / architecture
        (folder / "out").mkdir(parents=True)
        make(architecture, folder)
        os.chdir(folder)
        real = Path("base/config.json").read_text()
        why = whole(recipes / "all-linear.yml") if architecture != "mixtral" else None
        if why:
            report[architecture] = why
            for name in ("base", "a", "b", "c"):
                Path(name, "config.json").write_text(json.dumps({"model_type": architecture, **UNKNOWN}))
        for recipe in sorted(recipes.glob("*.yml")):
            if architecture == "llama" or recipe.name.startswith("all-"):
                try:
                    state = merged(recipe)
                except Exception as error:
                    report[f"{architecture} {recipe.stem}"] = f"{type(error).__name__}: {error}"[:200]
                    continue
                state = {key: tensor.float().contiguous() for key, tensor in state.items()}
                save_file(state, folder / "out" / f"{recipe.stem}.safetensors")
        Path("base/config.json").write_text(real)
    folder = root / "tokenizers"
    (folder / "out").mkdir(parents=True)
    make_with_tokenizers(folder)
    os.chdir(folder)
    for recipe in sorted((recipes / "tokenizers").glob("*.yml")):
        save_file(merged(recipe), folder / "out" / f"{recipe.stem}.safetensors")
    (root / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
