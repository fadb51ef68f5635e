"""Order statistics of numbers that come in pieces, against sorting."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergeometry.linalg.order import LargestMagnitudes
from mergeometry.linalg.sampling import SAMPLED_ELEMENTS, sampled_blocks
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


@MODEST
@given(seeds, st.sampled_from(DTYPES), st.integers(1, 300), st.integers(1, 90))
def test_of_few_numbers_all_are_held_and_one_pass_is_enough(
    seed: int, dtype: torch.dtype, size: int, piece: int
) -> None:
    values = draw(seed, size).to(dtype)
    values[::3] = (values[::3] * 2).round() / 2
    counts = [1, size, (size + 1) // 2, max(1, size // 5)]
    before, search = values.clone(), LargestMagnitudes(counts, size)
    for part in values.split(piece):
        search.add(part)
    search.end_pass()
    assert not search.unfinished
    assert search.magnitudes == by_sorting(values, counts)
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


SIZE = SAMPLED_ELEMENTS + 5


def numbers(kind: str) -> torch.Tensor:
    drawn = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    return {
        "even": drawn,
        "tied": (drawn * 4).round() / 4,
        "narrow": (drawn.bfloat16() + 1).float() - 1,
        "zeros": drawn * (drawn > 1),
        "equal": torch.full((SIZE,), 3.0),
        "rows": drawn * torch.linspace(0, 4, SIZE).square(),
    }[kind]


def passes(search: LargestMagnitudes, values: torch.Tensor) -> int:
    count = 0
    while search.unfinished:
        for piece in values.split(1 << 16):
            search.add(piece)
        search.end_pass()
        count += 1
    return count


@pytest.mark.parametrize("kind", ["even", "tied", "narrow", "zeros", "equal", "rows"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_a_sample_one_pass_is_enough(kind: str, dtype: torch.dtype) -> None:
    values, counts = numbers(kind).to(dtype), [1, SIZE // 100, SIZE // 5, SIZE]
    starts, length = sampled_blocks(SIZE)
    search = LargestMagnitudes(counts)
    search.expect(torch.stack([values[start : start + length] for start in starts]), SIZE)
    assert passes(search, values) == 1
    assert search.magnitudes == by_sorting(values, counts)


@pytest.mark.parametrize("sample", [torch.zeros(64, 128), torch.full((64, 128), 1e9), torch.rand(64, 128)])
def test_a_sample_that_misleads_changes_nothing(sample: torch.Tensor) -> None:
    values, counts = numbers("even"), [SIZE // 100, SIZE // 5]
    search = LargestMagnitudes(counts)
    search.expect(sample, SIZE)
    assert passes(search, values) == 3
    assert search.magnitudes == by_sorting(values, counts)


@pytest.mark.parametrize("elements", [SAMPLED_ELEMENTS, 4_358_144, 136_134_656, 10**10])
def test_a_sample_is_spread_from_the_first_entry_to_the_last(elements: int) -> None:
    starts, length = sampled_blocks(elements)
    assert starts[0] == 0 and starts[-1] + length == elements
    assert all(one + length <= other for one, other in itertools.pairwise(starts))
    assert len(starts) * length <= min(elements // 32, 1 << 20)
