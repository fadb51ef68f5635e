"""Own blocks: each task's update, reduced to its own block in the tasks' shared orthogonal basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mergeometry.deferred import torch
from mergeometry.linalg.subspace import shared_subspace
from mergeometry.methods.base import Directional, Rank, parameters
from mergeometry.values import Directions, LowRank


@parameters
class OwnBlocks(Directional):
    """Keep only what each task does between its own directions of a basis that all tasks share.

    Law: ``tau = sum_t P_t P_t^T U_t diag(S_t) V_t^T Q_t Q_t^T``, with ``P_t``, ``Q_t`` task t's columns of the shared
    subspace ``polar([U_1 | ... | U_T])``, ``polar([V_1 | ... | V_T])``. The further the shared subspace bends
    a direction away from its task, the less it counts: `tsv_m` keeps all of ``S_t``, while here what tasks compete
    for is damped on both sides, so that the sum needs no scale. Orthogonal tasks lose nothing; N equal ones keep 1/N.

    Tables of embeddings merge by `rows` unless the recipe says otherwise.
    """

    source: ClassVar[str] = "ours, after the blocks of DC-Merge (arXiv 2603.06242); docs/own-blocks.md"
    turns: ClassVar[bool] = True
    others: ClassVar[str] = "rows"

    rank: Rank = "auto"

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Change each task to the coordinates of its own columns, and go back."""
        shared = shared_subspace(directions)
        blocks, first = [], 0
        for task in directions:
            columns = slice(first, first + task.count)
            left, right = shared.left[:, columns], shared.right[:, columns]
            blocks.append((left.mT @ task.left * task.values) @ (task.right.mT @ right))
            first += task.count
        return LowRank(shared.left, torch.block_diag(*blocks), shared.right, shared.orthonormal)
