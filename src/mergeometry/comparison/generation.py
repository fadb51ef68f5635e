"""What a causal language model writes: how many next tokens of real texts it predicts, and its greedy continuations.

Nothing here needs a judge model: predicted tokens and repetitions are counted. Perplexity forgives a merge that is
unsure everywhere; the share of tokens found does not, and neither do loops in what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mergeometry.comparison.figures import measured, spread_of_task
from mergeometry.comparison.repetition import distinct_share, repeated_share
from mergeometry.comparison.scorer import Scorer
from mergeometry.encoders.language import LanguageModel
from mergeometry.errors import DataError
from mergeometry.execution.threads import one_thread

PROMPT, WRITTEN = 12, 32
"""Tokens of a text that a continuation starts from, and the most tokens that are added."""
PROMPTS = 24
"""How many of a task's texts are continued at most, from the first."""


@dataclass(frozen=True, slots=True)
class Style:
    """How varied continuations are; None where they are too short to measure."""

    repeated: float | None
    """Share of runs of 4 tokens that occurred earlier in the same continuation (seq-rep-4)."""
    distinct: float | None
    """Share of different runs of 2 tokens among all continuations (distinct-2)."""
    tokens: float
    """Mean length of a continuation."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The generation check of one task."""

    found: float
    """Share of the texts' tokens, without each text's first, that the model finds the likeliest next token."""
    spread: float
    """Standard deviation of ``found`` over resampled texts."""
    prompts: int
    written: Style
    """The model's greedy continuations."""
    real: Style
    """The texts' own continuations of the same prompts, cut at the same length."""


def check_generation(scorer: Scorer, split: str, task: str, shares: Sequence[float]) -> Generation:
    """Score the loaded weights' next tokens and greedy continuations on one task.

    ``shares`` are the shares of each text's tokens that were found, as ``Scorer.next_tokens`` returns them.

    Raises:
        DataError: the model is not a causal language model, or no text is longer than a prompt.
    """
    encoder = scorer.encoder
    if not isinstance(encoder, LanguageModel):
        raise DataError("only causal language models write text", model=task, hint="leave `generate` out")
    inputs = scorer.inputs(split, task)
    # A real continuation needs a run of four tokens, the unit in which repetition is counted.
    long = [list(item) for item in inputs.items if len(item) >= PROMPT + 4][:PROMPTS]
    if not long:
        raise DataError(f"no text has {PROMPT + 4} tokens, a prompt and its continuation", model=task)
    numbers, rows = {task: shares}, {task: inputs.rows}
    found, spread = measured("accuracy", numbers, rows)[task], spread_of_task("accuracy", numbers, rows, task)
    written = continue_greedily(scorer, [item[:PROMPT] for item in long], WRITTEN)
    real = [item[PROMPT : PROMPT + WRITTEN] for item in long]
    return Generation(found, spread, len(long), _style(written), _style(real))


def continue_greedily(scorer: Scorer, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """The likeliest next token, again and again, at most ``most`` times; an end-of-text token ends it and is left out.

    All prompts have one length. It does what ``generate(do_sample=False)`` of transformers does, but with the
    scorer's encoder, whose weights are in memory and in no folder.
    """
    module: Any = scorer.encoder.module
    ends = _ends(module.generation_config.eos_token_id)
    written: list[list[int]] = [[] for _ in prompts]
    waiting, past = set(range(len(prompts))), None
    tokens = torch.tensor([list(prompt) for prompt in prompts]).to(scorer.encoder.device)
    with one_thread(), torch.inference_mode():
        head = scorer.output_layer()
        for _ in range(most):
            # The output layer is removed from the module, so its logits are its last hidden states.
            out = scorer.module(input_ids=tokens, past_key_values=past, use_cache=True)
            tokens, past = (out.logits[:, -1].float() @ head.mT).argmax(-1, keepdim=True), out.past_key_values
            for row, token in enumerate(tokens[:, 0].tolist()):
                if token in ends:
                    waiting.discard(row)
                elif row in waiting:
                    written[row].append(token)
            if not waiting:
                break
    return written


def _style(texts: Sequence[Sequence[int]]) -> Style:
    return Style(repeated_share(texts), distinct_share(texts), sum(map(len, texts)) / len(texts))


def _ends(given: int | Sequence[int] | None) -> set[int]:
    return set() if given is None else {given} if isinstance(given, int) else set(given)
