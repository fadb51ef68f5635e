"""RAM+: as RAM, with the entries of one task alone amplified by how much of the task is shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import Elementwise, Pieces, Piecewise, Sizes, Work, merged_in_pieces, parameters


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

    @property
    def pieces(self) -> Pieces:
        """How many entries each task shares, and how many are its own, come first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Add pieces of what each task changed, its own entries amplified."""
        return _Amplified(weights, self.r, self.alpha, self.epsilon)

    def extra_cost(self, sizes: Sizes) -> Work:
        """The sum, the counts, and what one task's entries take at a time."""
        return Work(0.0, 5 * sizes.piece)

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Count each task's shared and own entries, then add them."""
        return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)


class _Amplified(Piecewise):
    """Counts the entries that each task shares and those that it alone changed, then adds them by these counts."""

    def __init__(self, weights: Sequence[float], r: float, alpha: float, epsilon: float) -> None:
        self._weights, self._r, self._alpha, self._epsilon = weights, r, alpha, epsilon
        self._alone, self._shared = [0] * len(weights), [0] * len(weights)
        self._measuring = True

    @property
    def measuring(self) -> bool:
        """One pass."""
        return self._measuring

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        """Count a piece's entries of each kind."""
        count = self._count(deltas)
        for place, delta in enumerate(deltas):
            moved = self._changed(delta, self._weights[place]).ne(0)
            alone = int((moved & count.eq(1)).count_nonzero())
            self._alone[place] += alone
            self._shared[place] += int(moved.count_nonzero()) - alone

    def measured(self) -> None:
        """All are counted."""
        self._measuring = False

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Add each task's shared and own entries, and divide by how many tasks changed an entry."""
        count, total = self._count(deltas), torch.zeros_like(deltas[0])
        for delta, weight, alone, shared in zip(deltas, self._weights, self._alone, self._shared, strict=True):
            moved = self._changed(delta, weight)
            factor = 1 + self._r * min(shared / alone, self._alpha) if alone else 1.0
            total.add_(torch.where(moved.ne(0) & count.eq(1), moved * factor, moved))
        return total.div_(count.clamp_(min=1))

    def _count(self, deltas: Sequence[Float[Tensor, " count"]]) -> Float[Tensor, " count"]:
        """How many tasks changed each entry."""
        count = torch.zeros_like(deltas[0])
        for delta, weight in zip(deltas, self._weights, strict=True):
            count.add_(self._changed(delta, weight).ne(0))
        return count

    def _changed(self, delta: Float[Tensor, " count"], weight: float) -> Float[Tensor, " count"]:
        return torch.nn.functional.hardshrink(delta * weight, self._epsilon)
