"""Tasks of lm-evaluation-harness in a folder, a tiny Llama with a tokenizer, and two fine-tunes of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from tests.helpers import learning_models

TASKS = ("first", "second")
CHOICES = 4
DOCUMENTS = 24


def save_task(folder: Path, name: str, seed: int, **changes: Any) -> None:
    """A multiple-choice task of words, with two examples before each question."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(seed)
    for split, count in (("train", 4), ("test", DOCUMENTS)):
        rows = []
        for _ in range(count):
            words = draw.sample(learning_models.WORDS, 5 + CHOICES)
            choices = [" ".join(words[5 : 5 + 1 + draw.randrange(2)]), *words[-CHOICES + 1 :]]
            rows.append({"question": " ".join(words[:5]), "choices": choices, "answer": draw.randrange(CHOICES)})
        (folder / f"{name}-{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: f"{name}-{split}.jsonl" for split in ("train", "test")}
    config = {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, "output_type": "multiple_choice",
        "test_split": "test", "fewshot_split": "train", "num_fewshot": 2, "doc_to_text": "{{question}} w0",
        "doc_to_choice": "{{choices}}", "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}], **changes,
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(json.dumps(config))


def end_texts(folder: Path) -> None:
    """Let the tokenizer of a folder know its tokens at the ends of texts, which lm_eval asks for."""
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "bos_token": "[BOS]", "eos_token": "[EOS]"}))


def family(folder: Path) -> Path:
    """A base, a fine-tune for each task, and the two tasks files."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    learning_models.save_base(model, folder / "base")
    end_texts(folder / "base")
    for seed, name in enumerate(TASKS):
        learning_models.save_tuned(model, folder / name, seed, size=0.5)
        learning_models.save_tokenizer(folder / name)
        end_texts(folder / name)
        save_task(folder / "tasks", name, seed)
        save_task(folder / "tasks", f"{name}-validation", 10 + seed)
    return folder


def tasks(**changes: Any) -> dict[str, Any]:
    """Both tasks, by ``acc`` on all documents."""
    return {
        "tasks": [
            {
                "name": name,
                "validation": {"lm_eval": f"{name}-validation", "include_path": "tasks", "limit": 16},
                "test": {"lm_eval": name, "include_path": "tasks", **changes},
            }
            for name in TASKS
        ]
    }
