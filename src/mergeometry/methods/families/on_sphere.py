"""What merges along the sphere share: the models' inner products over the whole tensor, then a sum of pieces."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.families.piecewise import Piecewise, Scratch

_ENTRIES = 1 << 17
"""Entries of each model held in float64 at a time."""


class OnSphere(Piecewise):
    """Measures the models ``base + delta``, each taken as one vector, and adds base and task vectors by factors."""

    tells_finite: ClassVar[bool] = True

    def __init__(self, weights: Sequence[float], shape: Sequence[int]) -> None:
        rows, elements = shape[0] if shape else 1, math.prod(shape)
        self.step = max(1, _ENTRIES * max(1, rows) // max(1, elements)) * max(1, elements // max(1, rows))
        self._weights = weights
        self._factors: tuple[float | None, list[float]] | None = None
        self._weighed, self._models, self._base = [Scratch() for _ in weights], Scratch(), Scratch()
        self._merged = Scratch()
        self._squares_of_piece = 0.0

    @property
    def all_finite(self) -> bool:
        """Whether the squares of the models' entries add up to a finite number."""
        return math.isfinite(self._squares_of_piece)

    @property
    def measuring(self) -> bool:
        """Whether the models have not been measured yet."""
        return self._factors is None

    def measure(self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None) -> None:
        """Hand on the models in float64."""
        assert base is not None
        wide = self._base.like(base, torch.float64).copy_(base)
        models = self._models.of(len(deltas) * len(wide), torch.float64, wide.device).view(len(deltas), -1)
        for model, delta in zip(models, self._times_weights(deltas), strict=True):
            model.copy_(delta)
            torch.add(wide, model, out=model)
        self._squares_of_piece = self.add(models)

    def measured(self) -> None:
        """Compute the factors."""
        self._factors = self.factors()

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Add a piece."""
        assert base is not None
        assert self._factors is not None
        share, factors = self._factors
        terms, merged = list(zip(self._times_weights(deltas), factors, strict=True)), self._merged.like(base)
        if share is None:
            (first, factor), *terms = terms
            torch.mul(first, factor, out=merged)
        else:
            torch.mul(base, share, out=merged)
        for delta, factor in terms:
            merged.add_(delta, alpha=factor)
        return merged

    @abstractmethod
    def add(self, models: Float[Tensor, "tasks count"]) -> float:
        """Measure some entries of the models, in float64, and return the sum of their squares."""

    @abstractmethod
    def factors(self) -> tuple[float | None, list[float]]:
        """What the base, where it is added, and each task vector are multiplied by."""

    def _times_weights(self, deltas: Sequence[Float[Tensor, " count"]]) -> list[Float[Tensor, " count"]]:
        places = zip(deltas, self._weights, self._weighed, strict=True)
        return [delta if w == 1.0 else torch.mul(delta, w, out=held.like(delta)) for delta, w, held in places]
