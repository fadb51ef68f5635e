"""Own blocks: of each task's update, its own block in the tasks' shared orthogonal basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from mergeometry.linalg.subspace import shared_subspace
from mergeometry.methods.base import Directional, Rank, parameters
from mergeometry.values import Directions, LowRank


@parameters
class OwnBlocks(Directional):
    """Keep what each task does between its own directions of a basis that all tasks share, and nothing else.

    Law: ``tau = sum_t P_t P_t^T U_t diag(S_t) V_t^T Q_t Q_t^T``, with ``P_t``, ``Q_t`` task t's columns of the shared
    subspace ``polar([U_1 | ... | U_T])``, ``polar([V_1 | ... | V_T])``. A direction that the shared subspace had to
    bend away from its task counts less for it: where `tsv_m` keeps all of ``S_t``, what tasks contend for is damped
    on both sides, so that the sum needs no scale. Tasks at right angles lose nothing; N equal ones keep 1/N.

    Tables of embeddings merge by `rows` unless the recipe says otherwise.
    """

    source: ClassVar[str] = "ours, after the blocks of DC-Merge (arXiv 2603.06242); docs/own-blocks.md"
    others: ClassVar[str] = "rows"

    rank: Rank = "auto"

    def merge(self, directions: Sequence[Directions]) -> LowRank:
        """Change each task to the coordinates of its own columns, and go back."""
        shared = shared_subspace(directions)
        blocks, first = [], 0
        for task in directions:
            own = slice(first, first + task.count)
            blocks.append((shared.left[:, own].mT @ task.left * task.values) @ (task.right.mT @ shared.right[:, own]))
            first += task.count
        return LowRank(shared.left, torch.block_diag(*blocks), shared.right)
