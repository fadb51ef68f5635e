"""How much tasks disturb each other when their leading directions are simply added."""

from __future__ import annotations

from mergeometry.deferred import torch
from mergeometry.diagnostics.products import DirectionProducts


def singular_task_interference(products: DirectionProducts) -> float:
    """``|| (U^T U - I) diag(S) (V^T V - I) ||_1`` of the tasks' directions side by side, entries summed by magnitude.

    0 where the directions of different tasks are orthogonal on either side, and for one task. It grows with the norms
    of the task vectors: `strength` is what to compare it with.

    Source: Gargiulo et al. 2025, Task singular vectors, arXiv 2412.00081, equation 3.
    """
    same = torch.eye(len(products.values), dtype=products.left.dtype)
    return float(((products.left - same) * products.values @ (products.right - same)).abs_().sum())


def strength(products: DirectionProducts) -> float:
    """``sum_t sum_i s_i``: the sum of the singular values of all tasks' directions."""
    return float(products.values.sum())
