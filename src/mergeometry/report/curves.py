"""Scale curves as one SVG: a line for each method between the base and the experts."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from mergeometry.report.chart import COLOURS, DASHES, Axis, Tick, frame, level, line, mark, picture, text, written

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison

_WIDTH, _HEIGHT = 860, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 610, 18, 408
_BELOW = 2.0
"""How far below the base the drawing goes, in multiples of the best value's height above it."""

_LABEL = 15
"""Least distance between two labels in pixels."""

_NAME = 34
"""Letters of a name that fit."""


def curves_svg(comparison: Comparison) -> str:
    """Draw validation accuracy (or perplexity, the better the higher) against scale; every name is escaped."""
    accuracy = comparison.measure == "accuracy"
    measure = "validation accuracy, %" if accuracy else "validation perplexity"
    root = picture(_WIDTH, _HEIGHT, f"{measure} against scale, a line for each method")
    across, up = _across(comparison), _up(comparison)
    first = (1.0, min(comparison.scales), max(comparison.scales))
    scales = sorted(comparison.scales, key=lambda scale: (scale not in first, scale))
    frame(root, across, up, list(across.spaced([Tick(scale, f"{scale:g}") for scale in scales], 28)), up.ticks())
    text(root, (_LEFT + _RIGHT) / 2, _BOTTOM + 40, "scale", anchor="middle")
    text(root, 16, (_TOP + _BOTTOM) / 2, measure, anchor="middle", upwards=True)
    for name, value in (("experts", comparison.experts_validation), ("base", comparison.base_validation)):
        level(root, across, up.place(_shown(comparison, value)), name)
    _lines(root, comparison, across, up)
    return written(root)


def _across(comparison: Comparison) -> Axis:
    """Scales on a logarithmic axis, on which the usual grids are about evenly spaced."""
    return Axis(min(comparison.scales), max(comparison.scales), _LEFT, _RIGHT, logarithmic=True)


def _up(comparison: Comparison) -> Axis:
    """Accuracy grows upwards, perplexity (on its logarithm) downwards."""
    ends = [comparison.base_validation, comparison.experts_validation]
    accuracy = comparison.measure == "accuracy"
    shown = [_shown(comparison, value) for row in comparison.rows for value in row.validation.values()]
    numbers = [value if accuracy else -math.log(value) for value in shown]
    base, experts = (value if accuracy else -math.log(value) for value in (_shown(comparison, end) for end in ends))
    low, high = min(*numbers, base, experts), max(*numbers, base, experts)
    # Large scales ruin many merges; drawn in full, their fall would flatten everything that matters.
    low = max(low, base - _BELOW * (high - base))
    if accuracy:
        return Axis(low, high, _BOTTOM, _TOP, room=0.04)
    return Axis(math.exp(-high), math.exp(-low), _TOP, _BOTTOM, logarithmic=True, room=0.04)


def _shown(comparison: Comparison, value: float) -> float:
    """An accuracy in percent, or a perplexity."""
    return 100 * value if comparison.measure == "accuracy" else value


def _lines(root: ET.Element, comparison: Comparison, across: Axis, up: Axis) -> None:
    clip = ET.SubElement(root, "clipPath", id="inside")
    ET.SubElement(
        clip, "rect", x=f"{_LEFT - 5}", y=f"{_TOP - 5}", width=f"{_RIGHT - _LEFT + 10}", height=f"{_BOTTOM - _TOP + 5}"
    )
    inside = ET.SubElement(root, "g", {"clip-path": "url(#inside)"})
    places = {
        row.name: [(across.place(float(s)), up.place(_shown(comparison, v))) for s, v in row.validation.items()]
        for row in comparison.rows
    }
    # A line that leaves the drawing is named at its lower edge.
    ends = {name: min(points[-1][1], _BOTTOM + 0.0) for name, points in places.items()}
    labels = _apart(ends)
    for number, row in enumerate(comparison.rows):
        points, label = places[row.name], labels[row.name]
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        line(inside, points, colour, dash)
        mark(inside, points[[float(scale) for scale in row.validation].index(row.best_scale)], colour)
        lead = f"M{points[-1][0]:g} {ends[row.name]:g}L{_RIGHT + 14} {label:g}"
        ET.SubElement(root, "path", {"d": lead, "stroke": colour, "stroke-width": ".7", "opacity": ".55"})
        name = row.name if len(row.name) <= _NAME else row.name[: _NAME - 1] + "…"
        text(root, _RIGHT + 18, label + 4, name, colour=colour)


def _apart(ends: dict[str, float]) -> dict[str, float]:
    """Heights for the names, in the order of the lines' ends, without overlaps and inside the drawing."""
    names = sorted(ends, key=lambda name: ends[name])
    heights: list[float] = []
    for name in names:
        heights.append(max(ends[name], heights[-1] + _LABEL) if heights else max(ends[name], _TOP + 6.0))
    floor = _BOTTOM + 0.0
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], floor)
        floor = heights[place] - _LABEL
    return {name: round(height, 1) for name, height in zip(names, heights, strict=True)}
