"""RAM+: as RAM, with the entries of one task alone amplified by how much of the task is shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import Elementwise, Sizes, Work, parameters


@parameters
class RamplusTL(Elementwise):
    """Average each entry over the tasks that changed it, and amplify what one task alone changed.

    Law, tensor by tensor: where at least two tasks have ``|w_t tau_t| > epsilon``, their mean; where one has,
    ``(1 + r min(rho_t, alpha)) w_t tau_t``, with ``rho_t`` the number of entries that task t shares with others over
    the number that are its own; where none has, zero.
    """

    source: ClassVar[str] = "Reinforced agent merging (RAM), arXiv 2601.13572; per tensor as in MergeKit"

    r: Annotated[float, Field(ge=0, description="how strongly a task's own entries are amplified")] = 0.1
    alpha: Annotated[float, Field(ge=0, description="largest ratio of shared to own entries that counts")] = 0.2
    epsilon: Annotated[float, Field(ge=0, description="largest magnitude that counts as unchanged")] = 1e-5

    @property
    def equal_models(self) -> Literal["same"]:
        """All have changed the same entries, so none has one of its own."""
        return "same"

    @property
    def homogeneous(self) -> bool:
        """What counts as unchanged is absolute."""
        return False

    def extra_cost(self, sizes: Sizes) -> Work:
        """The sum, the counts, and what one task's entries take at a time."""
        return Work(0.0, 5 * sizes.piece)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Count who changed each entry, then add each task's shared and own entries."""
        pairs = list(zip(deltas, weights, strict=True))
        count = torch.zeros_like(deltas[0])
        for delta, weight in pairs:
            count.add_(self._changed(delta, weight).ne(0))
        total = torch.zeros_like(deltas[0])
        for delta, weight in pairs:
            moved = self._changed(delta, weight)
            own = moved.ne(0) & count.eq(1)
            alone = int(own.count_nonzero())
            shared = int(moved.count_nonzero()) - alone
            factor = 1 + self.r * min(shared / alone, self.alpha) if alone else 1.0
            total.add_(torch.where(own, moved * factor, moved))
        return total.div_(count.clamp_(min=1))

    def _changed(self, delta: Float[Tensor, "*shape"], weight: float) -> Float[Tensor, "*shape"]:
        return torch.nn.functional.hardshrink(delta * weight, self.epsilon)
