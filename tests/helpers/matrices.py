"""Matrices that break careless arithmetic, and full float64 SVDs of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from mergeometry.values import LowRank

MODEST = settings(max_examples=25, deadline=None, derandomize=True)
sides = st.integers(1, 24)
seeds = st.integers(0, 10_000)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal(seed: int, m: int, k: int) -> torch.Tensor:
    return torch.linalg.qr(draw(seed, m, k))[0]


def with_values(seed: int, m: int, n: int, values: list[float]) -> torch.Tensor:
    k = len(values)
    return orthonormal(seed, m, k) * torch.tensor(values, dtype=torch.float64) @ orthonormal(seed + 1, n, k).mT


def low_rank(seed: int, m: int, n: int, r: int) -> LowRank:
    return LowRank(draw(seed, m, r), draw(seed + 1, r, r), draw(seed + 2, n, r))


def full_svd(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    left, values, right = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    return torch.from_numpy(left), torch.from_numpy(values), torch.from_numpy(right).mT


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected.double()).norm()) / (float(expected.double().norm()) or 1.0)


def orthonormality(matrix: torch.Tensor) -> float:
    error = matrix.mT @ matrix - torch.eye(matrix.shape[1], dtype=matrix.dtype)
    return float(error.abs().max()) if error.numel() else 0.0


MATRICES: dict[str, Callable[[], torch.Tensor]] = {
    "random tall": lambda: draw(0, 40, 24),
    "random wide": lambda: draw(1, 24, 40),
    "random square": lambda: draw(2, 32, 32),
    "power law": lambda: with_values(3, 48, 32, [1 / k for k in range(1, 33)]),
    "steep": lambda: with_values(4, 48, 32, [10 ** (-k / 6) for k in range(32)]),
    "rank deficient": lambda: draw(5, 40, 3) @ draw(6, 3, 24),
    "repeated values": lambda: with_values(7, 40, 24, [2.0] * 6 + [1.0] * 6),
    "orthogonal": lambda: orthonormal(8, 32, 32),
    "zero": lambda: torch.zeros(12, 8, dtype=torch.float64),
    "one row": lambda: draw(9, 1, 20),
    "one column": lambda: draw(10, 20, 1),
    "one entry": lambda: torch.full((1, 1), -2.0, dtype=torch.float64),
    "no rows": lambda: torch.zeros(0, 5, dtype=torch.float64),
    "huge": lambda: 1e20 * draw(11, 20, 12).float(),
    "tiny": lambda: 1e-20 * draw(12, 20, 12).float(),
    "float32": lambda: draw(13, 30, 20).float(),
}
