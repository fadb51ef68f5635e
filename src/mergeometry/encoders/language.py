"""What causal and encoder-decoder language models share: the output layer is taken off and serves as the head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mergeometry.encoders.base import Encoder
from mergeometry.encoders.names import parameter_names, stored_again
from mergeometry.encoders.transformer import build
from mergeometry.errors import DataError
from mergeometry.sources import TensorInfo

OUTPUT = "output layer"
"""The key of the output layer's weight among other weights: it is not a parameter of the module that is run."""


class LanguageModel(Encoder):
    """A language model whose output layer is replaced by the identity, so that its logits are its last features."""

    language_model = True
    output: Tensor
    """The base's output layer, (vocabulary, width)."""
    tied: str | None
    """The embedding's parameter, where the output layer shares it."""
    output_name: str | None
    """The output layer's name on disk, where it has one."""
    layer_name: str
    """The output layer's name as a separate parameter."""
    output_copy: str | None
    """The name on disk of a copy of the embedding that represents a tied output layer."""

    def _take(self, kind: str, folder: Path, disk: Mapping[str, TensorInfo], device: torch.device) -> None:
        model: Any = build(kind, folder, disk, device)
        layer = model.get_output_embeddings()
        if layer is None or getattr(layer, "bias", None) is not None:
            raise DataError("the language model has no plain output layer that could serve as the head", file=folder)
        capped = getattr(model.config, "final_logit_softcapping", None)
        if capped:
            raise DataError("language models that cap their logits are not supported", file=folder)
        self.output, self.width = layer.weight, layer.weight.shape[1]
        self.layer_name = next(name for name, module in model.named_modules() if module is layer) + ".weight"
        before = dict(model.named_parameters())
        stored = parameter_names(model, disk)
        again = stored_again(model, disk, stored)
        self.doubles = {name: first for name, (first, _) in again.items()}
        self.output_copy = next((name for name, (_, parameter) in again.items() if parameter == self.layer_name), None)
        model.set_output_embeddings(nn.Identity())
        self.module = model
        after = {id(parameter): name for name, parameter in model.named_parameters()}
        self.tied = after.get(id(layer.weight))
        after.setdefault(id(layer.weight), OUTPUT)
        self.names = {
            name: None if parameter is None else after.get(id(before[parameter])) for name, parameter in stored.items()
        }
        self.output_name = next((name for name, parameter in self.names.items() if parameter == OUTPUT), None)

    def base(self, name: str) -> Tensor:
        """The base's own weight of a parameter, or its output layer."""
        return self.output if name == OUTPUT else self.module.get_parameter(name)

    def head_weight(self, weights: Mapping[str, Tensor]) -> Float[Tensor, "vocabulary d"]:
        """The output layer under the given weights: its own weight, the embedding that it shares, or the base's."""
        if OUTPUT in weights:
            return weights[OUTPUT]
        if self.tied is not None and self.tied in weights:
            return weights[self.tied]
        return self.output


def without_output(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the output layer, which the module that is run lacks."""
    return {name: weight for name, weight in weights.items() if name != OUTPUT}
