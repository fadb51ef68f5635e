"""Order statistics of numbers that come in pieces, against sorting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.linalg.order import LargestMagnitudes
from mergeometry.linalg.selection import masked, without_tails
from tests.helpers.matrices import MODEST, draw, seeds

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def found(values: torch.Tensor, counts: list[int], size: int) -> list[float]:
    search = LargestMagnitudes(counts)
    while search.unfinished:
        for piece in values.split(size):
            search.add(piece)
        search.end_pass()
    return search.magnitudes


def by_sorting(values: torch.Tensor, counts: list[int]) -> list[float]:
    magnitudes = values.abs().double().sort(descending=True).values
    return [float(magnitudes[count - 1]) for count in counts]


@MODEST
@given(seeds, st.sampled_from(DTYPES), st.integers(1, 300), st.integers(1, 90))
def test_magnitudes_are_those_of_sorting(seed: int, dtype: torch.dtype, size: int, piece: int) -> None:
    values = draw(seed, size).to(dtype)
    values[::3] = (values[::3] * 2).round() / 2  # many that tie
    values[1::7], values[2::11] = 0.0, -0.0
    counts = sorted({1, size, (size + 1) // 2, max(1, size // 5)})
    before = values.clone()
    assert found(values, counts, piece) == by_sorting(values, counts)
    assert torch.equal(values, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_have_their_rank(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    values = torch.tensor(
        [0.0, limits.smallest_normal / 2, -limits.tiny, 1.0, -limits.max, float("inf"), -float("inf")], dtype=dtype
    )
    counts = list(range(1, len(values) + 1))
    assert found(values, counts, 2) == by_sorting(values, counts)


def test_counts_may_come_with_the_first_pass() -> None:
    search = LargestMagnitudes()
    while search.unfinished:
        search.add(torch.tensor([3.0, -5.0, 1.0]))
        if not search.started:
            search.seek([2])
        search.end_pass()
    assert search.magnitudes == [3.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mask_leaves_bits_alone_and_no_nan(dtype: torch.dtype) -> None:
    values = torch.tensor([float("inf"), -0.0, -0.0, 1.5, -float("inf")], dtype=dtype)
    kept = masked(values, torch.tensor([False, True, False, True, True]).numpy())
    assert kept.tolist() == [0.0, 0.0, 0.0, 1.5, -float("inf")]
    assert kept.signbit().tolist() == [False, True, False, False, True]


def test_an_infinite_outlier_is_left_out() -> None:
    values = torch.tensor([float("inf"), 2.0, -3.0, 0.5])
    assert without_tails(values, 0.5, 0.25).tolist() == [0.0, 2.0, -3.0, 0.0]
