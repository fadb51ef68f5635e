"""Layers that hand the gradient of their weight on as the factors it is made of, and run on oneDNN's products.

The gradient of a linear layer's weight is ``G = Y^T X``, with one row for each token in X, the inputs, and Y, the
gradients of the outputs. Merging coefficients need only ``left^T G right``, which is ``(Y left)^T (X right)``: for thin
factors a fraction of the work, and G is never in memory. An embedding's G has only the rows of the tokens that occur.

oneDNN's float32 product is twice as fast as that of torch's BLAS on AMD's processors (measured), at the same precision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mergeometry.encoders.packed import packing_helps

_FAST = (torch.float32, torch.bfloat16)


class Contraction(ABC):
    """Takes what the gradient of one weight is made of; a pass may call it several times, and the calls add up."""

    @abstractmethod
    def product(self, outputs: Float[Tensor, "b m"], inputs: Float[Tensor, "b n"]) -> None:
        """Take ``outputs^T inputs``, the gradient of a linear layer's weight (m, n)."""

    @abstractmethod
    def rows(self, places: Int[Tensor, " b"], gradients: Float[Tensor, "b n"]) -> None:
        """Take the gradient of an embedding: that of row ``places[i]`` is the sum of all such ``gradients[i]``."""


class ContractingLinear(nn.Linear):
    """A linear layer that gives its weight's gradient to a `Contraction` where it has one."""

    contraction: Contraction | None = None

    def forward(self, input: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch m"]:
        """``input @ weight.T + bias``, in the precision of autocast where that is on."""
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else input.dtype
        fits = dtype in _FAST and input.dtype in _FAST and input.numel() > 0
        if not (fits and (autocast or self.weight.dtype == dtype)):
            return super().forward(input)
        return _Linear.apply(input, self.weight, self.bias, dtype, self.contraction)


class ContractingEmbedding(nn.Embedding):
    """An embedding that gives its weight's gradient to a `Contraction` where it has one."""

    contraction: Contraction | None = None

    def forward(self, input: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch n"]:
        """The row of each place."""
        if self.contraction is None:
            return super().forward(input)
        return _Embedding.apply(input, self.weight, self.padding_idx, self.contraction)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        context: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        contraction: Contraction | None,
    ) -> Tensor:
        rows, weight_run = inputs.reshape(-1, inputs.shape[-1]).to(dtype), weight.to(dtype)
        context.save_for_backward(rows, weight_run)
        context.contraction, context.shape = contraction, inputs.shape
        context.dtypes = (inputs.dtype, weight.dtype, None if bias is None else bias.dtype)
        return product(rows, weight_run, None if bias is None else bias.to(dtype)).view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, weight = context.saved_tensors
        of_inputs = of_weight = of_bias = None
        gradient = gradient.reshape(-1, weight.shape[0]).to(rows.dtype)
        of_input, of_own, of_shift = context.needs_input_grad[:3]
        if of_input:
            of_inputs = product(gradient, weight.mT).to(context.dtypes[0]).view(context.shape)
        if of_own and context.contraction is not None:
            context.contraction.product(gradient, rows)
        elif of_own:
            of_weight = product(gradient.mT, rows.mT).to(context.dtypes[1])
        if of_shift:
            of_bias = gradient.sum(dim=0).to(context.dtypes[2])
        return of_inputs, of_weight, of_bias, None, None


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        context: Any, places: Tensor, weight: Tensor, padding: int | None, contraction: Contraction
    ) -> Tensor:
        context.save_for_backward(places)
        context.padding, context.contraction = padding, contraction
        return nn.functional.embedding(places, weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (places,) = context.saved_tensors
        places, gradient = places.reshape(-1), gradient.reshape(places.numel(), -1)
        if context.padding is not None:
            # The row of padding takes no gradient.
            kept = places != context.padding
            places, gradient = places[kept], gradient[kept]
        context.contraction.rows(places, gradient)
        return None, None, None, None


_KINDS = (ContractingLinear, ContractingEmbedding)


def make_contracting(module: nn.Module) -> None:
    """Turn a module's plain linear layers and embeddings into contracting ones, in place.

    Law: what the module computes stays the same, to the order of summation.
    """
    if packing_helps():
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = ContractingLinear
            elif type(layer) is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq:
                layer.__class__ = ContractingEmbedding


@contextmanager
def contracted(module: nn.Module, contractions: Mapping[str, Contraction]) -> Iterator[None]:
    """Give the layers of a module the contractions of their weights, which are named by parameter."""
    layers = [
        (layer, contractions[f"{name}.weight"])
        for name, layer in module.named_modules()
        if isinstance(layer, _KINDS) and f"{name}.weight" in contractions
    ]
    for layer, contraction in layers:
        layer.contraction = contraction
    try:
        yield
    finally:
        for layer, _ in layers:
            layer.contraction = None


def contracting(module: nn.Module) -> dict[str, type[nn.Module]]:
    """The kind of each layer that can take a contraction, by its weight's parameter."""
    return {f"{name}.weight": type(layer) for name, layer in module.named_modules() if isinstance(layer, _KINDS)}


def product(
    inputs: Float[Tensor, "b n"], weight: Float[Tensor, "m n"], bias: Float[Tensor, " m"] | None = None
) -> Float[Tensor, "b m"]:
    """``inputs @ weight.T + bias``, by oneDNN where this build of torch has it."""
    fits = inputs.dtype in _FAST and inputs.device.type == "cpu" and inputs.numel() and weight.numel()
    if not (fits and packing_helps()):
        return nn.functional.linear(inputs, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
