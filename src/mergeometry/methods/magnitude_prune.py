"""Magnitude pruning: keep the largest entries of each task vector, and add."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.selection import share_of, trimmed
from mergeometry.methods.base import (
    Elementwise,
    Pieces,
    Piecewise,
    dense_deltas,
    merged_in_pieces,
    parameters,
    weighed,
)
from mergeometry.methods.families.electing import added, trimming
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

    @property
    def pieces(self) -> Pieces:
        """The smallest entries to keep of the whole tensor come first."""
        return "passes"

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Trim and add pieces."""
        size = math.prod(shape)
        return trimming([share_of(size, one.density) for one in self.each(len(weights))], size, added(weights))

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Trim and add."""
        return merged_in_pieces(self.piecewise(weights, deltas[0].shape), deltas)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The kept entries of each task vector times its model's weight."""
        tasks = zip(self.each(len(deltas)), dense_deltas(deltas), weights, strict=True)
        return [weighed(trimmed(delta, one.density), weight) for one, delta, weight in tasks]
