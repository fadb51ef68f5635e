"""RAM: entries that several tasks changed are averaged over them, those of one task are kept whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import Elementwise, Pieces, parameters


@parameters
class Ram(Elementwise):
    """Average each entry over the tasks that changed it.

    Law: ``tau = sum_A w_t tau_t / |A|``, entry by entry, over the set ``A`` of tasks with ``|w_t tau_t| > epsilon``;
    zero where there is none.
    """

    source: ClassVar[str] = "Reinforced agent merging (RAM), arXiv 2601.13572"

    epsilon: Annotated[float, Field(ge=0, description="largest magnitude that counts as unchanged")] = 1e-5

    @property
    def equal_models(self) -> Literal["same"]:
        """All have changed the same entries."""
        return "same"

    @property
    def homogeneous(self) -> bool:
        """What counts as unchanged is absolute."""
        return False

    @property
    def pieces(self) -> Pieces:
        """Each entry depends on no other."""
        return "entries"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Add what was changed, and divide by how many changed it."""
        total, count = torch.zeros_like(deltas[0]), torch.zeros_like(deltas[0])
        for delta, weight in zip(deltas, weights, strict=True):
            moved = torch.nn.functional.hardshrink(delta * weight, self.epsilon)
            total.add_(moved)
            count.add_(moved.ne(0))
        return total.div_(count.clamp_(min=1))
