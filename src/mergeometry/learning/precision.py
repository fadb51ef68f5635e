"""The number format of forward passes."""

from __future__ import annotations

import torch

from mergeometry.errors import DataError


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of weights in forward passes: bfloat16 where requested, or where ``auto`` finds it fast.

    Coefficients, losses and sums are float32 in either case.

    Raises:
        DataError: bfloat16 is requested on a GPU that does not support it.
    """
    if precision == "float32":
        return torch.float32
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _fast_on_cpu()
    if precision == "bfloat16" and device.type == "cuda" and not fast:
        raise DataError("this GPU does not support bfloat16", hint="adapt: {precision: float32}")
    return torch.bfloat16 if fast or precision == "bfloat16" else torch.float32


def _fast_on_cpu() -> bool:
    # Without these instructions bfloat16 is emulated, several times slower than float32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
