"""Whether all numbers of a tensor are finite, at a fraction of an exact test's cost."""

from __future__ import annotations

import cmath

from mergeometry.deferred import Tensor, torch


def surely_finite(values: Tensor) -> bool:
    """False where a number may be NaN or infinite; an exact test has to follow, since finite sums may overflow."""
    if (limit := _bits_of_infinity(values.dtype)) is None or values.device.type != "cpu" or not values.is_contiguous():
        wider = torch.float32 if values.is_floating_point() and values.itemsize < 4 else None
        return cmath.isfinite(values.sum(dtype=wider).item())
    # As integers with a sign the positive numbers are the largest, without one the negative.
    bits = values.view(torch.int16).numpy()
    return not bits.size or (bits.max() < limit and bits.view("uint16").max() < 0x8000 + limit)


def tally(bad: int, seen: int, whole: int) -> str:
    """How many values of a whole tensor are bad, of which a merge in pieces has seen a part when it stops."""
    return f"{bad} of {whole}" if seen >= whole else f"at least {bad} of {whole}"


def _bits_of_infinity(dtype: torch.dtype) -> int | None:
    """The bits of infinity: those of NaN are larger, those of all other numbers smaller; None of wider dtypes."""
    return 0x7F80 if dtype is torch.bfloat16 else 0x7C00 if dtype is torch.float16 else None
