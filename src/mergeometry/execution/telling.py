"""What a run tells while it works, besides the tensors that it finishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Tell: TypeAlias = Callable[[str, Mapping[str, Any]], None]
"""Called with the name of an event and its facts, which are plain JSON values."""


def untold(event: str, facts: Mapping[str, Any], /) -> None:
    """Tell nobody."""
