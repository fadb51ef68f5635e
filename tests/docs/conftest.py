"""Small real BERT models and LoRA adapters under the names that the pages use."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tests.helpers.sentence_models import write_sentence_model


@pytest.fixture
def models(written_models: Path, tmp_path: Path) -> Path:
    """A copy for each page, which writes beside them."""
    return Path(shutil.copytree(written_models, tmp_path, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def written_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    base = BertModel(config)
    base.save_pretrained(folder / "base")
    for name in ("first", "second"):
        tuned = BertForSequenceClassification(config)
        tuned.bert.load_state_dict(base.state_dict(), strict=False)
        moved(tuned, 0.02)
        tuned.save_pretrained(folder / name)
    for name in ("lora-a", "lora-b", "first-adapter", "second-adapter"):
        settings = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value", "dense"])
        adapted = get_peft_model(BertModel.from_pretrained(folder / "base"), settings)
        moved(adapted, 0.05, only="lora_")
        adapted.save_pretrained(folder / name)
    for name in ("first", "second"):
        what_learning_reads(folder, name)
    tokenizer().save_pretrained(folder / "base")
    language_models(folder)
    language_models_of_other_tokens(folder)
    for seed, name in enumerate(("base", "first", "second")):
        write_sentence_model(folder / f"sentence-{name}", seed)
    return folder


def language_models(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "language-model")
    tokenizer().save_pretrained(folder / "language-model")
    for name in ("newswire", "reviews"):
        settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        adapted = get_peft_model(LlamaForCausalLM.from_pretrained(folder / "language-model"), settings)
        moved(adapted, 0.05, only="lora_")
        adapted.save_pretrained(folder / f"{name}-adapter")
        what_learning_reads(folder, name)


def language_models_of_other_tokens(folder: Path) -> None:
    from transformers import LlamaForCausalLM

    for name, added in (("chat-model", ["<|turn|>", "<|end|>"]), ("tools-model", ["<|tool|>", "<|end|>"])):
        model, own = LlamaForCausalLM.from_pretrained(folder / "language-model"), tokenizer()
        own.add_special_tokens({"additional_special_tokens": added})
        moved(model, 0.02)
        model.save_pretrained(folder / name)
        own.save_pretrained(folder / name)


WORDS = re.findall(r"\S+", "which of the two is it a red or green blue one where when who not yes no ?")


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *WORDS]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16)


def what_learning_reads(folder: Path, name: str) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.randn(3, 32), "bias": torch.zeros(3)}, folder / f"{name}-head.safetensors")
    texts = [" ".join(WORDS[(start * step) % len(WORDS)] for step in range(1, 8)) for start in range(40)]
    rows = [json.dumps({"text": text, "label": number % 3}) for number, text in enumerate(texts)]
    (folder / f"{name}.jsonl").write_text("\n".join(rows[:30]), "utf-8")
    (folder / f"{name}-validation.jsonl").write_text("\n".join(rows[30:]), "utf-8")


def moved(model: Any, by: float, only: str = "") -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if only in name:
                parameter.add_(by * torch.randn_like(parameter))
