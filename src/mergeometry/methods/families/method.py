"""What a merge method is: a frozen dataclass of its parameters, with a law in its docstring."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.families.accumulator import Accumulator, Held, accumulate
from mergeometry.methods.families.cost import PIECE_ELEMENTS, Sizes, Work, entrywise
from mergeometry.methods.families.piecewise import Alone, Piecewise
from mergeometry.registration import Registered
from mergeometry.values import Delta

Pieces: TypeAlias = Literal["entries", "rows", "passes", "tensor"]
"""The pieces of a tensor that a method merges: entries or rows, each independent of all others, pieces whose merge
depends on passes over the whole tensor before, or only the tensor as a whole."""

Kind = TypeVar("Kind")
Same = TypeVar("Same")


@dataclass_transform(frozen_default=True)
def parameters(kind: type[Kind]) -> type[Kind]:
    """Make a class a frozen dataclass whose fields are validated when it is built, as every method is."""
    checked = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=False, allow_inf_nan=False))
    return cast(type[Kind], checked(kind))


class Method(Registered, ABC):
    """A way to merge the task vectors of one tensor; ``source`` names the paper.

    A family's `begin` decides what it keeps of each task vector, and its `cost` estimates what that takes. The caller
    (the engine, a comparison or learning) passes the task vectors one at a time and asks for the result.
    """

    family: ClassVar[str] = "method"
    """The family's name in `mergeometry methods`."""
    group: ClassVar[str] = "mergeometry.methods"
    source: ClassVar[str]
    order_invariant: ClassVar[bool] = True
    """Whether the result is the same for any order of the models (up to rounding)."""
    has_parts: ClassVar[bool] = False
    """Whether `parts` can give what each task adds, which learning coefficients requires."""
    others: ClassVar[str] = "average"
    """The method for tensors that are not matrices, where the recipe names none."""
    scale_rule: ClassVar[str] = "norm_mean"
    """The rule that ``scale: auto`` stands for with this method: of those without labels, the one that lost least."""
    weights_are_shares: ClassVar[bool] = False
    """Whether it is a weighted mean: weights are shares of it, so that their ratios matter and not their size.

    Where a parameter decides, the class has what its default gives, and `__post_init__` sets it on each instance.
    """
    matrices_only: ClassVar[bool] = False
    """Whether it merges the 2-D weights of linear maps only."""
    streams: ClassVar[bool] = False
    """Whether each task vector is released once taken, so that only one at a time is in memory."""
    needs_base: ClassVar[bool] = False
    """Whether the merge depends on the base's own weights, which `begin` then receives."""
    uses_base: ClassVar[bool] = False
    """Whether it asks for the base's own weights where a model holds the tensor itself, and can do without them."""
    per_model: ClassVar[tuple[str, ...]] = ()
    """Parameters that a recipe may give each model for itself, which `each` then finds."""
    needs_learning: ClassVar[bool] = False
    """Whether the method requires an `adapt:` section."""
    merges_by: ClassVar[str] = ""
    """What the method requires a `data:` section for, in words: the models are run on its inputs; else empty."""

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse what this method cannot do, from shapes alone, before any weight is read.

        Where weights are shares, they must not add up to zero.

        Raises:
            ValueError: the method cannot merge these; the message fits after "tensor X: ".
        """
        if self.weights_are_shares and sum(weights) == 0:
            raise ValueError("the models' weights add up to zero, so their mean is undefined")

    @property
    def equal_models(self) -> Literal["same", "sum", "zero"] | None:
        """What N equal task vectors merge to at a given rank.

        The merge of one of them (``same``), N times that (``sum``), ``zero``, or None where no law states it.
        """
        return None

    @property
    def copies(self) -> bool:
        """Whether the merge of one model is that model, bit by bit, so that its tensors can be copied."""
        return False

    @property
    def homogeneous(self) -> bool:
        """Whether multiplying all task vectors by a number multiplies their merge by it."""
        return True

    @property
    def adapters_as_dense(self) -> bool:
        """Whether adapters merge as the matrices that they stand for do, at the same rank."""
        return True

    @property
    def stays_low_rank(self) -> bool:
        """Whether low-rank task vectors merge to a low-rank one, which an adapter can hold."""
        return True

    @property
    def pieces(self) -> Pieces:
        """The pieces that it merges, so that the engine can pass a few at a time.

        ``rows`` applies to matrices; a tensor of another shape is then merged whole. ``passes`` applies to tensors
        whose rows lie as the file has them.
        """
        return "tensor"

    @abstractmethod
    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Start the merge of one tensor: the accumulator takes the task vectors and returns the merged one.

        ``weights`` are the models'; ``base`` is the weights that the task vectors start from, needed by `needs_base`.
        """

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """Start the merge of one tensor of this shape a piece at a time, where `pieces` is not the whole tensor.

        A method of ``passes`` has a `Piecewise` of its own.
        """
        width = shape[1] if self.pieces == "rows" else 0
        rows = max(1, PIECE_ELEMENTS // width) if width else PIECE_ELEMENTS
        return Alone(lambda base: self.begin(weights, base if self.needs_base else None), width, rows * max(1, width))

    def begin_parts(
        self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None
    ) -> Accumulator[list[Delta]]:
        """The same for what each task adds to the merge."""
        return Held(lambda deltas: self.parts(deltas, weights))

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """What each task adds to the merge: the parts sum to it.

        Raises:
            ValueError: the method mixes tasks so that no part of its result belongs to one task.
        """
        raise ValueError(f"{type(self).__name__} has no part for each task, so there are no coefficients to learn")

    def part_ranks(self, sizes: Sizes) -> list[int] | None:
        """The rank of each task's part, from sizes alone; None where parts are dense."""
        ranks = [rank for rank in sizes.ranks if rank is not None]
        return ranks if len(ranks) == sizes.tasks and self.stays_low_rank else None

    def cost(self, sizes: Sizes) -> Work:
        """Operations, and bytes in addition to the base: the family's cost plus `extra_cost`."""
        return entrywise(sizes) + self.extra_cost(sizes)

    def extra_cost(self, sizes: Sizes) -> Work:
        """What this method takes beyond what its family counts."""
        return Work(0.0, 0)

    def for_models(self: Same, each: Sequence[Same]) -> Same:
        """The method with one method of its kind per model, which holds that model's own parameters."""
        bound = copy.copy(self)
        # Not a field: the method of a recipe has one number for all models.
        object.__setattr__(bound, "_each", tuple(each))
        return bound

    @property
    def varies(self) -> bool:
        """Whether models have parameters of their own."""
        return bool(getattr(self, "_each", ()))

    def each(self: Same, count: int) -> Sequence[Same]:
        """The method as each of ``count`` models has it: itself, or with the parameters of that model."""
        return getattr(self, "_each", None) or [self] * count

    def for_tensor(self, seed: int, tensor: str, tasks: Sequence[str]) -> Method:
        """The method for one tensor of a recipe: methods that draw random numbers get their streams here.

        ``seed`` is the recipe's, ``tensor`` the name in the base, ``tasks`` the models' names.
        """
        return self

    def __call__(
        self,
        deltas: Sequence[Delta],
        weights: Sequence[float] | None = None,
        *,
        base: Float[Tensor, "*shape"] | None = None,
    ) -> Delta:
        """Merge task vectors of one shape: the result is low-rank only where every input is.

        ``base`` is the weights that the task vectors start from; only methods with `needs_base` read it.

        Raises:
            ValueError: there are no task vectors, shapes differ, the number of weights is wrong, or `check` refuses.
        """
        if not deltas or any(tuple(delta.shape) != tuple(deltas[0].shape) for delta in deltas):
            raise ValueError(f"expected task vectors of one shape, got {[tuple(delta.shape) for delta in deltas]}")
        weights = [1.0] * len(deltas) if weights is None else list(weights)
        if len(weights) != len(deltas):
            raise ValueError(f"expected a weight for each of {len(deltas)} task vectors, got {len(weights)}")
        if base is not None and tuple(base.shape) != tuple(deltas[0].shape):
            raise ValueError(
                f"expected the base's weights in the shape {tuple(deltas[0].shape)}, got {tuple(base.shape)}"
            )
        self.check(len(deltas), tuple(deltas[0].shape), weights)
        merged = accumulate(self.begin(weights, base), len(deltas), deltas.__getitem__)
        plain = next((delta for delta in deltas if isinstance(delta, Tensor)), None)
        if plain is None or isinstance(merged, Tensor):
            return merged
        return merged.dense(plain.dtype)
