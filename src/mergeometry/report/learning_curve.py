"""The curve of learning as a drawing that takes its colours from the page's style."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from mergeometry.report.chart import Axis, Tick, written

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 628, 10, 200
_POINTS = 300
"""Points of a line; a longer one is thinned."""


def learning_curve(points: Sequence[Mapping[str, Any]]) -> str:
    """Draw the objective and the held-out objective by step; empty where fewer than two steps are known."""
    lines = {key: [(one["step"], one[key]) for one in points if _both(one, key)] for key in ("loss", "held_out")}
    steps = [step for line in lines.values() for step, _ in line]
    if len(set(steps)) < 2:
        return ""
    values = [value for line in lines.values() for _, value in line]
    across = Axis(min(steps), max(steps), _LEFT, _RIGHT)
    up = Axis(min(values), max(values), _BOTTOM, _TOP, room=0.05)
    root = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "class": "curve", "role": "img",
        "aria-label": "Objective of learning by step, on the inputs learned from and on held-out ones",
    })  # fmt: skip
    for tick in up.ticks(5):
        place = f"{up.place(tick.value):.1f}"
        ET.SubElement(root, "line", {"class": "grid", "x1": f"{_LEFT}", "x2": f"{_RIGHT}", "y1": place, "y2": place})
        _text(root, _LEFT - 6, float(place) + 4, tick, "end")
    for tick in across.ticks(8):
        _text(root, across.place(tick.value), _BOTTOM + 18, tick, "middle")
    _text(root, (_LEFT + _RIGHT) / 2, _HEIGHT - 4, Tick(0, "step"), "middle")
    for (key, line), colour in zip(lines.items(), ("c0", "c1"), strict=True):
        places = " ".join(f"{across.place(step):.1f},{up.place(value):.1f}" for step, value in _thinned(line))
        dash = {} if key == "loss" else {"stroke-dasharray": "6 3"}
        ET.SubElement(root, "polyline", {"class": f"line {colour}", "points": places, **dash})
    return written(root)


def _both(point: Mapping[str, Any], key: str) -> bool:
    return all(isinstance(point.get(name), int | float) and math.isfinite(point[name]) for name in ("step", key))


def _thinned(line: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    stride = max(1, math.ceil(len(line) / _POINTS))
    return [*line[::stride], *(line[-1:] if (len(line) - 1) % stride else [])]


def _text(root: ET.Element, x: float, y: float, tick: Tick, anchor: str) -> None:
    ET.SubElement(root, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}).text = tick.text
