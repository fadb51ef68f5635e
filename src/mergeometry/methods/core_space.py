"""Core Space: adapters merged as the small matrices that they are in the bases of their stacked factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.election import elected_mean
from mergeometry.linalg.selection import share_of
from mergeometry.linalg.span import common_left
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.linalg.svd import RANK_TOLERANCE, thin_svd, top_directions
from mergeometry.linalg.whitening import isotropic
from mergeometry.methods.base import Sizes, Spectral, Work, parameters
from mergeometry.values import Delta, LowRank

_TIED = 1e-9
"""Relative difference under which computed coordinates count as tied at the threshold of a selection."""


@parameters
class CoreSpace(Spectral):
    """Change adapters to the bases that their factors span together, merge there, and go back: nothing is lost.

    Law: ``[B_1 | ... | B_T] = U D P^T``, ``[A_1^T | ... | A_T^T] = V E Q^T``, ``M_t = U^T tau_t V``,
    ``tau = U combine_t(M_t) V^T``. ``ties`` and ``tsv_m`` merge the ``M_t`` as these methods merge matrices; ``sum``
    adds them, which is `task_arithmetic`, the control. ``isotropic`` then gives the result one singular value, the
    mean of its own, as `iso_c` does. Where any model is not an adapter, task vectors take the place of factors.
    """

    source: ClassVar[str] = "Panariello et al. 2025, Core Space merging, NeurIPS 2025, arXiv 2509.17786, section 4"

    combine: Annotated[Literal["ties", "tsv_m", "sum"], Field(description="how the core matrices are merged")] = "tsv_m"
    density: Annotated[
        float, Field(gt=0, le=1, description="share of each core matrix's entries that is kept, for ties")
    ] = 0.1
    isotropic: Annotated[bool, Field(description="whether the merge gets one singular value for all directions")] = True

    @property
    def equal_models(self) -> Literal["same", "sum"] | None:
        """With `tsv_m`, the directions that each task keeps are fewer the more tasks there are."""
        return {"ties": "same", "sum": "sum"}.get(self.combine)  # pyright: ignore[reportReturnType]

    @property
    def adapters_as_dense(self) -> bool:
        """Only where turning the bases changes nothing: factors and their products span them in different order."""
        return self.combine != "ties"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The core matrices of all tasks, and the directions of both sides for full models."""
        (m, n), tasks = sizes.shape, sizes.tasks
        if sizes.dense:
            return Work(3.0 * tasks * m * n * (m + n) + 9.0 * (m**3 + n**3), 8 * (2 * tasks + 4) * m * n)
        total = min(m, n, sum(rank or 0 for rank in sizes.ranks))
        return Work(20.0 * total**2 * (m + n + total), 8 * tasks * total**2 + 24 * total * (m + n))

    def merge(self, deltas: Sequence[Delta]) -> Delta:
        """Change to the common bases, combine, and go back."""
        left, right = _bases(deltas)
        if 0 in (left.shape[1], right.shape[1]):
            return LowRank.zero(left.shape[0], right.shape[0], left.device)
        merged = self._combined([_core(left, delta, right) for delta in deltas])
        return LowRank(left, merged, right, orthonormal=True)

    def _combined(self, cores: list[Float[Tensor, "p q"]]) -> Float[Tensor, "p q"]:
        if self.combine == "ties":
            kept = share_of(cores[0].numel(), self.density)
            merged = elected_mean(cores, kept, [1.0] * len(cores), rounding=_TIED)
        elif self.combine == "sum":
            merged = torch.stack(cores).sum(dim=0)
        else:
            count = max(1, min(cores[0].shape) // len(cores))
            shared = shared_subspace([top_directions(core, count) for core in cores])
            merged = (shared.left * shared.values) @ shared.right.mT
        flat = isotropic(merged) if self.isotropic else merged
        assert isinstance(flat, Tensor)
        return flat


def _bases(deltas: Sequence[Delta]) -> tuple[Float[Tensor, "m p"], Float[Tensor, "n q"]]:
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) == len(deltas):
        return _spanned([delta.left for delta in thin]), _spanned([delta.right for delta in thin])
    flipped = [delta.transposed() if isinstance(delta, LowRank) else delta.mT for delta in deltas]
    return common_left(deltas), common_left(flipped)


def _spanned(factors: Sequence[Float[Tensor, "m _"]]) -> Float[Tensor, "m r"]:
    """Left singular vectors of factors side by side, strongest first and zero ones left out."""
    vectors, values, _ = thin_svd(torch.cat(list(factors), dim=1))
    return vectors[:, values > RANK_TOLERANCE * values[:1]]


def _core(left: Float[Tensor, "m p"], delta: Delta, right: Float[Tensor, "n q"]) -> Float[Tensor, "p q"]:
    if isinstance(delta, LowRank):
        return (left.mT @ delta.left.double() @ delta.core.double()) @ (delta.right.double().mT @ right)
    return left.mT @ delta.double() @ right
