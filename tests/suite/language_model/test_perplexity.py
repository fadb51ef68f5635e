"""Perplexity against each text alone in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mergeometry.errors import DataError
from mergeometry_suite.language_model.backbone import TOKENS, build_language_model
from mergeometry_suite.language_model.perplexity import perplexity
from mergeometry_suite.minilm import Tokenizer
from tests.helpers.language_domains import ENGLISH


def test_perplexity_is_that_of_each_text_alone_in_float64(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    texts = [ENGLISH, "Yes, it is.", "Two words", "newswire"]
    tokenizer = Tokenizer(tiny, TOKENS)
    reference: Any = AutoModelForCausalLM.from_pretrained(tiny, local_files_only=True, dtype=torch.float64)
    surprise, count = 0.0, 0
    for tokens in tokenizer.pieces(texts):
        with torch.no_grad():
            logits = reference(torch.tensor([tokens])).logits[0]
        for place in range(1, len(tokens)):
            row = logits[place - 1]
            surprise += float(row.exp().sum().log() - row[tokens[place]])
            count += 1
    found = perplexity(build_language_model(tiny), tokenizer.prepare(texts))
    assert found == pytest.approx(float(np.exp(surprise / count)), rel=1e-5)


def test_perplexity_of_nothing_to_predict_is_refused(tiny: Path) -> None:
    with pytest.raises(DataError, match="two tokens"):
        perplexity(build_language_model(tiny), Tokenizer(tiny, TOKENS).prepare(["a"]))
