"""What a rule may know of a merged tensor, or of all of them together: inner products of what was merged."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

Need = Literal["gram", "svc", "layers"]
"""What only some rules ask for: inner products of the task vectors, a singular value calibration, proxies of layers."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Frobenius inner products of a merged task vector ``tau`` and the weighted task vectors ``tau_t``, in float64."""

    inner: tuple[float, ...]
    """``<tau, tau_t>`` for each task."""
    energies: tuple[float, ...]
    """``||tau_t||^2`` for each task; a task that left the tensor alone has zero and takes no part."""
    merged: float
    """``||tau||^2``."""
    gram: tuple[tuple[float, ...], ...] | None = None
    """``<tau_s, tau_t>``, T x T, where it was asked for."""
    calibrated: float | None = None
    """``<tau', tau>`` of the merge after singular value calibration; None for a tensor that is not a matrix."""
    proxies: tuple[float, float] | None = None
    """Contrast and conflict of the task vectors with the base's weights, as a `Layer` has them; None likewise."""

    def to_json(self) -> list[Any]:
        """The statistics as plain JSON values."""
        return [self.inner, self.energies, self.merged, self.gram, self.calibrated, self.proxies]

    @classmethod
    def from_json(cls, value: list[Any]) -> Self:
        """Read what `to_json` wrote."""
        inner, energies, merged, gram, calibrated, proxies = value
        rows = None if gram is None else tuple(tuple(row) for row in gram)
        return cls(tuple(inner), tuple(energies), merged, rows, calibrated, None if proxies is None else tuple(proxies))


def total(parts: Iterable[Statistics]) -> Statistics:
    """The statistics of several tensors laid end to end, whatever their order: inner products add up.

    Raises:
        ValueError: ``parts`` is empty.
    """
    tensors = list(parts)
    if not tensors:
        raise ValueError("expected the statistics of at least one tensor, got none")
    tasks = range(len(tensors[0].inner))
    grams = [one.gram for one in tensors if one.gram is not None]
    calibrated = [one.calibrated for one in tensors if one.calibrated is not None]
    return Statistics(
        tuple(math.fsum(one.inner[t] for one in tensors) for t in tasks),
        tuple(math.fsum(one.energies[t] for one in tensors) for t in tasks),
        math.fsum(one.merged for one in tensors),
        tuple(tuple(math.fsum(gram[s][t] for gram in grams) for t in tasks) for s in tasks)
        if len(grams) == len(tensors)
        else None,
        math.fsum(calibrated) if len(calibrated) == len(tensors) else None,
    )


def of_matrices(parts: Collection[tuple[bool, Statistics]]) -> Statistics:
    """The sum over the matrices alone, from ``(is a matrix, statistics)`` of each tensor; over all if none is one."""
    matrices = [statistics for matrix, statistics in parts if matrix]
    return total(matrices or [statistics for _, statistics in parts])
