"""Scale curves as one SVG: a line for each method between the base and the experts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison

_WIDTH, _HEIGHT = 860, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 250, 18, 52
_COLOURS = ("#2563c9", "#c2410c", "#15803d", "#9333ea", "#be123c", "#0e7490", "#a16207", "#4b5563")
_DASHES = ("", "7 3", "2 3")
_BELOW = 2.0
"""How far below the base the drawing goes, in heights of the best figure above it."""

_LABEL = 15
"""Pixels from one label to the next at least."""


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    points: str
    colour: str
    dash: str
    best: tuple[float, float]
    end: tuple[float, float]
    label: float
    """Height of the name beside the line's end."""


@dataclass(frozen=True, slots=True)
class _Tick:
    place: float
    text: str


def curves_svg(comparison: Comparison) -> str:
    """Draw validation accuracy (or perplexity, the better the higher) against scale; every name is escaped."""
    values = [value for row in comparison.rows for value in row.validation.values()]
    up = _Up(comparison.measure == "perplexity", values, comparison.base_validation, comparison.experts_validation)
    across = _Across(comparison.scales)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeometry.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("curves.svg.jinja")
    return template.render(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        lines=_lines(comparison, across, up),
        up=up.ticks(),
        across=across.ticks(),
        base=up.place(comparison.base_validation),
        experts=up.place(comparison.experts_validation),
        measure="validation accuracy, %" if comparison.measure == "accuracy" else "validation perplexity",
    )


class _Across:
    """Scales on a logarithmic axis, on which the usual grids are about evenly spaced."""

    def __init__(self, scales: Sequence[float]) -> None:
        self._scales = scales
        self._low, self._high = math.log(min(scales)), math.log(max(scales))

    def place(self, scale: float) -> float:
        wide = _WIDTH - _LEFT - _RIGHT
        if self._high == self._low:
            return _LEFT + wide / 2
        return round(_LEFT + wide * (math.log(scale) - self._low) / (self._high - self._low), 1)

    def ticks(self) -> list[_Tick]:
        """The scales themselves, as many as have room for their numbers."""
        found: list[_Tick] = []
        first = (1.0, min(self._scales), max(self._scales))
        for scale in sorted(self._scales, key=lambda scale: (scale not in first, scale)):
            place = self.place(scale)
            if all(abs(place - other.place) >= 28 for other in found):
                found.append(_Tick(place, f"{scale:g}"))
        return found


class _Up:
    """Figures on the vertical axis: accuracy grows upwards, perplexity (on its logarithm) downwards."""

    def __init__(self, downwards: bool, values: Sequence[float], base: float, experts: float) -> None:
        self._downwards = downwards
        found = [self._number(value) for value in [*values, base, experts]]
        low, high = min(found), max(found)
        # Large scales ruin many merges; drawn whole, their fall would flatten everything that matters.
        low = max(low, self._number(base) - _BELOW * (high - self._number(base)))
        margin = 0.04 * (high - low) or 0.01
        self._low, self._high = low - margin, high + margin

    def inside(self, value: float) -> float:
        """The height of a figure, or that of the lower edge for one that lies below it."""
        return min(self.place(value), _HEIGHT - _BOTTOM)

    def place(self, value: float) -> float:
        high = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + high * (self._high - self._number(value)) / (self._high - self._low), 1)

    def ticks(self) -> list[_Tick]:
        """Five to ten round figures."""
        if self._downwards:
            return self._ticks(math.exp(-self._high), math.exp(-self._low), 1.0)
        return self._ticks(self._low, self._high, 100.0)

    def _ticks(self, low: float, high: float, factor: float) -> list[_Tick]:
        span = (high - low) * factor
        power = 10.0 ** math.floor(math.log10(span))
        step = next(power * part for part in (0.1, 0.2, 0.5, 1, 2) if span / (power * part) <= 10)
        digits = max(0, -math.floor(math.log10(step)))
        first = math.ceil(low * factor / step)
        last = math.floor(high * factor / step)
        return [_Tick(self.place(n * step / factor), f"{n * step:.{digits}f}") for n in range(first, last + 1)]

    def _number(self, value: float) -> float:
        return -math.log(value) if self._downwards else value


def _lines(comparison: Comparison, across: _Across, up: _Up) -> list[_Line]:
    ends = {row.name: up.inside(list(row.validation.values())[-1]) for row in comparison.rows}
    labels = _apart(ends)
    lines = []
    for number, row in enumerate(comparison.rows):
        places = [(across.place(float(scale)), up.place(value)) for scale, value in row.validation.items()]
        best = places[[float(scale) for scale in row.validation].index(row.best_scale)]
        colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]
        points = " ".join(f"{x},{y}" for x, y in places)
        lines.append(_Line(row.name, points, colour, dash, best, (places[-1][0], ends[row.name]), labels[row.name]))
    return lines


def _apart(ends: dict[str, float]) -> dict[str, float]:
    """Heights for the names, in the order of the lines' ends, none on another and none outside."""
    names = sorted(ends, key=lambda name: ends[name])
    heights: list[float] = []
    for name in names:
        heights.append(max(ends[name], heights[-1] + _LABEL) if heights else max(ends[name], _TOP + 6.0))
    floor = _HEIGHT - _BOTTOM + 0.0
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], floor)
        floor = heights[place] - _LABEL
    return {name: round(height, 1) for name, height in zip(names, heights, strict=True)}
