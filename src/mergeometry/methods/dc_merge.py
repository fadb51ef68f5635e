"""DC-Merge: energy smoothing, a shared orthogonal subspace, masked aggregation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.election import elected_mean
from mergeometry.linalg.polar import stretch
from mergeometry.linalg.selection import share_of
from mergeometry.linalg.subspace import shared_subspace, stack
from mergeometry.methods.base import Directional, Rank, parameters
from mergeometry.products import product
from mergeometry.values import Directions, LowRank


@parameters
class DCMerge(Directional):
    """Smooth each task's spectrum, then merge the tasks' coordinates inside their shared subspace.

    Law: ``tau = U M V^T`` with ``U``, ``V`` the shared subspace, ``M = combine_t M_t`` and
    ``M_t = U^T U_t diag(smooth(S_t)) V_t^T V``; ``block_mask`` keeps only the tasks' diagonal blocks of ``M``.

    Adapters and full models differ as they do in the authors' code: ``smoothing: auto`` evens out the singular values
    of adapters alone, and ``keep`` is a share of the ``r * r`` coordinates for adapters, of ``min(m, n)^2`` for full
    models. A matrix that adapters and full models change together counts as that of full models.
    """

    source: ClassVar[str] = "DC-Merge, CVPR 2026, arXiv 2603.06242"
    turns: ClassVar[bool] = True

    rank: Rank = "auto"
    smoothing: Annotated[
        Literal["auto", "none", "average", "linear"],
        Field(description="how a task's singular values are evened out; auto: average for adapters, none for others"),
    ] = "auto"
    rho: Annotated[float, Field(ge=1, description="largest ratio of first to last singular value, for linear")] = 5.0
    keep: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of entries each task keeps, for ties: of the r*r coordinates of adapters, and of "
            "min(m, n)^2 for full models",
        ),
    ] = 1e-3
    combine: Annotated[Literal["ties", "sum", "mean"], Field(description="how the tasks' coordinates are merged")] = (
        "ties"
    )
    block_mask: Annotated[bool, Field(description="keep only each task's own diagonal block")] = True

    @property
    def equal_models(self) -> Literal["same", "sum"] | None:
        """Equal tasks fill the T x T blocks of coordinates evenly, and the mask keeps T of them."""
        if self.combine == "sum":
            return "same" if self.block_mask else "sum"
        whole = self.combine == "mean" or self.keep == 1
        return "same" if whole and not self.block_mask else None

    @property
    def adapters_as_dense(self) -> bool:
        """Only where nothing depends on the form that a task vector has in its file."""
        return self.smoothing != "auto" and (self.combine != "ties" or self.keep == 1)

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Smooth, change to the shared coordinates, combine, mask, and go back."""
        adapters = all(task.of_adapter for task in directions if task.count)
        smoothed = [replace(task, values=self.smooth(task.values, adapters)) for task in directions]
        shared = shared_subspace(directions)  # which does not depend on their values
        if shared.rank == 0:
            return LowRank(shared.left, torch.diag(shared.values), shared.right)
        stacked, counts = stack(smoothed), list(shared.counts)
        stretched = stretch(shared.left, stacked.left), stretch(shared.right, stacked.right)
        # Both are symmetric, and a task's rows lie together in memory, its columns do not.
        lefts, rights = (stretched[0] * stacked.values[:, None]).split(counts), stretched[1].split(counts)
        coordinates = [product(one.mT, other) for one, other in zip(lefts, rights, strict=True)]
        # The authors' code lays full models' coordinates out in a square as wide as the matrix, with zeros around them.
        side = 0 if adapters else min(shared.left.shape[0], shared.right.shape[0])
        merged = self.aggregate(coordinates, max(shared.rank, side) ** 2)
        if self.block_mask:
            merged = merged * shared.same_task()
        return LowRank(shared.left, merged, shared.right, shared.orthonormal)

    def smooth(self, values: Float[Tensor, " k"], adapter: bool) -> Float[Tensor, " k"]:
        """Even out singular values, keeping their sum (section 4, energy smoothing)."""
        smoothing = self.smoothing
        if smoothing == "auto":
            smoothing = "average" if adapter else "none"
        if smoothing == "none" or len(values) == 0:
            return values
        if smoothing == "average":
            return values.mean().expand_as(values)
        steepest = min(self.rho, float(values[0] / values[-1]))
        shares = torch.linspace(steepest, 1, len(values), dtype=values.dtype, device=values.device)
        return values.sum() * shares / shares.sum()

    def aggregate(self, coordinates: list[Float[Tensor, "r r"]], size: int) -> Float[Tensor, "r r"]:
        """Merge the tasks' coordinates entry by entry; ``size`` is the number of entries that `keep` is a share of."""
        if self.combine == "ties":
            count, votes = share_of(size, self.keep), [1.0] * len(coordinates)
            # An evened-out spectrum makes coordinates equal but for their rounding, which must not choose among them.
            return elected_mean(coordinates, count, votes, rounding=1e-9)
        total = torch.stack(coordinates).sum(dim=0)
        return total / len(coordinates) if self.combine == "mean" else total
