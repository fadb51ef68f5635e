"""TSV-Merge: task singular vectors, whitened against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from mergeometry.deferred import torch
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.methods.base import Directional, Rank, parameters
from mergeometry.values import Directions, LowRank


@parameters
class TSVM(Directional):
    """Put the tasks' leading directions side by side and decorrelate them.

    Law: ``tau = U diag(S_1, ..., S_T) V^T`` with ``U = polar([U_1 | ... | U_T])``, ``V`` likewise.
    """

    source: ClassVar[str] = "Gargiulo et al. 2025, Task singular vectors, arXiv 2412.00081"
    turns: ClassVar[bool] = True

    rank: Rank = "auto"

    @property
    def equal_models(self) -> Literal["same"]:
        """Each of N equal directions is shrunk to 1/sqrt(N) on both sides, and there are N of them."""
        return "same"

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Whiten the stacked directions and put the singular values between them."""
        shared = shared_subspace(directions)
        return LowRank(shared.left, torch.diag(shared.values), shared.right, shared.orthonormal)
