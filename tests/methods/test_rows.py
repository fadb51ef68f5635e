"""Rows that some tasks moved, rows that all did, and rows of any size, against the formula row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mergeometry.methods import registry
from mergeometry.methods import rows as module
from tests.helpers import reference

ROWS = registry.build("rows", {})


def tables(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Three tables of 40 rows: each row is moved by none, one, two or all of the tasks."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(40, 6, generator=generator, dtype=dtype) * (torch.rand(40, 1, generator=generator) < 0.6)
        for _ in range(3)
    ]


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0, 0.0, 2.0], [0.5, -0.25, 1.0]])
@pytest.mark.parametrize("entries", [6, 100, 1 << 20])
def test_rows_are_merged_one_by_one(weights: list[float], entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENTRIES", entries)
    found = ROWS(tables(), weights)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found, reference.rows([t.numpy() for t in tables()], weights), rtol=1e-12, atol=1e-14)


def test_rows_of_one_task_stay_whole_and_rows_of_all_are_averaged() -> None:
    one, two = torch.zeros(3, 4), torch.zeros(3, 4)
    one[0], one[2], two[2] = 1.0, 1.0, 3.0
    found = ROWS([one, two])
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [[1.0] * 4, [0.0] * 4, [2.0] * 4]


def test_equal_moves_of_a_row_count_once() -> None:
    move, still = torch.ones(1, 4), torch.zeros(1, 4)
    found = ROWS([move, move, still])
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, move)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_rows_keep_their_factor(size: float) -> None:
    given = tables(torch.float32)
    found, scaled = ROWS(given), ROWS([delta * size for delta in given])
    assert isinstance(found, torch.Tensor) and isinstance(scaled, torch.Tensor)
    torch.testing.assert_close(scaled / size, found, rtol=1e-5, atol=0)
