"""AdaMerging: task vectors whose coefficients are learned from the entropy of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.linalg.election import elected_parts
from mergeometry.linalg.selection import share_of
from mergeometry.methods.base import Joint, dense_deltas, parameters, weighed
from mergeometry.values import Delta, sum_of


@parameters
class AdaMerging(Joint):
    """Add the task vectors, each times a coefficient that an `adapt:` section learns on unlabelled data.

    Law: ``tau = sum_t lambda_t w_t tau_t``, one coefficient per task, or per task and layer. With ``density`` it is
    AdaMerging++: ``tau_t`` is trimmed to its largest entries, and those without the elected sign are zero.
    """

    source: ClassVar[str] = "Yang et al. 2024, AdaMerging, arXiv 2310.02575, section 3.2"
    has_parts: ClassVar[bool] = True
    needs_learning: ClassVar[bool] = True

    density: Annotated[
        float | None, Field(gt=0, le=1, description="share of entries kept in each task vector (AdaMerging++); or all")
    ] = None

    @property
    def equal_models(self) -> Literal["sum"]:
        """Equal task vectors agree everywhere, and are added."""
        return "sum"

    @property
    def stays_low_rank(self) -> bool:
        """A sum stays low-rank; trimmed entries do not."""
        return self.density is None

    def check(self, tasks: int, shape: Sequence[int], weights: Sequence[float]) -> None:
        """Refuse weights that elect no sign."""
        super().check(tasks, shape, weights)
        if self.density is not None and (min(weights) < 0 or max(weights) == 0):
            raise ValueError("AdaMerging++ elects by weighted vote: weights must not be negative, nor all zero")

    def merge(self, deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
        """Add the parts, all with the coefficient that learning starts from."""
        return sum_of(self.parts(deltas, weights))

    def parts(self, deltas: Sequence[Delta], weights: Sequence[float]) -> list[Delta]:
        """Each task vector times its model's weight; with a density, only its elected entries."""
        if self.density is None:
            return [weighed(delta, weight) for delta, weight in zip(deltas, weights, strict=True)]
        dense = dense_deltas(deltas)
        if dense[0].numel() == 0:
            return list(dense)
        elected = elected_parts(dense, share_of(dense[0].numel(), self.density), weights)
        return [weighed(part, weight) for part, weight in zip(elected, weights, strict=True)]
