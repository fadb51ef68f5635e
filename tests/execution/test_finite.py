"""The cheap test for finite numbers never overlooks one that is not."""

from __future__ import annotations

import pytest
import torch

from mergeometry.execution.finite import surely_finite

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_number_that_is_not_finite_is_seen(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    plain = torch.tensor(
        [0.0, -0.0, 1.0, -1.0, limits.tiny, -limits.tiny, limits.max / 4, -limits.max / 4], dtype=dtype
    )
    assert surely_finite(plain) and surely_finite(plain[:0]) and surely_finite(plain[::2])
    for bad in (float("inf"), -float("inf"), float("nan"), -float("nan")):
        for place in range(len(plain)):
            values = plain.clone()
            values[place] = bad
            assert not surely_finite(values), (bad, place)
            assert surely_finite(values[::2]) is (place % 2 == 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_bit_pattern_of_two_bytes(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    found = torch.tensor([surely_finite(every[place : place + 1]) for place in range(0, len(every), 7)])
    assert torch.equal(found, torch.isfinite(every[::7]))
