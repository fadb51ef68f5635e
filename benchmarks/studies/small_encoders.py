"""A tiny BERT that transformers can run, with fine-tunes, an adapter, heads and unlabelled texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from benchmarks.studies.small_models import drawn, drawn_factors, fine_tuned, write_adapter, write_model

TASKS = ("bert-task0", "bert-task1", "bert-lora")
WORDS = [f"w{number}" for number in range(34)]
WIDTH = 16
CLASSES = (3, 4, 2)


def write_bert(folder: Path, width: int = WIDTH) -> None:
    """Write a base with its tokenizer, two fine-tunes and a LoRA adapter, and for each task texts and a head."""
    config = transformers.BertConfig(
        hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24 * width // WIDTH,
        vocab_size=4 + len(WORDS), max_position_embeddings=32,
    )  # fmt: skip
    parameters = transformers.BertModel(config).named_parameters()
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters}
    # Sizes at which features differ from text to text, so that the heads predict more than one class.
    base = {name: tensor / (20 if "bias" in name else 4) for name, tensor in drawn(shapes, seed=2).items()}
    base |= {name: 1 + tensor for name, tensor in base.items() if name.endswith("LayerNorm.weight")}
    write_model(folder / "bert", base, config.to_dict())
    write_tokenizer(folder / "bert")
    for number, task in enumerate(TASKS[:2]):
        write_model(folder / task, fine_tuned(base, 20 + number), config.to_dict())
    modules = [f"encoder.layer.{layer}.{name}" for layer in (0, 1) for name in ("attention.self.query", "output.dense")]
    factors = drawn_factors(modules, shapes, dict.fromkeys(modules, 2), seed=206)
    write_adapter(folder / TASKS[2], factors, r=2, lora_alpha=16)
    for number, (task, classes) in enumerate(zip(TASKS, CLASSES, strict=True)):
        (folder / f"{task}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(number)))
        head = drawn({"weight": (classes, width), "bias": (classes,)}, seed=300 + number)
        head["bias"] /= 10
        write_model(folder / f"{task}-head", head)


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer with one token per word."""
    numbers = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *WORDS])}
    raw: Any = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")
    whole.save_pretrained(folder)


def texts(task: int, count: int = 24, longest: int = 9) -> list[str]:
    """Texts of two to ``longest`` words, each task with words that it prefers."""
    generator = torch.Generator().manual_seed(400 + task)
    written = []
    for _ in range(count):
        length = int(torch.randint(2, longest + 1, (), generator=generator))
        numbers = torch.randint(0, len(WORDS), (length,), generator=generator) // (task + 1)
        written.append(" ".join(WORDS[number] for number in numbers.tolist()))
    return written
