"""Model Stock's ratio at known angles, row by row, and where a task vector says nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mergeometry as mg
from mergeometry.values import LowRank
from tests.helpers import reference

WHOLE = mg.methods.ModelStock()
BY_ROW = mg.methods.ModelStock(filter_wise=True)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120, 180])
def test_the_ratio_of_two_models_is_that_of_their_angle(degrees: float) -> None:
    one = torch.tensor([3.0, 0.0], dtype=torch.float64)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    other = torch.tensor([5 * cosine, 5 * sine], dtype=torch.float64)
    ratio = max(0.0, 2 * cosine / (1 + cosine)) if degrees < 180 else 0.0
    torch.testing.assert_close(WHOLE([one, other]), ratio * (one + other) / 2)


def tables() -> list[torch.Tensor]:
    """Three tables, each with rows of zeros where its task moved nothing."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    return [
        (common + torch.randn(40, 6, generator=generator, dtype=torch.float64))
        * (torch.rand(40, 1, generator=generator) < 0.6)
        for _ in range(3)
    ]


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 0.0, 2.0], [0.5, -0.25, 1.0]])
@pytest.mark.parametrize("entries", [1, 50, 1 << 17])
def test_rows_have_their_own_ratio(weights: list[float], entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mergeometry.linalg.by_row._ENTRIES", entries)
    taus = [table.numpy() for table in tables()]
    for method, by_row in ((WHOLE, False), (BY_ROW, True)):
        found = method(tables(), weights)
        assert isinstance(found, torch.Tensor)
        expected = reference.model_stock(taus, filter_wise=by_row, weights=weights)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_a_row_that_one_task_moved_stays_whole() -> None:
    one, two = torch.zeros(3, 4), torch.zeros(3, 4)
    one[0], one[2], two[2] = 1.0, 1.0, 3.0
    found = BY_ROW([one, two])
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [[1.0] * 4, [0.0] * 4, [2.0] * 4]


def test_a_kernel_has_a_ratio_for_each_filter() -> None:
    generator = torch.Generator().manual_seed(1)
    kernels = [torch.randn(5, 3, 2, 2, generator=generator) + 1 for _ in range(2)]
    found, flat = BY_ROW(kernels), BY_ROW([kernel.flatten(1) for kernel in kernels])
    assert isinstance(found, torch.Tensor) and isinstance(flat, torch.Tensor)
    torch.testing.assert_close(found.flatten(1), flat)
    assert not torch.allclose(flat, torch.as_tensor(WHOLE(kernels)).flatten(1))


@pytest.mark.parametrize("method", [WHOLE, BY_ROW], ids=["whole", "by row"])
def test_adapters_stay_thin(method: mg.methods.ModelStock) -> None:
    generator = torch.Generator().manual_seed(2)
    thin = [
        LowRank(torch.randn(9, 2, generator=generator), torch.eye(2), torch.randn(7, 2, generator=generator).abs())
        for _ in range(3)
    ]
    merged = method(thin)
    assert isinstance(merged, LowRank)
    assert merged.rank == 6
    torch.testing.assert_close(merged.dense(), method([delta.dense() for delta in thin]), rtol=1e-4, atol=1e-6)
