"""Linear layers with frozen weights in oneDNN's own layout.

On processors where torch's BLAS takes a slow path (AMD's, measured) this halves the time of encoding and of
training adapters. The arithmetic stays float32; only the order of summation differs.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_ROWS = 1024  # the batch size that oneDNN lays weights out for; other sizes work too


def packing_helps() -> bool:
    """Whether this build of torch has the oneDNN kernels."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class PackedLinear(nn.Module):
    """A linear layer whose weight cannot be trained; gradients flow only to its input."""

    def __init__(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None, *, trains: bool) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.trains = trains
        self.assign(weight, bias)

    def assign(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> None:
        """Take new values of the same shape."""
        weight = weight.detach().float().contiguous()
        self.bias = None if bias is None else bias.detach().float().contiguous()
        self.packed = _pack(weight)
        self.packed_transpose = _pack(weight.T.contiguous()) if self.trains else None

    def dense(self) -> Float[Tensor, "out in"]:
        """Return the weight in the plain layout."""
        return self(torch.eye(self.in_features)).T - (0 if self.bias is None else self.bias[:, None])

    def forward(self, inputs: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return ``inputs @ weight.T + bias``."""
        if self.packed_transpose is None:
            return _apply(inputs, self.packed, self.bias)
        return _FrozenLinear.apply(inputs, self.packed, self.packed_transpose, self.bias)


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, packed: Tensor, transpose: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        context.transpose = transpose
        return _apply(inputs, packed, bias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _apply(gradient.contiguous(), context.transpose, None), None, None, None


def pack_linears(model: nn.Module, *, trains: bool = False) -> dict[str, PackedLinear]:
    """Replace every linear layer by a packed one, and return these by name; do nothing where packing does not help."""
    packed: dict[str, PackedLinear] = {}
    if packing_helps():
        for name, module in list(model.named_modules()):
            if type(module) is nn.Linear:
                packed[name] = PackedLinear(module.weight, module.bias, trains=trains)
                model.set_submodule(name, packed[name])
    return packed


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)


def _apply(inputs: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
