"""What a quantised format says of one weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from mergeometry.sources.formed import Form
from mergeometry.sources.tensors import TensorInfo

Tensors: TypeAlias = Mapping[str, TensorInfo]
"""The tensors of a model by name."""
Settings: TypeAlias = Mapping[str, Any]
"""What config.json says of the quantisation."""


class Weight(NamedTuple):
    """One weight: its name, its shape, how it is formed, and the tensors that it replaces."""

    name: str
    shape: tuple[int, ...]
    form: Form
    replaces: tuple[str, ...]
    dtype: str | None = None
    """The precision that the format names for it."""


Read: TypeAlias = Callable[[TensorInfo], bytes]
"""Reads a small tensor that describes another."""

Build: TypeAlias = Callable[[str, Tensors, Settings, Read], "Weight | None"]
"""Builds the weight that a tensor of this name belongs to; None if it is of another format.

It raises ValueError where the format is known and this variant of it is not.
"""


def present(tensors: Tensors, *names: str) -> tuple[str, ...]:
    """Those of the names that the model has."""
    return tuple(name for name in names if name in tensors)
