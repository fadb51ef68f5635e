"""Texts longer than a model's table of positions are cut to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mergeometry.encoders.tokens import Tokens
from tests.helpers.encoder_models import encoder_of, run, texts
from tests.helpers.learning_models import save_tokenizer

LONG = " ".join(["w1", "w2", "w3"] * 60)


@pytest.mark.parametrize(("name", "longest"), [("bert", 32), ("gpt2", 32), ("bart", 64), ("llama", 150), ("t5", 150)])
def test_long_texts_are_cut_to_the_table(folders: Any, name: str, longest: int) -> None:
    encoder = encoder_of(folders(name), longest=150)
    inputs = encoder.prepare(texts([LONG]))
    item = inputs.items[0]
    assert len(getattr(item, "source", item)) == longest
    if name in ("bert", "gpt2", "llama"):
        assert torch.isfinite(run(encoder, inputs)).all()


def test_rows_of_padding_are_no_places(tmp_path: Path) -> None:
    """RoBERTa counts from the row after that of padding."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.RobertaConfig(**sizes, vocab_size=40, max_position_embeddings=20, pad_token_id=1)
    model = transformers.RobertaModel(config).eval()
    save_tokenizer(tmp_path)
    assert Tokens(tmp_path, 150, model).longest == 18
    with torch.no_grad():
        assert model(torch.full((1, 18), 5)).last_hidden_state.shape[1] == 18
