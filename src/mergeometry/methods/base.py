"""What a merge method is: one file, one frozen dataclass, one ``merge``, and a docstring with its law.

A method says what it needs by the family that it belongs to, and the engine computes just that:

| family        | receives for one tensor                      | returns          | example           |
| ------------- | -------------------------------------------- | ---------------- | ----------------- |
| `Linear`      | nothing: it names a coefficient for each task | -                | `task_arithmetic` |
| `Elementwise` | dense task vectors of any shape              | a dense tensor   | `ties`            |
| `Spectral`    | matrices, dense or `LowRank`                 | either           | `iso_c`           |
| `Directional` | the top-k singular triplets of each task     | a `LowRank`      | `tsv_m`           |
| `Activational` | matrices, and moments of the tasks' inputs  | either           | `regmean`         |

The file's name is the method's name in recipes. Its dataclass fields are its parameters: typed,
described, validated when the method is built, and refused when unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Literal, TypeVar, cast, dataclass_transform

import torch
from jaxtyping import Float
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor

from mergeometry.linalg.svd import top_directions
from mergeometry.methods.ranks import Rank, check_rank, rank_of
from mergeometry.values import Delta, Directions, LowRank, sum_of

Kind = TypeVar("Kind")


@dataclass_transform(frozen_default=True)
def parameters(kind: type[Kind]) -> type[Kind]:
    """Make a class a frozen dataclass whose fields are checked when it is built; every method is one."""
    checked = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=False, allow_inf_nan=False))
    return cast(type[Kind], checked(kind))


class Method(ABC):
    """A way to merge the task vectors of one tensor; ``source`` names the paper."""

    source: ClassVar[str]
    order_invariant: ClassVar[bool] = True
    """Whether the order of the models leaves the result the same (up to rounding)."""
    has_parts: ClassVar[bool] = False
    """Whether `parts` can say what each task adds, which learning its coefficients needs."""
    others: ClassVar[str] = "average"
    """The method by which tensors that are no matrices merge beside it, where the recipe names none."""
    scale_rule: ClassVar[str] = "norm_mean"
    """The rule that ``scale: auto`` stands for beside it: what it lost least by, of those that see no label."""
    needs_learning: ClassVar[bool] = False
    """Whether the method is nothing without an `adapt:` section."""
    needs_activations: ClassVar[bool] = False
    """Whether the method is nothing without a `data:` section, whose inputs the models are run on."""

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:  # noqa: B027
        """Refuse what this method cannot do, from shapes alone, before any weight is read.

        Raises:
            ValueError: with the reason in words that fit after "tensor X: ".
        """

    @property
    def equal_models(self) -> Literal["same", "sum", "zero"] | None:
        """What N equal task vectors merge to at a given rank.

        That one's own merge (``same``), N times it (``sum``), ``zero``, or what no law states (None).
        """
        return None

    @property
    def homogeneous(self) -> bool:
        """Whether task vectors all times a number merge to the merge times that number."""
        return True

    @property
    def stays_low_rank(self) -> bool:
        """Whether low-rank task vectors merge to a low-rank one, which an adapter can hold."""
        return True

    @abstractmethod
    def apply(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Merge the task vectors of one tensor, whatever they are held as."""

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Method:
        """The method as it merges one tensor of a recipe: what draws random numbers gets its streams here.

        ``seed`` is the recipe's, ``tensor`` the name in the base, ``tasks`` the models' names.
        """
        return self

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """What each task adds to the merge: the parts sum to what `apply` returns.

        Raises:
            ValueError: the method mixes tasks so that no part of its result is one task's own.
        """
        raise ValueError(f"{type(self).__name__} has no part for each task, so there are no coefficients to learn")

    def described(self) -> dict[str, Any]:
        """The parameters as plain values, in the order in which they are declared."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def __call__(self, deltas: Sequence[Delta], weights: Sequence[float] | None = None) -> Delta:
        """Merge task vectors of one shape: the result is low-rank only where every input is.

        Raises:
            ValueError: no task vectors, shapes that differ, a weight too many, or what `check` refuses.
        """
        if not deltas or any(tuple(delta.shape) != tuple(deltas[0].shape) for delta in deltas):
            raise ValueError(f"expected task vectors of one shape, got {[tuple(delta.shape) for delta in deltas]}")
        weights = [1.0] * len(deltas) if weights is None else list(weights)
        if len(weights) != len(deltas):
            raise ValueError(f"expected a weight for each of {len(deltas)} task vectors, got {len(weights)}")
        self.check(len(deltas), tuple(deltas[0].shape), weights)
        merged = self.apply(deltas, weights)
        plain = next((delta for delta in deltas if isinstance(delta, Tensor)), None)
        if plain is None or isinstance(merged, Tensor):
            return merged
        return merged.dense(plain.dtype)


class Linear(Method):
    """A weighted sum of task vectors; the engine adds them one at a time, low-rank ones as they are."""

    has_parts: ClassVar[bool] = True
    scale_rule: ClassVar[str] = "projection"

    @abstractmethod
    def coefficients(self, weights: Sequence[float]) -> list[float]:
        """What each task vector is multiplied by before they are added."""

    def apply(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add the task vectors, each times its coefficient."""
        return sum_of(self.parts(deltas, weights))

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task vector times its coefficient."""
        pairs = zip(deltas, self.coefficients(weights), strict=True)
        return [d.scaled(c) if isinstance(d, LowRank) else d * c for d, c in pairs]


class Elementwise(Method):
    """A merge of each entry, or of entries against the tensor's others; any shape, dense."""

    scale_rule: ClassVar[str] = "projection"

    @property
    def stays_low_rank(self) -> bool:
        """Entries know of no rank."""
        return False

    @abstractmethod
    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Merge dense task vectors; inputs stay as they are."""

    def apply(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Form what is low-rank, then merge."""
        return self.merge(dense_deltas(deltas), weights)


