"""CT-Merging: directions that tasks have in common, those of each beside them, and one strength for each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.linalg.polar import polar
from mergeometry.linalg.subspace import principal_directions, stack
from mergeometry.linalg.svd import RANK_TOLERANCE, thin_svd, top_directions
from mergeometry.methods.base import Directional, Rank, Sizes, Work, parameters
from mergeometry.values import Delta, Directions, LowRank


@parameters
class CTMerging(Directional):
    """Take directions that many tasks use once, keep what each task has beside them, and even out each task's strength.

    Law: ``U_c`` the leading ``common`` eigenvectors of ``sum_t U_t U_t^T``, ``mean_t U_c^T tau_t = P diag(D) Q^T`` over
    the tasks that changed the matrix, ``E_t = (I - U_c U_c^T) U_t``, and
    ``tau = polar([U_c P | E_1 | ... | E_T]) diag(a_c, a_1, ..., a_T) polar([Q | V_1 | ... | V_T])^T``, where ``a_c``
    is the root mean square of ``D`` for every common direction, ``a_t`` that of ``S_t`` for every one of task t.
    """

    source: ClassVar[str] = (
        "Ryum and Kang 2026, CT-Merging, arXiv 2607.20561, Algorithm 1; of the paper itself only the abstract was found"
    )
    has_parts: ClassVar[bool] = False
    turns: ClassVar[bool] = True

    common: Annotated[int, Field(ge=0, description="directions of the common part")] = 4
    rank: Rank = "auto"

    @property
    def equal_models(self) -> Literal["same"]:
        """Common responses are averaged, and the N copies of a direction of one's own share one polar factor."""
        return "same"

    def extra_cost(self, sizes: Sizes) -> Work:
        """The common directions, and both sides a second time, since there are more columns than dimensions."""
        (m, n), total = sizes.shape, sum(self.part_ranks(sizes))
        return Work(12.0 * (m + n) * total**2, 40 * (m + n) * total)

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Find the common directions, take them out of every task, and put all side by side."""
        tasks = [task for task in directions if task.count]
        stacked = stack(directions)
        if not tasks:
            return LowRank(stacked.left, torch.diag(stacked.values), stacked.right)
        shared = principal_directions(stack(tasks))[:, : self.common]
        parts = [_common(shared, tasks), *(_beside(shared, task) for task in tasks)]
        left, _ = polar(torch.cat([part.left for part in parts], dim=1))
        right, _ = polar(torch.cat([part.right for part in parts], dim=1))
        strengths = torch.cat([_evened(part.values) for part in parts])
        # The common directions lie in the span of the tasks' own, so there are more columns than dimensions.
        merged = top_directions(LowRank(left, torch.diag(strengths), right), stacked.count)
        return LowRank(merged.left, torch.diag(merged.values), merged.right, orthonormal=True)

    def _parts(self, directions: Sequence[Directions]) -> list[Delta]:
        raise ValueError("CTMerging has no part for each task to learn: tasks have directions in common")


def _common(shared: Float[Tensor, "m c"], tasks: Sequence[Directions]) -> Directions:
    """The singular triplets of what all tasks answer along the shared directions, on average."""
    answers = [(shared.mT @ task.left * task.values) @ task.right.mT for task in tasks]
    turn, values, right = thin_svd(torch.stack(answers).mean(dim=0))
    kept = values > RANK_TOLERANCE * max(float(task.values[0]) for task in tasks)
    return Directions(shared @ turn[:, kept], values[kept], right[:, kept])


def _beside(shared: Float[Tensor, "m c"], task: Directions) -> Directions:
    """A task's triplets without what is shared; a direction of which nothing is left goes on both sides."""
    left = task.left - shared @ (shared.mT @ task.left)
    kept = left.norm(dim=0) > RANK_TOLERANCE
    strength = task.values.square().mean().sqrt()
    return Directions(left[:, kept], strength.expand(int(kept.sum())), task.right[:, kept])


def _evened(values: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    return values.square().mean().sqrt().expand(len(values))
