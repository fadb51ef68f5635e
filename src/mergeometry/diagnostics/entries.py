"""What the entries of several task vectors say of each other: inner products and signs, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.values import Delta, LowRank

BLOCK = 1 << 18
"""Entries of one task vector that are compared at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class EntryStatistics:
    """Sums over the entries of a tensor; those of two parts of it add up."""

    gram: Float[Tensor, "tasks tasks"]
    """``<tau_s, tau_t>``."""
    mass: Float[Tensor, " tasks"]
    """``sum_i |tau_t[i]|``."""
    opposed: Float[Tensor, "tasks tasks"]
    """``sum_i min(|tau_s[i]|, |tau_t[i]|)`` over the entries where s and t have opposite signs."""
    outvoted: float
    """``sum_i`` of the mass whose sign is not that of ``sum_t tau_t[i]``."""

    def __add__(self, other: EntryStatistics) -> EntryStatistics:
        return EntryStatistics(
            self.gram + other.gram,
            self.mass + other.mass,
            self.opposed + other.opposed,
            self.outvoted + other.outvoted,
        )

    def norms(self) -> Float[Tensor, " tasks"]:
        """``||tau_t||_F``."""
        return self.gram.diagonal().clamp(min=0).sqrt()

    def cosines(self) -> Float[Tensor, "tasks tasks"]:
        """``<tau_s, tau_t> / (||tau_s|| ||tau_t||)``, 0 where a task vector is zero.

        Source: task arithmetic, arXiv 2212.04089, section 6.
        """
        norms = self.norms()
        scale = torch.outer(norms, norms)
        return torch.where(scale > 0, self.gram / scale.where(scale > 0, torch.ones_like(scale)), 0.0)

    def conflicts(self) -> Float[Tensor, "tasks tasks"]:
        """Share of the mass of two task vectors that the other one cancels, 0 to 0.5; 0 where both are zero.

        Independent Gaussian updates of one size have 0.146.
        """
        together = self.mass[:, None] + self.mass[None, :]
        return torch.where(together > 0, self.opposed / together.where(together > 0, torch.ones_like(together)), 0.0)

    def conflict(self) -> float:
        """Share of the mass of all task vectors that is outvoted, 0 to 0.5.

        Each entry's sign is elected by mass, as TIES does (arXiv 2306.01708, section 4); this is the losers' share.
        Independent Gaussian updates of one size have ``(1 - T^-1/2) / 2``.
        """
        total = float(self.mass.sum())
        return self.outvoted / total if total > 0 else 0.0


def entry_statistics(block: Float[Tensor, "tasks entries"]) -> EntryStatistics:
    """The statistics of some entries of every task vector, in float64."""
    exact = block.double()
    tasks, held = len(exact), exact.new_empty(exact.shape[1:])  # memory that is asked for anew is slower than sums
    mass = torch.stack([torch.abs(task, out=held).sum() for task in exact])
    kept = exact.new_zeros(tasks, tasks)
    for one in range(tasks):
        for other in range(one):
            kept[one, other] = kept[other, one] = torch.add(exact[one], exact[other], out=held).abs_().sum()
        kept[one, one] = 2 * mass[one]
    # |a| + |b| - |a + b| is twice the smaller magnitude where the signs differ, and zero elsewhere.
    opposed = ((mass[:, None] + mass[None, :] - kept) / 2).clamp_(min=0)
    outvoted = float((mass.sum() - torch.sum(exact, dim=0, out=held).abs_().sum()).clamp(min=0)) / 2
    return EntryStatistics(exact @ exact.mT, mass, opposed, outvoted)


def statistics_of_entries(deltas: Sequence[Delta]) -> EntryStatistics:
    """The statistics of whole task vectors of one shape; low-rank ones are formed some rows at a time."""
    total = entry_statistics(torch.zeros(len(deltas), 0))
    for block in _blocks(deltas):
        total = total + entry_statistics(block)
    return total


def _blocks(deltas: Sequence[Delta]) -> Iterator[Float[Tensor, "tasks entries"]]:
    dense = [delta for delta in deltas if isinstance(delta, Tensor)]
    if len(dense) < len(deltas):
        height, width = deltas[0].shape
        rows = max(1, BLOCK // max(1, width))
        block = torch.empty(len(deltas), min(rows, height), width, dtype=torch.float64)
        for first in range(0, height, rows):
            part = block[:, : min(rows, height - first)]
            for delta, its in zip(deltas, part, strict=True):
                _fill(its, delta, slice(first, first + rows))
            yield part.flatten(1)
        return
    if all(delta.dim() == 2 and not delta.is_contiguous() for delta in dense):
        dense = [delta.mT for delta in dense]  # in the order in which they lie, so that nothing is copied whole
    flat = [delta.reshape(-1) for delta in dense]
    for first in range(0, flat[0].numel(), BLOCK):
        yield torch.stack([each[first : first + BLOCK] for each in flat])


def _fill(rows: Float[Tensor, "rows n"], delta: Delta, part: slice) -> None:
    if isinstance(delta, LowRank):
        torch.mm(*LowRank(delta.left[part], delta.core, delta.right).pair(torch.float64), out=rows)
    else:
        rows.copy_(delta[part])
