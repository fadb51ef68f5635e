"""Magnitude pruning: keep the largest entries of each task vector, and add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.selection import trimmed
from mergeometry.methods.base import Elementwise, dense_deltas, parameters, weighed
from mergeometry.values import Delta


@parameters
class MagnitudePrune(Elementwise):
    """Keep each task vector's largest entries, and add what is left.

    Law, tensor by tensor: ``tau = sum_t w_t trim(tau_t)``, where ``trim`` zeroes all but the share ``density`` of
    entries of largest magnitude. Entries that tie with the smallest one kept are all kept.
    """

    source: ClassVar[str] = "PEFT, add_weighted_adapter with magnitude_prune_svd; the trimming of arXiv 2306.01708"
    has_parts: ClassVar[bool] = True
    per_model: ClassVar[tuple[str, ...]] = ("density",)

    density: Annotated[float, Field(gt=0, le=1, description="share of entries kept in each task vector")] = 0.2

    @property
    def equal_models(self) -> Literal["sum"]:
        """Equal task vectors keep the same entries."""
        return "sum"

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Trim and add."""
        total = torch.zeros_like(deltas[0])
        for one, delta, weight in zip(self.each(len(deltas)), deltas, weights, strict=True):
            total.add_(trimmed(delta, one.density), alpha=weight)
        return total

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector times its model's weight."""
        tasks = zip(self.each(len(deltas)), dense_deltas(deltas), weights, strict=True)
        return [weighed(trimmed(delta, one.density), weight) for one, delta, weight in tasks]
