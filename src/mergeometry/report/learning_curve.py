"""The curve of learning as a drawing that takes its colours from the page's style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mergeometry.report.line_chart import line_chart


def learning_curve(points: Sequence[Mapping[str, Any]]) -> str:
    """Draw the objective and the held-out objective by step; empty where fewer than two steps are known."""
    lines = {key: [(one["step"], one[key]) for one in points if _both(one, key)] for key in ("loss", "held_out")}
    steps = [step for line in lines.values() for step, _ in line]
    if len(set(steps)) < 2:
        return ""
    label = "Objective of learning by step, on the inputs learned from and on held-out ones"
    return line_chart(lines["loss"], lines["held_out"], across="step", label=label)


def _both(point: Mapping[str, Any], key: str) -> bool:
    return all(isinstance(point.get(name), int | float) and math.isfinite(point[name]) for name in ("step", key))
