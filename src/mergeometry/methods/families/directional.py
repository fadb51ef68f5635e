"""Merges of the leading directions of each task, and how many of them take part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.selection import share_of
from mergeometry.methods.families.accumulator import Accumulator, LeadingDirections, accumulate
from mergeometry.methods.families.cost import Sizes, Work, stacked_directions
from mergeometry.methods.families.in_coordinates import InCoordinates
from mergeometry.methods.families.matrixwise import Matrixwise
from mergeometry.values import Delta, Directions, LowRank


def _rank(value: object) -> int | float | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, float) and 0 < value < 1:
        return value
    raise ValueError(f"a rank is an integer >= 1, a fraction between 0 and 1, or auto; got {value!r}")


Rank = Annotated[
    int | float | Literal["auto"],
    BeforeValidator(_rank),
    Field(
        description="directions of each task: an integer, a fraction of the smaller side, or auto "
        "(smaller side / number of tasks; an adapter's own rank)",
    ),
]
"""An integer >= 1, a fraction in (0, 1) of the smaller side, or ``auto``."""


class Directional(Matrixwise):
    """A merge of the leading directions of each task; every task vector is decomposed once and released."""

    family: ClassVar[str] = "directional"
    has_parts: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    turns: ClassVar[bool] = False
    """Whether turning the tasks' directions, on either side together, turns the merge with them, whatever their signs.

    Then adapters are merged in the coordinates of what they span, where all matrices are small.
    """
    rank: Rank

    @abstractmethod
    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Merge the tasks' leading singular triplets into one low-rank task vector.

        The columns of its right factor are the tasks' own directions, task by task: `parts` cuts there.
        """

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse tensors that are not matrices, and ranks that they cannot have."""
        super().check(tasks, shape, weights)
        check_rank(self.rank, shape)

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Decompose each task vector, multiply its singular values by its model's weight, merge."""
        kind = InCoordinates if self.turns else LeadingDirections
        return kind(weights, lambda delta: self._count(delta, len(weights)), self.merge)

    def begin_parts(
        self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None
    ) -> Accumulator[list[Delta]]:
        """The merge cut at the columns of its right factor, which belong to one task each (MDA, Algorithm 2)."""
        return LeadingDirections(weights, lambda delta: self._count(delta, len(weights)), self._parts)

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The same for task vectors in memory.

        Raises:
            ValueError: the merge has more or fewer right directions than the tasks together.
        """
        return accumulate(self.begin_parts(weights), len(deltas), deltas.__getitem__)

    def part_ranks(self, sizes: Sizes) -> list[int]:
        """As many directions as `rank` asks for, but no more than the task vector has."""
        short = min(sizes.shape)
        counts = [rank_of(self.rank, sizes.shape, sizes.tasks, rank) for rank in sizes.ranks]
        return [min(count, short if rank is None else rank) for count, rank in zip(counts, sizes.ranks, strict=True)]

    def cost(self, sizes: Sizes) -> Work:
        """One task vector's decomposition, and the directions of all."""
        counts = self.part_ranks(sizes)
        return stacked_directions(sizes, counts, sum(counts), 0) + self.extra_cost(sizes)

    def _parts(self, directions: Sequence[Directions]) -> list[Delta]:
        merged, parts, first = self.merge(directions), [], 0
        for count in (task.count for task in directions):
            columns = slice(first, first + count)
            parts.append(LowRank(merged.left, merged.core[:, columns], merged.right[:, columns]))
            first += count
        if first != merged.right.shape[1]:
            raise ValueError(f"expected {first} right directions of a merge, got {merged.right.shape[1]}")
        return parts

    def _count(self, delta: Delta, tasks: int) -> int:
        held = delta.rank if isinstance(delta, LowRank) else None
        return rank_of(self.rank, tuple(delta.shape), tasks, held)


def check_rank(rank: int | float | str, shape: Sequence[int]) -> None:
    """Refuse a rank that a matrix cannot have.

    Raises:
        ValueError: the matrix cannot have it; the message fits after "tensor X: ".
    """
    if isinstance(rank, int) and rank > min(shape):
        raise ValueError(
            f"rank {rank} is out of range: a {shape[0]} x {shape[1]} matrix has at most {min(shape)}; "
            "a fraction such as 0.125 fits every tensor"
        )


def rank_of(rank: int | float | str, shape: Sequence[int], tasks: int, held: int | None = None) -> int:
    """How many directions of a task vector take part: ``auto`` is ``floor(min(m, n) / T)``, or an adapter's own rank.

    ``held`` is the rank of a low-rank task vector, or None for a dense one. At least one direction.
    """
    smaller = min(shape)
    if isinstance(rank, float):
        return share_of(smaller, rank)
    if isinstance(rank, int):
        return rank
    return held if held is not None else max(1, smaller // tasks)
