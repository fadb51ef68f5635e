"""MagMax: for each entry, the task vector of largest magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.base import Elementwise, Pieces, parameters


@parameters
class Magmax(Elementwise):
    """For each entry, the task that moves it furthest decides.

    Law: ``tau = w_t tau_t``, entry by entry, with the ``t`` of largest ``|w_t tau_t|``; of two equally far in opposite
    directions, the positive one.
    """

    source: ClassVar[str] = "Marczak et al. 2024, MagMax, arXiv 2407.06322, section 4"

    @property
    def equal_models(self) -> Literal["same"]:
        """All move each entry as far."""
        return "same"

    @property
    def pieces(self) -> Pieces:
        """Each entry depends on no other."""
        return "entries"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Keep the largest and the smallest entry so far; the further of both decides."""
        first, *others = zip(deltas, weights, strict=True)
        largest = first[0] * first[1]
        smallest = largest.clone()
        for delta, weight in others:
            moved = delta * weight
            torch.maximum(largest, moved, out=largest)
            torch.minimum(smallest, moved, out=smallest)
        return torch.where(largest >= -smallest, largest, smallest)
