"""The dtypes of the safetensors format and what may be done with each."""

from __future__ import annotations

import torch

TORCH_DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
"""Code in the file to torch dtype. The format's sub-byte floats (F4, F6) are packed and are refused."""

MERGEABLE = frozenset({"F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "F64"})
"""Codes whose values are numbers to merge; tensors of every other dtype are copied from the base."""

NAMED_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The names that a recipe's `output.dtype` may have, each with its code in the file."""

CODES: dict[torch.dtype, str] = {dtype: code for code, dtype in TORCH_DTYPES.items()}


def item_size(code: str) -> int:
    """Bytes of one element of the dtype with this code."""
    return TORCH_DTYPES[code].itemsize


def compute_dtype(code: str) -> torch.dtype:
    """The dtype that arithmetic on this code runs in: float64 for float64 files, float32 for the rest."""
    return torch.float64 if code == "F64" else torch.float32
