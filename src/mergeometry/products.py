"""Products of matrices by the library that uses all of the processor's width."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

from mergeometry.deferred import Float, Tensor, np, torch

_SMALL = 1 << 18
"""Multiplications up to which a call takes longer than what it saves."""


def product(one: Float[Tensor, "m r"], other: Float[Tensor, "r n"]) -> Float[Tensor, "m n"]:
    """``one @ other``; where torch's BLAS leaves half of the processor idle, by NumPy's.

    The BLAS of torch's wheels does without AVX-512 on AMD's processors, the OpenBLAS of NumPy's takes it: on Zen 5 a
    product takes 0.6 of the time in float64, and half in float32; on Zen 4, which does AVX-512 in two halves, as long
    (both measured).
    """
    if one.shape[0] * other.numel() <= _SMALL or not _usable(one, other) or not leaves_half_idle():
        return one @ other
    return torch.from_numpy(np.matmul(one.numpy(), other.numpy()))


def leaves_half_idle(information: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether torch's BLAS does without instructions that the processor has: one of AMD's with AVX-512."""
    return _leaves_half_idle(information)


@cache
def _leaves_half_idle(information: Path) -> bool:
    facts: dict[str, str] = {}
    with suppress(OSError, ValueError):
        for line in information.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value)
    return "AuthenticAMD" in facts.get("vendor_id", "") and "avx512f" in facts.get("flags", "").split()


def _usable(one: Tensor, other: Tensor) -> bool:
    numbers = one.dtype == other.dtype and one.dtype in (torch.float64, torch.float32)
    here = one.device.type == "cpu" and other.device.type == "cpu"
    return numbers and here and not (one.requires_grad or other.requires_grad)
