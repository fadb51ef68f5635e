"""Reads the curves of learning that a merge left in its output."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.regular_files import read_regular

CURVES = "adapt/curves.json"
_KEYS = ("step", "loss", "held_out")


def curves_of(output: Path) -> tuple[dict[str, float | None], ...]:
    """Step, objective and held-out objective of every step; nothing where nothing was learned or the file is gone."""
    try:
        points = json.loads(read_regular(output / CURVES, limits.SIDECAR_BYTES))
    except (OSError, ValueError, RecursionError):
        return ()
    points = points if isinstance(points, list) else []
    return tuple({key: _number(point.get(key)) for key in _KEYS} for point in points if isinstance(point, dict))


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
