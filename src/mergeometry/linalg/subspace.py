"""The shared orthogonal subspace of several tasks (TSV-M, DC-Merge and MDA merge inside it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Bool, Float, Tensor, torch
from mergeometry.linalg.polar import polar
from mergeometry.values import Directions


@dataclass(frozen=True, slots=True, eq=False)
class SharedSubspace:
    """Orthonormal ``left`` (m, r) and ``right`` (n, r); ``counts[t]`` consecutive columns of each belong to task t."""

    left: Float[Tensor, "m r"]
    right: Float[Tensor, "n r"]
    values: Float[Tensor, " r"]
    counts: tuple[int, ...]
    orthonormal: bool = False
    """Whether both sides have orthonormal columns: not where the tasks' directions depend on each other."""

    @property
    def rank(self) -> int:
        """Number of columns of all tasks together."""
        return self.values.shape[0]

    def same_task(self) -> Bool[Tensor, "r r"]:
        """Matrix that is true where row and column belong to one task: the diagonal blocks."""
        owner = torch.repeat_interleave(torch.arange(len(self.counts)), torch.tensor(self.counts))
        owner = owner.to(self.values.device)
        return owner[:, None] == owner[None, :]


def shared_subspace(directions: Sequence[Directions]) -> SharedSubspace:
    """``U = polar([U_1 | ... | U_T])``, ``V = polar([V_1 | ... | V_T])`` with the singular values of all tasks.

    Source: TSV-M (arXiv 2412.00081) section 4; DC-Merge (arXiv 2603.06242) section 4.

    Raises:
        ValueError: there are no tasks.
        NumericalError: a decomposition failed with every driver.
    """
    left, first = polar(torch.cat([task.left for task in directions], dim=1))
    right, second = polar(torch.cat([task.right for task in directions], dim=1))
    values = torch.cat([task.values for task in directions])
    orthonormal = len(first) == len(second) == len(values)
    return SharedSubspace(left, right, values, tuple(task.count for task in directions), orthonormal)
