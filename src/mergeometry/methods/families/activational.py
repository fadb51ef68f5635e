"""Methods that merge by activations: a layer's inputs, as each task's own model sees them on unlabelled data."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TypeVar

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.cost import ALGEBRA_BYTES, ALLOCATOR, Sizes, Work
from mergeometry.methods.families.matrixwise import Matrixwise
from mergeometry.recipe.data import ACTIVATIONS
from mergeometry.values import Delta

Kind = TypeVar("Kind", bound="Activational")


class Activational(Matrixwise):
    """A merge of matrices by their layers' inputs, as each task's own model sees them on unlabelled data.

    A task's *moment* is the uncentred second moment of the layer's inputs, ``G_t = X_t^T X_t / rows`` of shape (n, n)
    with the inputs of the layer as the rows of X_t. For a recipe with a `data:` section they are collected and passed
    to `with_moments`; on plain tensors, call ``method.with_moments(moments)(deltas)``.
    """

    family: ClassVar[str] = "activational"
    merges_by: ClassVar[str] = ACTIVATIONS
    compares_layers: ClassVar[bool] = False
    """Whether a layer's merge depends on the norms of other layers' merges, which `for_layer` passes in."""

    follows_merge: ClassVar[bool] = False
    """Whether the inputs are those that reach a layer once the layers before it are merged."""

    def with_moments(self: Kind, moments: Sequence[Float[Tensor, "n n"]]) -> Kind:
        """The method with the moments of one layer's inputs, one per task; it reads one at a time."""
        return self._bound("_moments", moments)

    def for_layer(self: Kind, relative_norm: float) -> Kind:
        """The method for one layer, given the norm of its merge over the mean of the layers of its type."""
        return self._bound("_relative_norm", relative_norm)

    @property
    def relative_norm(self) -> float:
        """What `for_layer` was given; 1 for a layer by itself."""
        return getattr(self, "_relative_norm", 1.0)

    @abstractmethod
    def merge(
        self, deltas: Sequence[Delta], weights: Sequence[float], moments: Iterable[Float[Tensor, "n n"]]
    ) -> Delta:
        """Merge matrices by their inputs' moments, in float64, iterated over once; low-rank in, low-rank out."""

    @abstractmethod
    def extra_cost(self, sizes: Sizes) -> Work:
        """Operations, and bytes in addition to the task vectors themselves."""

    def cost(self, sizes: Sizes) -> Work:
        """Every dense task vector and the merge, in addition to the method's working memory."""
        extra = self.extra_cost(sizes)
        held = sizes.number * sizes.elements * (sizes.dense + 2)
        return Work(extra.flops, int(ALGEBRA_BYTES + held + ALLOCATOR * extra.memory))

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Hold the matrices, then merge them by the moments from `with_moments`."""
        return Held(lambda deltas: self._by_moments(deltas, weights))

    def _by_moments(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        moments: Sequence[Tensor] | None = getattr(self, "_moments", None)
        if moments is None:
            raise ValueError(
                f"{type(self).__name__} needs the second moment of each task's inputs of the layer: "
                "call method.with_moments([X.T @ X / len(X), ...])(deltas)"
            )
        if len(moments) != len(deltas):
            raise ValueError(f"expected a moment for each of {len(deltas)} task vectors, got {len(moments)}")
        return self.merge(deltas, weights, _checked(moments, deltas[0].shape[1], deltas[0].device))

    def _bound(self: Kind, name: str, value: object) -> Kind:
        bound = copy.copy(self)
        # Not a field: a recipe cannot set it, and the methods of two tensors still compare equal.
        object.__setattr__(bound, name, value)
        return bound


def _checked(
    moments: Sequence[Float[Tensor, "n n"]], inputs: int, device: torch.device
) -> Iterator[Float[Tensor, "n n"]]:
    for place in range(len(moments)):
        moment = moments[place]
        if tuple(moment.shape) != (inputs, inputs):
            raise ValueError(f"expected a moment of {inputs} x {inputs} inputs, got {list(moment.shape)}")
        yield moment.to(device).double()
