"""Means of the features predicted as each class, tracked through learning, and the rotations that fit them best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from mergeometry.learning.objective import TaskTerms
from mergeometry.learning.rotation import TaskRotation

MEMORY = 0.9
"""Share of the earlier sums that a step keeps: batches are too small to hold every class, and features move slowly."""


class ClassMeans:
    """Running sums of each task's unit features by predicted class."""

    def __init__(self, terms: Sequence[TaskTerms]) -> None:
        self._prototypes = [task.prototypes for task in terms]
        self._sums: dict[int, Float[Tensor, "d c"]] = {}
        self._counts: dict[int, Float[Tensor, " c"]] = {}

    def add(self, sums: Mapping[int, tuple[Float[Tensor, "d c"], Int[Tensor, " c"]]]) -> None:
        """Add a step's sums; earlier sums decay."""
        for task, (total, count) in sums.items():
            earlier = self._sums.get(task)
            self._sums[task] = total if earlier is None else MEMORY * earlier + total
            self._counts[task] = count.float() if earlier is None else MEMORY * self._counts[task] + count

    def of(self, task: int) -> Float[Tensor, "d c"]:
        """``Zbar``: the column of a class that was never predicted is zero."""
        return self._sums[task] / self._counts[task].clamp(min=1e-6)

    def never_predicted(self, task: int) -> int:
        """The number of classes that no input is predicted as."""
        return int((self._counts[task] == 0).sum())

    def target(self, task: int, rotation: TaskRotation) -> Float[Tensor, "q q"]:
        """The Procrustes target ``R^P`` under the current means."""
        prototypes = self._prototypes[task]
        assert prototypes is not None
        return rotation.target(prototypes, self.of(task))

    def tensors(self) -> dict[str, Tensor]:
        """The running sums by name, for a checkpoint."""
        sums = {f"means/sum/{task}": total.clone() for task, total in self._sums.items()}
        return sums | {f"means/count/{task}": count.clone() for task, count in self._counts.items()}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned."""
        for name, value in tensors.items():
            if not name.startswith("means/"):
                continue
            _, kind, number = name.split("/")
            prototypes = self._prototypes[int(number)]
            restored = value.clone() if prototypes is None else value.to(prototypes.device, copy=True)
            (self._sums if kind == "sum" else self._counts)[int(number)] = restored
