"""Nearswap: take another model's entries where they are near the base's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from mergeometry.deferred import Float, Tensor
from mergeometry.methods.base import Elementwise, Pieces, parameters


@parameters
class Nearswap(Elementwise):
    """Move each entry of the base towards one other model's, but by no more than ``t``.

    Law: ``tau = min(1, t / |w tau_1|) w tau_1``, entry by entry, which is ``w tau_1`` clamped to -t and t: entries that
    differ by less are swapped, the others move by ``t``.
    """

    source: ClassVar[str] = (
        "alchemonaut 2024, https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001; in MergeKit, arXiv 2403.13257"
    )

    t: Annotated[float, Field(ge=0, description="how far an entry may move")] = 1e-4

    @property
    def homogeneous(self) -> bool:
        """The bound is an absolute one."""
        return False

    @property
    def pieces(self) -> Pieces:
        """Each entry depends on no other."""
        return "entries"

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse any number of models but one."""
        super().check(tasks, shape, weights)
        if tasks != 1:
            raise ValueError(f"nearswap moves the base towards one model, got {tasks}")

    def merge(self, deltas: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]) -> Float[Tensor, "*shape"]:
        """Weigh and clamp."""
        return (deltas[0] * weights[0]).clamp_(-self.t, self.t)
