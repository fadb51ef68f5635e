"""The polar factor against a full float64 SVD. -s prints the errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.linalg.polar import polar, polar_of_factors
from tests.helpers.matrices import (
    MATRICES,
    MODEST,
    full_svd,
    low_rank,
    orthonormal,
    orthonormality,
    relative,
    seeds,
    sides,
)


def nearly_dependent(seed: int, m: int, k: int, smallest: float) -> torch.Tensor:
    """A square [U_1 | U_2] of two orthonormal blocks, one direction of the second close to the first's span."""
    first, second = orthonormal(seed, m, k), orthonormal(seed + 100, m, k)
    # Two unit vectors at a small angle have the singular value sqrt(1 - cos), which is angle / sqrt(2).
    angle = smallest * 2**0.5
    rest = second - first @ (first.mT @ second)
    outside = torch.linalg.qr(rest)[0]
    twin = np.cos(angle) * first[:, :1] + np.sin(angle) * outside[:, :1]
    return torch.cat([first, twin, outside[:, 1:]], dim=1)


@pytest.mark.parametrize("name", MATRICES)
def test_polar(name: str) -> None:
    matrix = MATRICES[name]()
    left, values, right = full_svd(matrix)
    alive = (
        values > 1e-7 * values[0] if values.numel() and values[0] > 0 else torch.zeros(len(values), dtype=torch.bool)
    )
    factor, got = polar(matrix)
    assert got.shape[0] == int(alive.sum())
    assert relative(got, values[alive]) < 1e-8
    assert relative(factor, left[:, alive] @ right[:, alive].mT) < 1e-5


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1.5e-5, 1e-5, 9e-6, 3e-6, 2e-6, 1e-6])
def test_polar_of_an_ill_conditioned_basis(smallest: float) -> None:
    orthonormal_by, distance = 0.0, 0.0
    for seed in range(3):
        basis = nearly_dependent(seed, 96, 48, smallest)
        factor, values = polar(basis)
        left, expected, right = full_svd(basis)
        assert float(expected[-1]) == pytest.approx(smallest, rel=0.05)
        assert relative(values, expected) < 1e-8
        orthonormal_by = max(orthonormal_by, orthonormality(factor))
        distance = max(distance, relative(factor, left @ right.mT))
    print(f"\npolar, smallest singular value {smallest:.1e}: orthonormal to {orthonormal_by:.1e}, SVD {distance:.1e}")
    assert orthonormal_by < 5e-6
    assert distance < 1e-6


@pytest.mark.parametrize("smallest", [1e-8, 1e-9])
def test_polar_leaves_out_a_direction_that_is_not_there(smallest: float) -> None:
    basis = nearly_dependent(0, 96, 48, smallest)
    factor, values = polar(basis)
    left, _, right = full_svd(basis)
    assert len(values) == 95
    assert relative(factor, left[:, :95] @ right[:, :95].mT) < 1e-9


@MODEST
@given(seeds, sides, sides, st.integers(1, 5))
def test_polar_of_factors_is_that_of_their_product(seed: int, m: int, n: int, r: int) -> None:
    delta = low_rank(seed, m, n, r)
    thin, values = polar_of_factors(delta)
    factor, expected = polar(delta.dense(torch.float64))
    if len(values) == len(expected):
        assert relative(values, expected) < 1e-8
        assert relative(thin.dense(torch.float64), factor) < 1e-6
