"""Merges on a sphere, around the base or around zero."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.families.accumulator import Accumulator, Held
from mergeometry.methods.families.joint import Joint
from mergeometry.methods.families.weights import dense_deltas
from mergeometry.values import Delta

Origin = Annotated[
    Literal["base", "zero"], Field(description="measure from the base, or from zero: merge the weights themselves")
]
"""The centre of the sphere."""


class Spherical(Joint):
    """A joint merge by angles: between task vectors, or between the models' weights where ``origin`` is zero."""

    origin: Origin

    def __post_init__(self) -> None:
        """Measured from zero, it is the models' weights that have an angle."""
        object.__setattr__(self, "needs_base", self.origin == "zero")

    @property
    def homogeneous(self) -> bool:
        """Weights are not multiples of task vectors."""
        return self.origin == "base"

    @property
    def stays_low_rank(self) -> bool:
        """Weights have full rank."""
        return self.origin == "base"

    @abstractmethod
    def merge_weights(
        self, base: Float[Tensor, "*shape"], deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]
    ) -> Float[Tensor, "*shape"]:
        """Merge the models ``base + delta``, and return the step from the base to the merged one."""

    def begin(self, weights: Sequence[float], base: Float[Tensor, "*shape"] | None = None) -> Accumulator[Delta]:
        """Hold all task vectors.

        Raises:
            ValueError: the base's weights are needed and not given.
        """
        if self.origin == "base":
            return super().begin(weights)
        if base is None:
            raise ValueError(f"{type(self).__name__} needs the base's weights: call method(deltas, base=weights)")

        def merge(deltas: list[Delta]) -> Delta:
            dense = dense_deltas([*deltas, base])[:-1]
            return self.merge_weights(base.to(dense[0].dtype), dense, weights)

        return Held(merge)
