"""Inputs that every small model of a kind can be run on."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

Inputs = dict[str, Any]


def inputs_for(model: Any, shapes: dict[str, tuple[int, ...]]) -> Inputs:
    """Random inputs of the model's first argument, or of those that ``shapes`` names; the same for every call."""
    torch.manual_seed(7)
    names = set(inspect.signature(model.forward).parameters)
    first = "input_ids" if "input_ids" in names and not shapes else model.main_input_name
    given: Inputs = {name: _drawn(name, shape) for name, shape in (shapes or {first: _usual(model, first)}).items()}
    if "image tokens" in given:
        count = given.pop("image tokens").shape[0]
        given["input_ids"][:, 1 : 1 + count] = model.config.image_token_id
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in names:
                given[name] = (given["input_ids"] == model.config.image_token_id).long()
    if "decoder_input_ids" in names and getattr(model.config, "is_encoder_decoder", False):
        given.setdefault("decoder_input_ids", torch.randint(5, 90, (2, 6)))
    for name in ("use_cache", "return_loss"):
        if name in names:
            given[name] = False
    return given


def outputs_of(model: Any, given: Inputs) -> list[Tensor]:
    """Every tensor of numbers that a forward pass returns."""
    torch.manual_seed(11)
    with torch.no_grad():
        return list(_tensors(model(**given).to_tuple()))


def _usual(model: Any, name: str) -> tuple[int, ...]:
    config = model.config
    if name == "input_ids":
        return (2, 8)
    if name == "pixel_values":
        size = config.image_size if isinstance(getattr(config, "image_size", 0), int) else max(config.image_size)
        return (2, getattr(config, "num_channels", 3), size or 32, size or 32)
    if name == "input_values":
        return (2, 1200)
    raise ValueError(f"no shape is known for {name}")


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    if name == "image_grid_thw":
        return torch.tensor([[1, 4, 4]] * shape[0])
    if name.endswith("input_ids"):
        return torch.randint(5, 90, shape)
    return torch.ones(shape, dtype=torch.long) if name.endswith("mask") else torch.randn(shape)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value.detach()] if value.is_floating_point() else []
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    return _tensors(value.to_tuple()) if hasattr(value, "to_tuple") else []