class Rowwise(Elementwise):
    """A merge of each row of a matrix by that row of every task alone.

    The engine may hand it some rows of a matrix at a time: of them it gives what it gives of them among the others.
    """


class Matrixwise(Method):
    """A merge of the 2-D weights of linear maps only."""

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse tensors that are no matrices."""
        super().check(tasks, shape, weights)
        if len(shape) != 2:
            raise ValueError(f"needs a matrix, but the shape is {list(shape)}")


class Spectral(Matrixwise):
    """A merge through the singular values of whole matrices, dense or low-rank."""

    @abstractmethod
    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Merge matrices; low-rank inputs give a low-rank result."""

    def extra_cost(self, shape: Sequence[int], ranks: Sequence[int | None], number: int) -> tuple[float, int]:
        """Operations and bytes beyond those of decomposing the task vectors' sum, which a plan counts on.

        ``ranks`` holds each task's low rank, or None where it is dense; ``number`` is the size of a dense entry.
        """
        return 0.0, 0

    def apply(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Weigh the matrices, then merge."""
        return self.merge([weighed(delta, weight) for delta, weight in zip(deltas, weights, strict=True)])


class Directional(Matrixwise):
    """A merge of the leading directions of each task; the engine decomposes each task vector once."""

    has_parts: ClassVar[bool] = True
    rank: Rank

    @abstractmethod
    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Merge the tasks' leading singular triplets into one low-rank task vector.

        The columns of its right factor are the tasks' own directions, task by task: `parts` cuts there.
        """

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse tensors that are no matrices, and ranks that they do not have."""
        super().check(tasks, shape, weights)
        check_rank(self.rank, shape)

    def directions(self, delta: Delta, tasks: int) -> Directions:
        """Leading triplets of one task vector, as many as ``rank`` asks for among ``tasks`` tasks."""
        held = delta.rank if isinstance(delta, LowRank) else None
        return top_directions(delta, rank_of(self.rank, tuple(delta.shape), tasks, held))

    def apply(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Decompose each task vector, weigh its singular values, merge."""
        return self.merge(self._weighed(deltas, weights))

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """The merge cut at the columns of its right factor, which belong to one task each (MDA, Algorithm 2)."""
        return self.parts_of(self._weighed(deltas, weights))

    def parts_of(self, directions: Sequence[Directions]) -> list[Delta]:
        """The same from what `directions` found in each task vector, its values weighed.

        Raises:
            ValueError: the merge has other right directions than the tasks have.
        """
        merged, found, first = self.merge(directions), [], 0
        for count in (task.count for task in directions):
            own = slice(first, first + count)
            found.append(LowRank(merged.left, merged.core[:, own], merged.right[:, own]))
            first += count
        if first != merged.right.shape[1]:
            raise ValueError(f"expected {first} right directions of a merge, got {merged.right.shape[1]}")
        return found

    def _weighed(self, deltas: Iterable[Delta], weights: Sequence[float]) -> list[Directions]:
        # One task vector at a time: of a dense one only its leading directions stay in memory.
        tasks = len(weights)
        return [self.directions(delta, tasks).scaled(weight) for delta, weight in zip(deltas, weights, strict=True)]


def check_mean(weights: Sequence[float]) -> None:
    """Refuse weights that add up to nothing, whose mean is undefined.

    Raises:
        ValueError: with the reason in words that fit after "tensor X: ".
    """
    if sum(weights) == 0:
        raise ValueError("the models' weights add up to zero, so their mean is undefined")


def dense_deltas(deltas: Sequence[Delta]) -> list[Float[Tensor, "*shape"]]:
    """Task vectors as plain tensors: what is low-rank is formed, in the others' dtype."""
    dtype = next((delta.dtype for delta in deltas if isinstance(delta, Tensor)), torch.float32)
    return [delta.dense(dtype) if isinstance(delta, LowRank) else delta for delta in deltas]


def weighed(delta: Delta, weight: float) -> Delta:
    """A task vector times its model's weight; untouched where the weight is one."""
    if weight == 1.0:
        return delta
    return delta.scaled(weight) if isinstance(delta, LowRank) else delta * weight
