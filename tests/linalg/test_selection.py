"""Thresholds, shares and the election of signs, by sorting and by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.linalg import election, selection
from mergeometry.linalg.election import elected_mean
from mergeometry.linalg.selection import magnitude_threshold, share_of
from tests.helpers.matrices import MODEST, draw, seeds


@MODEST
@given(seeds, st.integers(1, 200), st.integers(1, 220))
def test_threshold_is_the_sorted_entry(seed: int, size: int, count: int) -> None:
    values = draw(seed, size).float()
    before = values.clone()
    threshold = magnitude_threshold(values, count)
    expected = 0.0 if count >= size else float(values.abs().sort(descending=True).values[count - 1])
    assert threshold == expected
    assert torch.equal(values, before)
    kept = elected_mean([values], count, [1.0])
    assert int((kept != 0).sum()) == min(count, size)
    assert torch.equal(kept[kept != 0], values[kept != 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("size", "count"), [(40_000, 1), (40_000, 625), (40_001, 600), (40_031, 625)])
def test_threshold_of_a_small_share_is_the_sorted_entry(size: int, count: int, dtype: torch.dtype) -> None:
    values = draw(0, size).to(dtype)
    values[-3:] = torch.tensor([9.0, -9.0, 8.0])  # where no piece is whole
    values[:50] = values[100:150]
    expected = float(values.abs().sort(descending=True).values[count - 1])
    assert magnitude_threshold(values, count) == expected
    assert magnitude_threshold(values.reshape(1, -1), count) == expected


def test_ties_at_the_threshold_all_stay() -> None:
    values = torch.tensor([3.0, -2.0, 2.0, 2.0, 1.0])
    assert elected_mean([values], 2, [1.0]).tolist() == [3.0, -2.0, 2.0, 2.0, 0.0]
    nearly = torch.tensor([1.0, 1.0 - 1e-12, 0.5], dtype=torch.float64)
    assert int((elected_mean([nearly], 1, [1.0]) != 0).sum()) == 1
    assert int((elected_mean([nearly], 1, [1.0], rounding=1e-9) != 0).sum()) == 2


def test_election_by_hand() -> None:
    tasks = [torch.tensor([4.0, -1.0, 1.0, 0.0]), torch.tensor([-1.0, -3.0, -1.0, 0.0]), torch.tensor([2.0, 2.0, 0, 0])]
    assert elected_mean(tasks, 4, [1.0] * 3).tolist() == [3.0, -2.0, 0.0, 0.0]
    assert elected_mean(tasks, 4, [1.0, 1.0, 3.0]).tolist() == [2.5, 2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("size", "share", "count"), [(100, 0.29, 29), (10, 0.7, 7), (3, 0.2, 1), (1, 1.0, 1), (7, 0.5, 3)]
)
def test_share_of(size: int, share: float, count: int) -> None:
    assert share_of(size, share) == count


@pytest.mark.parametrize("shape", [(), (1,), (3, 2, 2), (0,), (70_000,)])
def test_election_keeps_any_shape(shape: tuple[int, ...]) -> None:
    values = draw(0, *shape)
    assert elected_mean([values, values], max(1, values.numel()), [1.0, 2.0]).shape == values.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rounding", [0.0, 1e-9])
def test_a_few_entries_are_merged_as_all_are(
    dtype: torch.dtype, rounding: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [draw(seed, 20, 50).to(dtype) for seed in range(4)]
    tasks[0][3] = tasks[0].abs().max()
    tasks[1][5, 5], tasks[2][5, 5] = 9.0, -9.0
    few = elected_mean(tasks, 6, [1.0, 0.5, 0.5, -1.0], rounding)
    monkeypatch.setattr(selection, "FEW", 0)
    monkeypatch.setattr(election, "AT_ONCE", 0)
    assert torch.equal(few, elected_mean(tasks, 6, [1.0, 0.5, 0.5, -1.0], rounding))
    assert 6 < int((few != 0).sum()) < 100
