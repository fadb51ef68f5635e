"""The gradient of one tensor's coefficients from the factors of its weight's gradient, without that gradient."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from mergeometry.encoders.contracting import ContractingEmbedding, Contraction, product
from mergeometry.learning.learnable import Dense, Learnable, Thin


class CoefficientGradient(Contraction):
    """Gives ``found`` the gradient of a tensor's coefficients, shaped as ``like``, for every use of its weight."""

    def __init__(self, tensor: Learnable, like: Float[Tensor, "..."], found: Callable[[Tensor], None]) -> None:
        self._tensor, self._like, self._found = tensor, like, found

    def product(self, outputs: Float[Tensor, "b m"], inputs: Float[Tensor, "b n"]) -> None:
        """``left^T G right`` of a linear layer as ``(outputs left)^T (inputs right)``."""
        tensor = self._tensor
        assert isinstance(tensor, Thin)
        of_left = product(outputs, tensor.left.mT.to(outputs.dtype))
        of_right = product(inputs, tensor.right.mT.to(inputs.dtype))
        self._found(tensor.pull_back_factors(of_left.float(), of_right.float(), self._like))

    def rows(self, places: Int[Tensor, " b"], gradients: Float[Tensor, "b n"]) -> None:
        """``<G, parts_t>`` of an embedding from the rows that occur."""
        assert isinstance(self._tensor, Dense)
        self._found(self._tensor.pull_back_rows(places, gradients.float(), self._like))


def contracts(layer: type[nn.Module], tensor: Learnable) -> bool:
    """Whether a tensor's coefficients take their gradient from factors of the layer's, because that is less work."""
    if issubclass(layer, ContractingEmbedding):
        return isinstance(tensor, Dense)
    m, n = tensor.shape
    return isinstance(tensor, Thin) and tensor.left.shape[1] * (m + n) < m * n
