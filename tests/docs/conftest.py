"""Small real BERT models and LoRA adapters under the names that the pages use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel


@pytest.fixture
def models(tmp_path: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    base = BertModel(config)
    base.save_pretrained(tmp_path / "base")
    for name in ("first", "second"):
        tuned = BertForSequenceClassification(config)
        tuned.bert.load_state_dict(base.state_dict(), strict=False)
        moved(tuned, 0.02)
        tuned.save_pretrained(tmp_path / name)
    for name in ("lora-a", "lora-b"):
        settings = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value", "dense"])
        adapted = get_peft_model(BertModel.from_pretrained(tmp_path / "base"), settings)
        moved(adapted, 0.05, only="lora_")
        adapted.save_pretrained(tmp_path / name)
    return tmp_path


def moved(model: Any, by: float, only: str = "") -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if only in name:
                parameter.add_(by * torch.randn_like(parameter))
