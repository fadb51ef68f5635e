"""Checks the values of ready-made Fisher information, and takes their norm and their digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mergeometry.sources import TensorInfo, TensorReader

_ELEMENTS = 1 << 22
"""Entries read at a time."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The L2 norm of a model's Fisher information, and the SHA-256 of what was read; none where it was estimated."""

    norm: float
    sha256: str = ""


def measured(label: str, infos: Mapping[str, TensorInfo]) -> tuple[Measured, list[str]]:
    """One model's norm and digest over the tensors given, and every reason why they are no Fisher information.

    Raises:
        SourceError: a file is no longer what it was.
    """
    digest, total, problems = hashlib.sha256(), 0.0, list[str]()
    with TensorReader() as reader:
        for name, info in infos.items():
            digest.update(f"{name}\0{info.code}\0".encode())
            odd = negative = 0
            for first in range(0, info.elements, _ELEMENTS):
                stored = reader.read_range(info, first, min(first + _ELEMENTS, info.elements))
                digest.update(stored.view(torch.uint8).numpy().data)
                values = stored.double()
                odd += int((~torch.isfinite(values)).sum())
                negative += int((values < 0).sum())
                total += float(values.square().sum())
            what = f"of the Fisher information of {name!r}"
            if odd:
                problems.append(f"{label}: {_values(odd)} {what} {'is' if odd == 1 else 'are'} NaN or infinite")
            if negative:
                problems.append(f"{label}: {_values(negative)} {what} {'is' if negative == 1 else 'are'} negative")
    if infos and total == 0 and not problems:
        problems.append(f"{label}: its Fisher information is zero everywhere")
    return Measured(math.sqrt(total) if math.isfinite(total) else 0.0, digest.hexdigest()), problems


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count:,} values"
