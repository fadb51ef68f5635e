"""Pico: output directions that many adapters share count less before the merge, and its norm is restored after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from mergeometry.deferred import Float, Tensor
from mergeometry.linalg.crowding import Crowding
from mergeometry.methods.base import parameters
from mergeometry.refinements.base import Refinement
from mergeometry.refinements.norm import Norm
from mergeometry.values import Delta, LowRank


@parameters
class Pico(Refinement):
    """Weaken the output directions that the tasks' B matrices crowd, merge, and give the merge its tasks' mean norm.

    Law: ``[B_1 | ... | B_T] = U diag(s) P^T``, ``c_i = s_i^2 / sum_j s_j^2``, ``alpha_i = 1 / (1 + (T - 1) c_i)``; the
    method gets ``tau_t' = (I + U diag(alpha - 1) U^T) tau_t`` in place of ``tau_t = B_t A_t``, and its merge ``tau``
    becomes ``(mean_t ||tau_t|| / ||tau||) tau``. ``T`` counts the tasks that changed the matrix. Where any is not
    an adapter, task vectors take the place of the B.
    """

    source: ClassVar[str] = (
        "Tang and Yang 2026, Crowded in B-space, arXiv 2604.16826; of the paper itself only the abstract was found, "
        "the formulas are those of the authors' code, github.com/yixuantt/Pico"
    )
    calibrates: ClassVar[bool] = True

    def calibration(self, deltas: Sequence[Delta]) -> Callable[[Delta], Delta] | None:
        """Find the directions that the B matrices share, and weaken each by how much of them it holds."""
        crowding = Crowding()
        for delta in deltas:
            crowding.take(delta)
        if crowding.tasks < 2:
            return None
        directions, shares = crowding.result()
        gains = 1 / (1 + (crowding.tasks - 1) * shares) - 1

        def weakened(delta: Delta) -> Delta:
            if isinstance(delta, LowRank):
                return LowRank(_changed(delta.left, directions, gains), delta.core, delta.right)
            return _changed(delta, directions, gains)

        return weakened

    def apply(self, merged: Delta, deltas: Sequence[Delta]) -> Delta:
        """Restore the norm that calibrating and merging took."""
        return Norm().apply(merged, deltas)

    def cost(self, shape: Sequence[int], tasks: int, rank: int | None = None) -> tuple[float, int]:
        """A decomposition of the B matrices side by side, or of the products of full task vectors."""
        (m, n), (flops, memory) = shape, super().cost(shape, tasks, rank)
        if rank is not None and rank < m:
            return 30.0 * m * rank**2 + 8.0 * (m + n) * rank * tasks, 8 * (3 * m * rank + 4 * rank**2 + n * rank)
        return flops + 4.0 * tasks * m * m * n + 9.0 * m**3, memory + 8 * (4 * m * m + 3 * m * n)


def _changed(
    columns: Float[Tensor, "m k"], directions: Float[Tensor, "m r"], gains: Float[Tensor, " r"]
) -> Float[Tensor, "m k"]:
    exact = columns.double()
    return (exact + directions @ (gains[:, None] * (directions.mT @ exact))).to(columns.dtype)
