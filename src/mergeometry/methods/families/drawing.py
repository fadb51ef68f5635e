"""Methods that draw random numbers, from a separate stream for each tensor and task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.selection import with_magnitudes_of
from mergeometry.linalg.streams import (
    Drop,
    RankedDrop,
    check_chances,
    dropped,
    dropped_by_rank,
    row_width,
    stream_key,
)
from mergeometry.methods.families.cost import PIECE_ELEMENTS, Sizes, Work
from mergeometry.methods.families.elementwise import Elementwise

Density = Annotated[float, Field(gt=0, le=1, description="probability that an entry of a task vector is kept")]
"""The probability that an entry is kept."""

Rescale = Annotated[
    bool | Literal["l1"],
    Field(
        description="divide each kept entry by its probability; l1: multiply all alike, so that their magnitudes add "
        "up to what they did before; false: neither"
    ),
]
"""What makes up for the dropped entries: `True` as published, ``l1`` as in MergeKit."""


class Drawing(Elementwise):
    """A merge of task vectors after a random drop of their entries.

    The recipe's seed, the tensor's name and the model's name alone decide which entries are dropped, so that any number
    of workers and any order of the models give the same result. A plan passes these to `for_tensor`; without
    it, a call draws for seed 0, a tensor without a name, and models named by their positions: "0", "1", ...
    """

    family: ClassVar[str] = "drawing"
    order_invariant: ClassVar[bool] = False
    per_model: ClassVar[tuple[str, ...]] = ("density",)
    density: Density
    rescale: Rescale

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Drawing:
        """The method with the streams of one tensor; ``tasks`` are the models' names."""
        bound = copy.copy(self)
        # Not a field: a recipe cannot set it, and the methods of two tensors still compare equal.
        object.__setattr__(bound, "_keys", tuple(stream_key(seed, tensor, task) for task in tasks))
        return bound

    def keys(self, count: int) -> Sequence[int]:
        """The key of each task's stream."""
        return getattr(self, "_keys", None) or [stream_key(0, "", str(place)) for place in range(count)]

    def drops(self, count: int) -> list[Drop]:
        """What drops the entries of each of so many task vectors, from the first to the last."""
        tasks = zip(self.keys(count), self.each(count), strict=True)
        return [Drop(key, one.density, rescale=self.rescale is True) for key, one in tasks]

    def drop(self, deltas: Sequence[Float[Tensor, "*shape"]]) -> list[Float[Tensor, "*shape"]]:
        """The kept entries of each task vector, by default rescaled so that its expectation is unchanged."""
        count = len(deltas)
        tasks = zip(self.each(count), deltas, self.keys(count), strict=True)
        kept = [one._drop(delta, key) for one, delta, key in tasks]
        if self.rescale != "l1":
            return kept
        return [with_magnitudes_of(part, delta) for part, delta in zip(kept, deltas, strict=True)]

    def _drop(self, delta: Float[Tensor, "*shape"], key: int) -> Float[Tensor, "*shape"]:
        return dropped(delta, key, self.density, rescale=self.rescale is True)


class RankedDrawing(Drawing):
    """A merge after a drop that spares large entries, by the ranks of magnitudes within each row.

    Source: DELLA-Merging (arXiv 2406.11617) section 3.1.
    """

    per_model: ClassVar[tuple[str, ...]] = ("density", "epsilon")
    epsilon: float

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse probabilities outside 0 to 1."""
        super().check(tasks, shape, weights)
        check_chances(self.density, self.epsilon)

    def extra_cost(self, sizes: Sizes) -> Work:
        """Sorting the rows of each task vector, a few at a time, with their ranks, probabilities and random numbers."""
        rows = max(PIECE_ELEMENTS, row_width(sizes.shape))
        return Work(100.0 * sizes.elements * sizes.tasks, 80 * min(rows, sizes.elements))

    def ranked_drops(self, shape: Sequence[int], count: int) -> list[RankedDrop]:
        """What drops entries of the rows of each of so many task vectors, from the first to the last."""
        tasks = zip(self.keys(count), self.each(count), strict=True)
        width, rescale = row_width(shape), self.rescale is True
        return [RankedDrop(key, one.density, one.epsilon, width, rescale=rescale) for key, one in tasks]

    def _drop(self, delta: Float[Tensor, "*shape"], key: int) -> Float[Tensor, "*shape"]:
        return dropped_by_rank(delta, key, self.density, self.epsilon, rescale=self.rescale is True)
