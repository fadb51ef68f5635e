"""Embedding models of sentence-transformers: a tiny BERT with each kind of module behind it, and MiniLM itself.

MiniLM comes with trained adapters: its case has them as its fine-tunes, and ``make`` leaves that folder alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from comparing import TUNED, compared, family, main
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, models
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizerFast

SENTENCES = ["the cat sat on the mat", "a dog ran", "the dog and the cat", "mat"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in SENTENCES for word in text.split()})]
POOLING = {
    "mean": {"pooling_mode_mean_tokens": True},
    "cls": {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True},
    "max": {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True},
}


def tiny(place: Path, pooling: str, *, dense: bool, normalise: bool) -> SentenceTransformer:
    encoder = place / "encoder"
    encoder.mkdir(parents=True)
    (encoder / "vocab.txt").write_text("\n".join(WORDS))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes)).save_pretrained(encoder)
    BertTokenizerFast(str(encoder / "vocab.txt")).save_pretrained(encoder)
    modules = [models.Transformer(str(encoder), max_seq_length=16), models.Pooling(32, **POOLING[pooling])]
    if dense:
        modules.append(models.Dense(32, 12, activation_function=torch.nn.Tanh()))
    if normalise:
        modules.append(models.Normalize())
    return SentenceTransformer(modules=modules, device="cpu")


def maker(pooling: str, *, dense: bool, normalise: bool) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        for name, model in family(tiny(place, pooling, dense=dense, normalise=normalise)).items():
            model.save(str(place / name))

    return make


def loaded(place: Path, name: str) -> SentenceTransformer:
    """The model of this name; an adapter is added to its base by hand."""
    if not (place / name / "adapter_config.json").exists():
        return SentenceTransformer(str(place / name), device="cpu")
    model = SentenceTransformer(str(place / "base"), device="cpu")
    settings = json.loads((place / name / "adapter_config.json").read_text())
    factors = load_file(place / name / "adapter_model.safetensors")
    for key, down in factors.items():
        if key.endswith("lora_A.weight"):
            up = factors[key.replace("lora_A", "lora_B")]
            layer = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            weight = model[0].auto_model.get_submodule(layer).weight
            weight.data += settings["lora_alpha"] / settings["r"] * up.to(weight.dtype) @ down.to(weight.dtype)
    return model


def check(_name: str, place: Path) -> dict[str, float]:
    merged, *tuned = (loaded(place, name) for name in ("merged", *TUNED))

    def run(model: SentenceTransformer) -> Tensor:
        return model.encode(SENTENCES, convert_to_tensor=True)

    return {**compared(run, merged, tuned), "modules": len(merged)}


MAKE = {
    "mean, dense, normalised": maker("mean", dense=True, normalise=True),
    "cls": maker("cls", dense=False, normalise=False),
    "max, normalised": maker("max", dense=False, normalise=True),
}

if __name__ == "__main__":
    main(MAKE, check)
