"""What a refinement is: a step around the merge of one matrix, given the task vectors that are merged.

Most only follow the merge; one that also calibrates changes every task vector before the method gets it.

The file's name is the refinement's name in recipes; its dataclass fields are its parameters, as a method's are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from mergeometry.deferred import Tensor
from mergeometry.registration import Registered
from mergeometry.values import Delta, LowRank


class Refinement(Registered, ABC):
    """A step around the merge of a matrix by any method; ``source`` names the paper."""

    group: ClassVar[str] = "mergeometry.refinements"
    source: ClassVar[str]
    calibrates: ClassVar[bool] = False
    """Whether `calibration` changes the task vectors before the merge."""

    def calibration(self, deltas: Sequence[Delta]) -> Callable[[Delta], Delta] | None:
        """What changes each task vector before the merge, from all of them times their models' weights; None: nothing.

        A linear map, so that it may come before the weights or after them; low-rank in, low-rank out. Iterating over
        ``deltas`` may read them from disk, so do it once if possible.
        """
        return None

    @abstractmethod
    def apply(self, merged: Delta, deltas: Sequence[Delta]) -> Delta:
        """Refine a merged task vector, given the task vectors times their models' weights.

        Low-rank in, low-rank out. Iterating over ``deltas`` may read them from disk, so do it once if possible.
        """

    def cost(self, shape: Sequence[int], tasks: int, rank: int | None = None) -> tuple[float, int]:
        """Operations, and bytes in addition to the base, the merged matrix and the task vectors, for a plan.

        ``rank`` bounds that of a merged matrix, and of every task vector, that is held as thin factors; None where they
        are dense.
        """
        return 2.0 * shape[0] * shape[1] * (tasks + 1), 8 * shape[0] * shape[1]

    def __call__(self, merged: Delta, deltas: Sequence[Delta]) -> Delta:
        """Refine a merged matrix: a low-rank one stays low-rank, a dense one keeps its dtype.

        Raises:
            ValueError: it is not a matrix, there are no task vectors, or their shapes differ from it.
        """
        shape = tuple(merged.shape)
        if len(shape) != 2:
            raise ValueError(f"needs a matrix, but the shape is {list(shape)}")
        if not len(deltas):
            raise ValueError("expected the task vectors that were merged, got none")
        refined = self.apply(merged, deltas)
        if isinstance(merged, Tensor) and isinstance(refined, LowRank):
            return refined.dense(merged.dtype)
        return refined


def same_shape(delta: Delta, merged: Delta) -> Delta:
    """Return the task vector if it has the merged one's shape.

    Raises:
        ValueError: the shapes differ.
    """
    if tuple(delta.shape) != tuple(merged.shape):
        raise ValueError(f"expected task vectors of shape {list(merged.shape)}, got {list(delta.shape)}")
    return delta
