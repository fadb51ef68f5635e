"""Finds out from transformers itself where it puts each tensor of a file, since it renames many while loading."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mergeometry.encoders.library import quiet_transformers
from mergeometry.sources import TensorInfo, TensorReader


def loaded_names(module: nn.Module, disk: Mapping[str, TensorInfo]) -> tuple[dict[str, str], set[str]]:
    """Each tensor's parameter after loading, and the parameters that loading needs but does not find.

    A model of the same class is loaded from a state dictionary in which every entry of tensor i is i; the parameter
    filled with i is where tensor i goes. Pairs whose values differ in ``module`` are left out: loading reorders those
    tensors, so learned values could not be written back under the tensor's own name.
    """
    names = list(disk)
    # Whole numbers stay exact in float32 up to 2^24; files hold at most 100,000 tensors.
    numbered = {name: torch.full((), float(place + 1)).expand(disk[name].shape) for place, name in enumerate(names)}
    kind: Any = type(module)
    with quiet_transformers():
        model, loading_info = kind.from_pretrained(
            None,
            config=copy.deepcopy(module.config),
            state_dict=numbered,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = {str(name) for name in loading_info["missing_keys"]}
    pairs: dict[str, str] = {}
    with TensorReader() as reader:
        for parameter, value in model.named_parameters():
            place, base_value = _mark(value), module.get_parameter(parameter)
            name = names[place - 1] if place and place <= len(names) else None
            if parameter in missing:
                continue
            if name is not None and _same(reader, disk[name], base_value):
                pairs[name] = parameter
            # Some models compute a parameter themselves, such as sinusoidal positions: it needs no file.
            elif not torch.equal(value, base_value):
                missing.add(parameter)
    return pairs, missing


def _mark(value: torch.Tensor) -> int:
    """The whole number that fills a tensor, or 0."""
    first = float(value.detach().reshape(-1)[0]) if value.numel() else 0.0
    return int(first) if first >= 1 and first.is_integer() and bool((value == first).all()) else 0


def _same(reader: TensorReader, info: TensorInfo, parameter: torch.Tensor) -> bool:
    if info.shape != tuple(parameter.shape):
        # A mismatch of shapes, which the caller reports.
        return True
    return torch.equal(reader.read(info).to(parameter), parameter)
