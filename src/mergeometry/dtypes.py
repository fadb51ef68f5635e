"""The dtypes of the safetensors format and what may be done with each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from mergeometry.deferred import torch

DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "U16": ("uint16", 2),
    "I16": ("int16", 2),
    "U32": ("uint32", 4),
    "I32": ("int32", 4),
    "U64": ("uint64", 8),
    "I64": ("int64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
"""Code in the file to torch's name for the dtype and the bytes of one element.

The format's sub-byte floats (F4, F6) are packed and are refused.
"""

MERGEABLE = frozenset({"F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "F64"})
"""Codes whose values are numbers to merge; tensors of every other dtype are copied from the base."""

FLOATING = MERGEABLE | {"F8_E8M0"}
"""Codes of real floating-point numbers."""

NAMED_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The names that a recipe's `output.dtype` may have, each with its code in the file."""


def item_size(code: str) -> int:
    """Bytes of one element of the dtype with this code."""
    return DTYPES[code][1]


def torch_dtype(code: str) -> torch.dtype:
    """The torch dtype with this code."""
    dtype: torch.dtype = getattr(torch, DTYPES[code][0])
    return dtype


@cache
def codes() -> Mapping[torch.dtype, str]:
    """Torch dtype to code in the file."""
    return {torch_dtype(code): code for code in DTYPES}


def compute_dtype(code: str) -> torch.dtype:
    """The dtype that arithmetic on this code runs in: float64 for float64 files, float32 for the rest."""
    return torch.float64 if code == "F64" else torch.float32
