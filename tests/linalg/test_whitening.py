"""Singular values brought to their mean, and directions taken out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mergeometry.linalg.whitening import isotropic, remove_left
from mergeometry.values import LowRank
from tests.helpers.matrices import low_rank, orthonormal, relative, with_values


def test_isotropic_leaves_zero_directions_out_of_the_mean() -> None:
    matrix = with_values(0, 20, 12, [3.0, 2.0, 1.0])
    values = torch.linalg.svdvals(isotropic(matrix))  # type: ignore[arg-type]
    assert values[:3] == pytest.approx(np.full(3, 2.0))
    assert float(values[3]) < 1e-12


def test_remove_left() -> None:
    basis, delta = orthonormal(0, 20, 4), low_rank(1, 20, 12, 3)
    expected = delta.dense(torch.float64) - basis @ basis.mT @ delta.dense(torch.float64)
    thin, dense = remove_left(delta, basis), remove_left(delta.dense(torch.float64), basis)
    assert isinstance(thin, LowRank)
    assert relative(thin.dense(torch.float64), expected) < 1e-13
    assert relative(dense, expected) < 1e-13  # type: ignore[arg-type]
