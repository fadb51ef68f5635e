"""Two lines as a drawing that takes its colours from the page's style."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from mergeometry.report.chart import Axis, Place, Tick, written

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 628, 10, 200
_POINTS = 300
"""Points of a line; a longer one is thinned."""


def line_chart(solid: Sequence[Place], dashed: Sequence[Place], *, across: str, label: str) -> str:
    """Draw two lines over one axis, which is named ``across``; ``label`` says what it shows to those who do not see it.

    Together they have points at two places or more.
    """
    places = [x for line in (solid, dashed) for x, _ in line]
    values = [value for line in (solid, dashed) for _, value in line]
    right = Axis(min(places), max(places), _LEFT, _RIGHT)
    up = Axis(min(values), max(values), _BOTTOM, _TOP, room=0.05)
    root = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "class": "curve", "role": "img",
        "aria-label": label,
    })  # fmt: skip
    for tick in up.ticks(5):
        place = f"{up.place(tick.value):.1f}"
        ET.SubElement(root, "line", {"class": "grid", "x1": f"{_LEFT}", "x2": f"{_RIGHT}", "y1": place, "y2": place})
        _text(root, _LEFT - 6, float(place) + 4, tick, "end")
    for tick in right.ticks(8):
        _text(root, right.place(tick.value), _BOTTOM + 18, tick, "middle")
    _text(root, (_LEFT + _RIGHT) / 2, _HEIGHT - 4, Tick(0, across), "middle")
    for line, colour, dash in ((solid, "c0", {}), (dashed, "c1", {"stroke-dasharray": "6 3"})):
        points = " ".join(f"{right.place(x):.1f},{up.place(value):.1f}" for x, value in _thinned(line))
        ET.SubElement(root, "polyline", {"class": f"line {colour}", "points": points, **dash})
    return written(root)


def _thinned(line: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    stride = max(1, math.ceil(len(line) / _POINTS))
    return [*line[::stride], *(line[-1:] if (len(line) - 1) % stride else [])]


def _text(root: ET.Element, x: float, y: float, tick: Tick, anchor: str) -> None:
    ET.SubElement(root, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}).text = tick.text
