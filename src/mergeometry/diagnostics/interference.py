"""How much tasks disturb each other when their leading directions are simply added."""

from __future__ import annotations

from collections.abc import Sequence

from mergeometry.deferred import torch
from mergeometry.values import Directions


def singular_task_interference(directions: Sequence[Directions]) -> float:
    """``|| (U^T U - I) diag(S) (V^T V - I) ||_1`` of the tasks' directions side by side, entries summed by magnitude.

    0 where the directions of different tasks are orthogonal on either side, and for one task. It grows with the norms
    of the task vectors: `strength` is what to compare it with.

    Source: Gargiulo et al. 2025, Task singular vectors, arXiv 2412.00081, equation 3.
    """
    left = torch.cat([task.left for task in directions], dim=1)
    right = torch.cat([task.right for task in directions], dim=1)
    values = torch.cat([task.values for task in directions])
    same = torch.eye(len(values), dtype=left.dtype)
    return float(((left.mT @ left - same) * values @ (right.mT @ right - same)).abs().sum())


def strength(directions: Sequence[Directions]) -> float:
    """``sum_t sum_i s_i``: the sum of the singular values of all tasks' directions."""
    return float(sum(task.values.sum() for task in directions))
