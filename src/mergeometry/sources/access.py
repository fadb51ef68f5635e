"""What opening a model may do besides reading local files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

ShowBytes: TypeAlias = Callable[[str, int, int], None]
"""Called with a file's name, the bytes of all files that are here, and the bytes of all files."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the user allows: nothing but reading of files, unless said otherwise."""

    offline: bool = False
    """Take models of the hub from its cache alone."""
    allow_pickle: bool = False
    """Convert pickled weights, in a process of its own."""
