"""Targets of encoder-decoder models are what the model itself writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mergeometry.errors import DataError
from tests.helpers.encoder_models import MODELS, SEQ2SEQ, encoder_of, made, texts, tuned
from tests.helpers.learning_models import save_tokenizer


def writer(name: str, folder: Path) -> Any:
    """A model whose output layer is not its embedding, or it repeats what it wrote last."""
    model = made(name, tie_word_embeddings=False)
    model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    for own, parameter in model.named_parameters():
        # Tokens count for more than places, and directions for more than biases.
        if "shared" in own or "embed_tokens" in own:
            parameter.data *= 4
        if own.endswith("bias"):
            parameter.data *= 0.2
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return encoder_of(folder)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_targets_are_what_the_expert_writes(name: str, tmp_path: Path) -> None:
    import transformers

    encoder = writer(name, tmp_path / "base")
    other, weights = tuned(tmp_path / "base", encoder, tmp_path / "other")
    expert = getattr(transformers, MODELS[name][0]).from_pretrained(other).eval()
    prepared = encoder.prepare(texts())
    written = encoder.continue_with(encoder.module, weights, prepared, new_tokens=7)
    assert written == encoder.continue_with(encoder.module, weights, prepared, new_tokens=7)
    for before, item, size, rows in zip(prepared.items, written.items, written.sizes, written.rows, strict=True):
        assert item.source == before.source
        assert rows == len(item.target) and size == len(item.source) + len(item.target)
        source = torch.tensor([item.source])
        expected = expert.generate(
            input_ids=source, attention_mask=torch.ones_like(source), do_sample=False, num_beams=1, max_new_tokens=7
        )
        assert list(item.target) == expected[0, 1:].tolist()
    assert len({item.target for item in written.items}) > 1


def test_targets_begin_with_the_token_that_names_their_language(tmp_path: Path) -> None:
    import transformers

    encoder = writer("bart", tmp_path)
    inputs = encoder.prepare(texts())
    encoder._first = 5
    forced = encoder.continue_with(encoder.module, {}, inputs, 7)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    for item in forced.items:
        assert item.target[0] == 5
        source = torch.tensor([item.source])
        expected = model.generate(
            input_ids=source, do_sample=False, num_beams=1, max_new_tokens=7, forced_bos_token_id=5
        )
        assert list(item.target) == expected[0, 1:].tolist()


def test_targets_end_with_the_end_token(tmp_path: Path) -> None:
    encoder = writer("t5", tmp_path)
    inputs = encoder.prepare(texts())
    encoder._ends = frozenset()
    free = encoder.continue_with(encoder.module, {}, inputs, 7)
    last = free.items[0].target[1]
    encoder._ends = frozenset([last])
    cut = encoder.continue_with(encoder.module, {}, inputs, 7)
    for before, after in zip(free.items, cut.items, strict=True):
        end = before.target.index(last) + 1 if last in before.target else 7
        assert after.target == before.target[:end]
    lengths = {len(item.target) for item in cut.items}
    assert min(lengths) <= 2 < max(lengths)


def test_an_encoder_decoder_needs_targets(folders: Any) -> None:
    encoder = encoder_of(folders("t5"))
    inputs = encoder.prepare(texts())
    with pytest.raises(DataError, match="nothing to predict") as caught:
        encoder.batch(inputs.items)
    assert caught.value.hint is not None and "continue_with" in caught.value.hint
