"""Merges of the models' weights themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.cost import Sizes, Work
from mergeometry.methods.families.method import Method
from mergeometry.methods.families.weights import dense_deltas
from mergeometry.values import Delta


class Weightwise(Method):
    """A merge that depends on the models' weights themselves, not only on their task vectors; any shape."""

    family: ClassVar[str] = "weightwise"
    scale_rule: ClassVar[str] = "projection"
    needs_base: ClassVar[bool] = True

    @property
    def stays_low_rank(self) -> bool:
        """The base's weights have full rank."""
        return False

    @property
    def homogeneous(self) -> bool:
        """Scaled task vectors belong to other models, whose merge lies elsewhere."""
        return False

    @abstractmethod
    def merge(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]]
    ) -> Float[Tensor, "*shape"]:
        """Merge the models ``base + delta``, and return the step from the base to the merged one.

        The deltas are task vectors times their models' weights. Inputs are left unchanged.
        """

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Hold all task vectors.

        Raises:
            ValueError: the base's weights are not given.
        """
        if base is None:
            raise ValueError(f"{type(self).__name__} needs the base's weights: call method(deltas, base=weights)")

        def merge(deltas: list[Delta]) -> Delta:
            # Where all are low-rank, they are multiplied out in the base's dtype.
            dense = dense_deltas([*deltas, base])[:-1]
            pairs = zip(dense, weights, strict=True)
            weighted = [delta if weight == 1.0 else delta * weight for delta, weight in pairs]
            return self.merge(base.to(dense[0].dtype), weighted)

        return Held(merge)

    def cost(self, sizes: Sizes) -> Work:
        """Each model's weights, its task vector before and after weighting, and the merge."""
        return super().cost(sizes) + Work(0.0, (sizes.tasks + 1) * sizes.piece)
