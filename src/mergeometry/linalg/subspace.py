"""The shared orthogonal subspace of several tasks (TSV-M, DC-Merge and MDA merge inside it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeometry.deferred import Bool, Float, Tensor, torch
from mergeometry.linalg.polar import NULL_TOLERANCE
from mergeometry.linalg.recall import NOTHING, Recalled
from mergeometry.linalg.svd import gram, symmetric_eigen, thin_svd
from mergeometry.values import Directions

_TIED = 1e-9
"""Relative difference below which singular values of stacked directions count as equal: rounding is far smaller."""


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


def stack(directions: Sequence[Directions]) -> Directions:
    """The triplets of all tasks side by side, task by task, as they are: neither side is orthonormal."""
    return Directions(
        torch.cat([task.left for task in directions], dim=1),
        torch.cat([task.values for task in directions]),
        torch.cat([task.right for task in directions], dim=1),
    )


def shared_subspace(directions: Sequence[Directions]) -> SharedSubspace:
    """``U = polar([U_1 | ... | U_T])``, ``V = polar([V_1 | ... | V_T])`` with the singular values of all tasks.

    Source: TSV-M (arXiv 2412.00081) section 4; DC-Merge (arXiv 2603.06242) section 4.

    Raises:
        ValueError: there are no tasks.
        NumericalError: a decomposition failed with every driver.
    """
    stacked = stack(directions)
    recall = directions.recall if isinstance(directions, Recalled) else NOTHING
    left, first = recall.decorrelated(stacked.left)
    right, second = recall.decorrelated(stacked.right)
    return SharedSubspace(left, right, stacked.values, tuple(task.count for task in directions), first and second)


def principal_directions(stacked: Directions) -> Float[Tensor, "m r"]:
    """Left singular vectors of ``[U_1 | ... | U_T]``, largest singular value first, those of zero ones left out.

    Vectors of equal singular value, such as those of tasks at right angles, are told apart by the energy
    ``sum_t U_t diag(S_t)^2 U_t^T``, largest first. The entry of largest magnitude of each vector is positive.

    Raises:
        NumericalError: every driver failed.
    """
    left, spread, _ = thin_svd(stacked.left)
    kept = spread > NULL_TOLERANCE * spread[0] if len(spread) else spread > 0
    # Read at once: on a device every number that is read by itself is waited for.
    left, sizes = left[:, kept], spread[kept].cpu().tolist()
    first = 0
    for last in range(1, len(sizes) + 1):
        if last < len(sizes) and sizes[last - 1] - sizes[last] <= _TIED * sizes[0]:
            continue
        if last - first > 1:
            tied = left[:, first:last]
            energy = gram((stacked.left * stacked.values).mT @ tied)
            left[:, first:last] = tied @ symmetric_eigen(energy, last - first)[1]
        first = last
    peaks = left.gather(0, left.abs().argmax(dim=0, keepdim=True)) if left.numel() else left[:1]
    return left * torch.where(peaks < 0, -1.0, 1.0).to(left)
