"""Arcee fusion: take over the entries of another model that matter more than usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.backend import entries_together
from mergeometry.linalg.order import order_statistics
from mergeometry.methods.base import Sizes, Weightwise, Work, parameters

_FLOOR = 1e-8
"""What is added to probabilities before their logarithms are taken, the published constant."""

_ENTRIES = 1 << 17
"""Entries held in float64 at a time."""


@parameters
class ArceeFusion(Weightwise):
    """Move those entries of the base to one other model's that matter far more than most.

    Law, tensor by tensor: ``tau = tau_1`` where an entry's importance is at least ``median + 1.5 (q3 - q1)``, the
    quartiles of all importances; zero elsewhere. The importance is ``|tau_1|`` times the divergence
    ``sum p log(p / q)`` of its row, with ``p`` and ``q`` the softmax of the model's and of the base's row, 1e-8 added.
    Quartiles are exact: the entries at places ``floor(q (n - 1))`` in order.
    """

    source: ClassVar[str] = "Arcee fusion, in MergeKit, arXiv 2403.13257"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse any number of models but one."""
        super().check(tasks, shape, weights)
        if tasks != 1:
            raise ValueError(f"arcee_fusion moves the base towards one model, got {tasks}")

    def extra_cost(self, sizes: Sizes) -> Work:
        """The importances in float64, and a copy to take quartiles of."""
        return Work(100.0 * sizes.elements, 16 * sizes.elements)

    def merge(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]]
    ) -> Float[Tensor, "*shape"]:
        """Keep the important entries."""
        (delta,) = deltas
        if delta.numel() == 0:
            return torch.zeros_like(delta)
        importance = _importance(base, delta)
        low, median, high = order_statistics(importance, (0.25, 0.5, 0.75))
        return torch.where(importance >= median + 1.5 * (high - low), delta, 0)


def _importance(base: Float[Tensor, "*shape"], delta: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """How far each entry moves, times how far the softmax of its row does; float64."""
    width = base.shape[-1] if base.dim() else 1
    found = base.new_empty(base.numel() // width, width, dtype=torch.float64)
    rows = max(1, entries_together(base, _ENTRIES) // width)
    for first in range(0, len(found), rows):
        block = slice(first, first + rows)
        weights, move = (each.reshape(-1, width)[block].double() for each in (base, delta))
        p, q = (each.softmax(dim=-1) + _FLOOR for each in (weights + move, weights))
        found[block] = move.abs() * (p * (p / q).log()).sum(dim=-1, keepdim=True)
    return found.reshape(base.shape)
