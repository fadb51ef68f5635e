"""One vector per input from the middle of a model of transformers, with its adapters switched off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.encoders.base import pooled
from mergeometry.errors import DataError


def middle_of(model: nn.Module) -> int:
    """The hidden state half-way up: later ones are bent to the tasks' answers, and tell inputs apart less.

    Raises:
        DataError: the model's configuration does not say how many layers it has.
    """
    config: Any = getattr(model, "config", None)
    layers = getattr(getattr(config, "text_config", config), "num_hidden_layers", None)
    if not isinstance(layers, int):
        raise DataError(
            "the model's configuration does not say how many layers it has",
            hint="a router takes a model of transformers, or a PEFT model on top of one, that has a row of layers",
        )
    return layers // 2


def inputs_in(batch: Mapping[str, Tensor]) -> int:
    """How many inputs a batch holds.

    Raises:
        DataError: it is not what a tokenizer or an image processor gives.
    """
    if not isinstance(batch, Mapping) or not batch or not all(isinstance(part, Tensor) for part in batch.values()):
        raise DataError(
            f"the inputs are not what a tokenizer or an image processor gives, got {type(batch).__name__}",
            hint='give tensors by name: tokenizer(texts, padding=True, truncation=True, return_tensors="pt")',
        )
    return min(len(part) if part.dim() else 0 for part in batch.values())


def task_features(model: nn.Module, batch: Mapping[str, Tensor], layer: int) -> Float[Tensor, "inputs d"]:
    """The mean over the tokens, or the patches, of one hidden state of the merged model.

    ``batch`` is what the tokenizer or the image processor gives. Adapters of PEFT are switched off for the pass, and
    the model runs in evaluation mode; both are put back afterwards.

    Raises:
        DataError: there is no input, or the model gives no such hidden states.
    """
    if not inputs_in(batch):
        raise DataError("the batch holds no input")
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), _adapters_off(model):
            output = _encoder(model)(**batch, output_hidden_states=True)
    finally:
        model.train(training)
    states = getattr(output, "hidden_states", None)
    if not states or not 0 <= layer < len(states) or states[layer].dim() != 3:
        raise DataError(
            f"the model gives no hidden state {layer} with a vector for each token",
            hint="a router takes transformers: models of texts, of images as patches, and language models",
        )
    hidden = states[layer].float()
    mask = batch.get("attention_mask")
    return pooled(hidden, mask if mask is not None and mask.shape == hidden.shape[:2] else None, "mean")


@contextmanager
def _adapters_off(model: Any) -> Iterator[None]:
    """Switch adapters off, those of a PeftModel and those that a model of transformers has loaded by itself."""
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            yield
    elif getattr(model, "_hf_peft_config_loaded", False):
        on = not any(getattr(part, "disable_adapters", False) is True for part in model.modules() if part is not model)
        model.disable_adapters()
        try:
            yield
        finally:
            if on:
                model.enable_adapters()
    else:
        yield


def _encoder(model: nn.Module) -> nn.Module:
    """The part of the model that reads the input: of an encoder-decoder model, the encoder."""
    config: Any = getattr(model, "config", None)
    return model.get_encoder() if getattr(config, "is_encoder_decoder", False) else model  # pyright: ignore
