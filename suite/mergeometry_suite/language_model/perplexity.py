"""Perplexity: how many equally likely tokens a language model is torn between, on average, at each token."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.errors import DataError
from mergeometry.execution.threads import one_thread
from mergeometry_suite.minilm import Batch, Prepared


def perplexity(model: Any, prepared: Prepared) -> float:
    """Return ``exp`` of the mean negative log-likelihood of a token, every token of every text with the same weight.

    Nothing precedes a text, so its first token is given and not predicted. Texts are prepared by
    ``Tokenizer(folder, TOKENS).prepare(texts)``; the model is any causal language model of transformers, with
    or without an adapter of PEFT.

    Raises:
        DataError: no text has a second token.
    """
    total, count = 0.0, 0
    with one_thread(), torch.inference_mode():
        for batch in prepared.batches:
            losses = token_losses(model, batch)
            total += float(losses.double().sum())
            count += len(losses)
    if not count:
        raise DataError("perplexity needs a text of at least two tokens", hint="give longer texts, or more of them")
    return math.exp(total / count)


def token_losses(model: Any, batch: Batch) -> Float[Tensor, " tokens"]:
    """Return ``-log p(token | those before it)`` of all tokens that are neither padding nor the first of a text."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model  # an adapter's, in place
    mask = None if bool(batch.mask.all()) else batch.mask
    hidden = causal.base_model(input_ids=batch.tokens, attention_mask=mask, use_cache=False).last_hidden_state
    predicted = batch.mask[:, 1:].bool()
    # The vocabulary is most of the work: it is computed only for positions that predict something.
    logits = causal.get_output_embeddings()(hidden[:, :-1][predicted])
    return torch.nn.functional.cross_entropy(logits, batch.tokens[:, 1:][predicted], reduction="none")
