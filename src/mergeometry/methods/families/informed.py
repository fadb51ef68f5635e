"""Methods that weigh every entry of a tensor by each model's diagonal Fisher information of it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.families.accumulator import Accumulator
from mergeometry.methods.families.cost import Sizes, Work
from mergeometry.methods.families.method import Method, Pieces
from mergeometry.methods.families.piecewise import Piecewise, Scratch
from mergeometry.recipe.data import FISHER
from mergeometry.values import Delta, LowRank

Kind = TypeVar("Kind", bound="Informed")


class Information(ABC):
    """The diagonal Fisher information of one tensor, model by model, read when it is asked for."""

    @abstractmethod
    def __len__(self) -> int:
        """How many models there are."""

    @abstractmethod
    def norm(self, index: int) -> float:
        """The L2 norm of all that is known of a model, of which this tensor is a part."""

    @abstractmethod
    def whole(self, index: int) -> Float[Tensor, "*shape"]:
        """A model's entries in the shape of the task vectors."""

    @abstractmethod
    def piece(self, index: int, first: int, last: int) -> Float[Tensor, " count"]:
        """A model's entries from the first up to, not including, the last, as they lie in the file."""


class Informed(Method):
    """A weighted mean of task vectors, entry by entry, by each model's Fisher information; any shape, dense.

    A model's information ``F_t`` has the tensor's shape and no negative entry. For a recipe with a `data:` section it
    is read or estimated, and passed to `with_information`; on plain tensors, call ``method.with_fishers(fishers)``.
    """

    family: ClassVar[str] = "informed"
    scale_rule: ClassVar[str] = "projection"
    streams: ClassVar[bool] = True
    weights_are_shares: ClassVar[bool] = True
    merges_by: ClassVar[str] = FISHER

    @abstractmethod
    def importance(self, information: Float[Tensor, "*shape"], share: float, norm: float) -> Float[Tensor, "*shape"]:
        """Turn a model's information of some entries into their weights, in place.

        ``share`` is the model's share of all weights, ``norm`` the L2 norm of all its information.
        """

    def with_information(self: Kind, information: Information) -> Kind:
        """The method with the information of one tensor."""
        bound = copy.copy(self)
        # Not a field: a recipe cannot set it, and the methods of two tensors still compare equal.
        object.__setattr__(bound, "_information", information)
        return bound

    def with_fishers(
        self: Kind, fishers: Sequence[Float[Tensor, "*shape"]], norms: Sequence[float] | None = None
    ) -> Kind:
        """The method with one tensor's information, one tensor per model, and the norms of all that is known of each.

        Without ``norms``, this tensor is all.
        """
        return self.with_information(_InMemory(fishers, norms))

    @property
    def is_informed(self) -> bool:
        """Whether it has the information of a tensor."""
        return hasattr(self, "_information")

    @property
    def normalizes(self) -> bool:
        """Whether only the proportions of a model's information count, and not its size."""
        return False

    @property
    def stays_low_rank(self) -> bool:
        """Weighing entry by entry does not keep the rank."""
        return False

    @property
    def pieces(self) -> Pieces:
        """Each entry depends on no other."""
        return "entries"

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Add the task vectors and their weights, one after another.

        Raises:
            ValueError: there is no information, or not one per model.
        """
        return _Mean(self, self._checked(weights), _shares(weights))

    def piecewise(self, weights: Sequence[float], shape: Sequence[int]) -> Piecewise:
        """The same a piece at a time.

        Raises:
            ValueError: there is no information, or not one per model.
        """
        return _PieceMean(self, self._checked(weights), _shares(weights))

    def cost(self, sizes: Sizes) -> Work:
        """The sum, the sum of the weights, one task vector and its information."""
        return Work(6.0 * sizes.elements * sizes.tasks, 5 * sizes.piece) + self.extra_cost(sizes)

    def _checked(self, weights: Sequence[float]) -> Information:
        information: Information | None = getattr(self, "_information", None)
        if information is None:
            raise ValueError(
                f"{type(self).__name__} needs each model's diagonal Fisher information: "
                "call method.with_fishers([fisher, ...])(deltas)"
            )
        if len(information) != len(weights):
            raise ValueError(f"expected the information of {len(weights)} models, got {len(information)}")
        return information


class _InMemory(Information):
    """Information that the caller holds."""

    def __init__(self, fishers: Sequence[Float[Tensor, "*shape"]], norms: Sequence[float] | None) -> None:
        for place, fisher in enumerate(fishers):
            if not bool((fisher >= 0).all() & torch.isfinite(fisher).all()):
                raise ValueError(f"the Fisher information of model {place} is negative or not finite somewhere")
        self._fishers = fishers
        self._norms = [float(fisher.double().norm()) for fisher in fishers] if norms is None else norms

    def __len__(self) -> int:
        return len(self._fishers)

    def norm(self, index: int) -> float:
        return self._norms[index]

    def whole(self, index: int) -> Float[Tensor, "*shape"]:
        return self._fishers[index]

    def piece(self, index: int, first: int, last: int) -> Float[Tensor, " count"]:
        return self._fishers[index].reshape(-1)[first:last]


class _Mean(Accumulator[Delta]):
    """Adds each task vector times its weights as it is taken."""

    def __init__(self, method: Informed, information: Information, shares: Sequence[float]) -> None:
        self._method, self._information, self._shares = method, information, shares
        self._total: Tensor | None = None
        self._weights: Tensor | None = None
        self._dtype = torch.float32

    def take(self, index: int, delta: Delta) -> None:
        """Weigh its entries and add it."""
        if isinstance(delta, LowRank):
            dense = delta.dense(torch.float32)
        else:
            dense, self._dtype = delta, delta.dtype
        fisher = self._information.whole(index)
        if tuple(fisher.shape) != tuple(dense.shape):
            raise ValueError(f"expected information of shape {list(dense.shape)}, got {list(fisher.shape)}")
        weight = _weighed(self._method, self._information, index, self._shares[index], fisher, dense)
        if self._total is None or self._weights is None:
            self._weights, self._total = weight, weight * dense
        else:
            self._weights.add_(weight)
            self._total.addcmul_(weight, dense.to(weight.dtype))

    def result(self) -> Delta:
        """The sum over the sum of the weights."""
        assert self._total is not None and self._weights is not None
        return self._total.div_(self._weights).to(self._dtype)


class _PieceMean(Piecewise):
    """The same for pieces, which come from the first entries to the last."""

    def __init__(self, method: Informed, information: Information, shares: Sequence[float]) -> None:
        self._method, self._information, self._shares = method, information, shares
        self._first = 0
        self._total, self._weights = Scratch(), Scratch()

    def merge(
        self, deltas: Sequence[Float[Tensor, " count"]], base: Float[Tensor, " count"] | None
    ) -> Float[Tensor, " count"]:
        """Weigh and add the pieces."""
        first = self._first
        self._first = last = first + deltas[0].numel()
        total, weights = self._total.like(deltas[0]).zero_(), self._weights.like(deltas[0]).zero_()
        for index, delta in enumerate(deltas):
            fisher = self._information.piece(index, first, last)
            weight = _weighed(self._method, self._information, index, self._shares[index], fisher, delta)
            weights.add_(weight)
            total.addcmul_(weight, delta)
        return total.div_(weights)


def _weighed(
    method: Informed, information: Information, index: int, share: float, fisher: Tensor, delta: Tensor
) -> Tensor:
    """One model's weights, in memory of their own beside the task vector, in float32 at least."""
    number = torch.promote_types(delta.dtype, torch.float32)
    copied = fisher.to(delta.device, number, copy=True)
    return method.importance(copied, share, information.norm(index))


def _shares(weights: Sequence[float]) -> list[float]:
    """Each model's share of the weights: their size does not matter, and must not underflow."""
    return [weight / sum(weights) for weight in weights]
