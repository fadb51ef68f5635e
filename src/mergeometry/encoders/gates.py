"""Gates of a mixture from prompts: where the base's hidden states, or its embeddings, of each expert's prompts lie.

A gate is the direction of the mean over an expert's prompts, less that over its negative prompts. Source: mergekit-moe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from mergeometry.encoders.runnable import runnable_kind
from mergeometry.encoders.tokens import Tokens
from mergeometry.encoders.transformer import build
from mergeometry.plan.mixture import Opened
from mergeometry.recipe.inputs import EncoderOptions

_LONGEST = 4096
"""Tokens of a prompt that are read."""
_LEAST = 1e-8

Read: TypeAlias = Callable[[Sequence[str]], Float[Tensor, "layers width"]]


def prompted_gates(opened: Opened) -> Float[Tensor, "layers gates width"]:
    """The gates of every layer, in the order of the recipe's `entries`.

    Raises:
        DataError: transformers is missing, cannot build the base, or finds no tokenizer next to it.
        SourceError: a file of the base is no longer what it was.
    """
    recipe, base = opened.recipe, opened.base
    options = EncoderOptions(kind="causal")
    runnable_kind(base, options)
    model = build("AutoModelForCausalLM", base.path, base.tensors, torch.device("cpu"))
    tokens = Tokens(base.path, _LONGEST, model)
    read = (
        _embeddings(model, tokens, opened.layers)
        if recipe.gate == "cheap_embed"
        else _states(model, tokens, average=recipe.gate == "hidden_average")
    )
    gates = []
    for entry in recipe.entries:
        direction = read(entry.prompts)
        if entry.negative_prompts:
            direction = direction - read(entry.negative_prompts)
        gates.append(_unit(direction))
    return torch.stack(gates, dim=1)


def _states(model: Any, tokens: Tokens, *, average: bool) -> Read:
    """What enters each layer at a prompt's last token, or on average over its tokens; the mean over the prompts."""

    def read(prompts: Sequence[str]) -> Float[Tensor, "layers width"]:
        states = []
        for prompt in prompts:
            with torch.inference_mode():
                output = model(
                    input_ids=torch.tensor([tokens.prompt(prompt)]), output_hidden_states=True, use_cache=False
                )
            layers = torch.stack(output.hidden_states[:-1])[:, 0].clone()
            states.append(layers.mean(dim=1) if average else layers[:, -1])
        return torch.stack(states).mean(dim=0)

    return read


def _embeddings(model: Any, tokens: Tokens, layers: int) -> Read:
    """The direction of the sum of the tokens' embeddings, the same for every layer."""
    table = model.get_input_embeddings().weight

    def read(prompts: Sequence[str]) -> Float[Tensor, "layers width"]:
        numbers = [number for prompt in prompts for number in tokens.prompt(prompt)]
        return _unit(table[torch.tensor(numbers)].double().sum(dim=0)).float().expand(layers, -1)

    return read


def _unit(vectors: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=_LEAST)
