"""What a language model writes when it is asked for nothing: sampled from the token that begins a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mergeometry.encoders.batches import generator
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.encoders.language import without_output
from mergeometry.errors import DataError

AT_ONCE = 32
"""Texts that are written side by side."""
TRIES = 4


def written(
    encoder: CausalEncoder,
    weights: Mapping[str, Tensor],
    count: int,
    progress: Callable[[int], None],
    *seed: object,
) -> list[str]:
    """So many texts of at most the encoder's longest, at temperature 1, under the weights given.

    Each begins with the tokenizer's first token, or with one that is drawn where it has none, and ends with its last.
    A text that comes out empty is written again, `TRIES` times as often as there are texts.

    Raises:
        DataError: the model writes empty texts.

    Source: a model's own samples as its training data are those of data-free quantisation (LLM-QAT, arXiv 2305.17888).
    """
    stream, texts = generator("written", *seed), list[str]()
    head = encoder.head_weight(weights).float().cpu()
    begun = 0
    while len(texts) < count:
        if begun > TRIES * count:
            raise DataError("the model writes empty texts", hint="give the task data: a file, a folder or a data set")
        many = min(AT_ONCE, count - len(texts))
        begun += many
        begin, end = encoder.tokens.first, encoder.tokens.last
        rows = torch.full((many, 1), begin) if begin is not None else _drawn(head.shape[0], many, stream)
        open_rows, cache = torch.ones(many, dtype=torch.bool), None
        while rows.shape[1] < encoder.tokens.longest and bool(open_rows.any()):
            hidden, cache = _next(encoder, weights, rows, cache)
            drawn = torch.multinomial((hidden @ head.mT).softmax(dim=1), 1, generator=stream)
            if end is not None:
                drawn[~open_rows] = end
                open_rows &= drawn[:, 0] != end
            rows = torch.cat([rows, drawn], dim=1)
        texts += [text for row in rows.tolist() if (text := encoder.tokens.text(row)).strip()]
        progress(len(texts))
    return texts[:count]


def _drawn(vocabulary: int, many: int, stream: torch.Generator) -> Tensor:
    return torch.randint(vocabulary, (many, 1), generator=stream)


def _next(encoder: CausalEncoder, weights: Mapping[str, Tensor], rows: Tensor, cache: Any) -> tuple[Tensor, Any]:
    """The last hidden states, and the cache with them."""
    fresh = rows if cache is None else rows[:, -1:]
    arguments = {
        "input_ids": fresh.to(encoder.device), "attention_mask": torch.ones_like(rows).to(encoder.device),
        "use_cache": True, "past_key_values": cache,
    }  # fmt: skip
    with torch.inference_mode():
        output = torch.func.functional_call(encoder.module, without_output(weights), kwargs=arguments)
    return output.logits[:, -1].float().cpu(), output.past_key_values
