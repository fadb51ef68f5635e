"""Features of language models, times their output layer, are their logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mergeometry.encoders import Encoder, Inputs
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.encoders.language import OUTPUT
from mergeometry.errors import DataError
from tests.helpers.encoder_models import (
    CAUSAL,
    CLOSE,
    MODELS,
    SEQ2SEQ,
    encoder_of,
    made,
    ready,
    run,
    tuned,
)
from tests.helpers.learning_models import save_tokenizer


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", [*CAUSAL, *SEQ2SEQ])
def test_features_and_head_make_the_logits(name: str, tied: bool, tmp_path: Path) -> None:
    import transformers

    model = made(name, tie_word_embeddings=tied)
    if not tied:
        model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(tmp_path / "base")
    save_tokenizer(tmp_path / "base")
    encoder = encoder_of(tmp_path / "base")
    assert (encoder.tied is not None) == tied
    assert (encoder.output_name is not None) == (not tied) == (OUTPUT in encoder.names.values())
    inputs = ready(encoder, ())
    other, weights = tuned(tmp_path / "base", encoder, tmp_path / "other")
    for folder, given in ((tmp_path / "base", {}), (other, weights)):
        own = getattr(transformers, MODELS[name][0]).from_pretrained(folder).eval()
        logits = run(encoder, inputs, given) @ encoder.head_weight(given).mT
        torch.testing.assert_close(logits, own_logits(own, encoder, inputs), **CLOSE)


def own_logits(model: Any, encoder: Encoder, inputs: Inputs) -> Tensor:
    found = []
    with torch.no_grad():
        for item in inputs.items:
            if isinstance(encoder, CausalEncoder):
                found.append(model(input_ids=torch.tensor([item])).logits[0, :-1])
            else:
                given = torch.tensor([[model.config.decoder_start_token_id, *item.target[:-1]]])
                found.append(model(input_ids=torch.tensor([item.source]), decoder_input_ids=given).logits[0])
    return torch.cat(found)


def test_an_output_layer_with_a_bias_is_refused(folders: Any, tmp_path: Path) -> None:
    model = made("bart")
    model.final_logits_bias = torch.randn(1, 40)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(DataError, match="adds a bias") as caught:
        encoder_of(tmp_path)
    assert caught.value.tensor == "final_logits_bias"
