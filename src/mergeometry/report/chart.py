"""The parts of every chart: axes with round ticks, a grid, lines and marks, and names that are always escaped."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COLOURS = ("#2563c9", "#c2410c", "#15803d", "#9333ea", "#be123c", "#0e7490", "#a16207", "#4b5563")
DASHES = ("", "7 3", "2 3")
_TEXT, _GRID, _AXIS, _PAPER = "#465266", "#e3e8ef", "#9ca3af", "#ffffff"
_ROUNDING = 1e-9
"""How far a tick at the end of an axis may lie outside it."""

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis, with its label."""

    value: float
    text: str


class Axis:
    """Values along one side of a chart: ``low`` at the pixel ``start``, ``high`` at ``end``, in either direction.

    ``room`` is the share of the range that is left free at both ends.
    """

    def __init__(
        self, low: float, high: float, start: float, end: float, *, logarithmic: bool = False, room: float = 0.0
    ) -> None:
        self._start, self._end, self._logarithmic = start, end, logarithmic
        self.least, self.most = min(start, end), max(start, end)
        first, last = self._number(low), self._number(high)
        # A single value lies in the middle.
        free = room * (last - first) or (0.0 if last > first else 0.5)
        self._low, self._high = first - free, last + free

    def place(self, value: float) -> float:
        """The pixel of a value, outside the chart if the value is out of range."""
        share = (self._number(value) - self._low) / (self._high - self._low)
        return round(self._start + (self._end - self._start) * share, 1)

    def ticks(self, most: int = 10) -> list[Tick]:
        """At most ``most`` round values: evenly spaced, or 1, 2 and 5 times the powers of ten over a wide range."""
        low, high = self._figure(self._low), self._figure(self._high)
        if self._logarithmic and high >= 10 * low:
            return [Tick(value, f"{value:g}") for value in _decades(low, high, most)]
        power = 10.0 ** math.floor(math.log10(high - low))
        step = next(power * part for part in (0.1, 0.2, 0.5, 1, 2, 5, 10) if (high - low) / (power * part) <= most)
        digits = max(0, -math.floor(math.log10(step)))
        counts = range(math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING) + 1)
        return [Tick(count * step, f"{count * step:.{digits}f}") for count in counts]

    def spaced(self, ticks: Sequence[Tick], apart: float) -> Iterator[Tick]:
        """The ticks that have room for their labels, where earlier ones take precedence."""
        taken: list[float] = []
        for tick in ticks:
            place = self.place(tick.value)
            if all(abs(place - other) >= apart for other in taken):
                taken.append(place)
                yield tick

    def _number(self, value: float) -> float:
        return math.log(value) if self._logarithmic else value

    def _figure(self, number: float) -> float:
        return math.exp(number) if self._logarithmic else number


def _decades(low: float, high: float, most: int) -> list[float]:
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    low, high = low * (1 - _ROUNDING), high * (1 + _ROUNDING)
    for parts in ((1, 2, 5), (1,)):
        values = [part * power for power in powers for part in parts if low <= part * power <= high]
        if len(values) <= most:
            return values
    return values[:: math.ceil(len(values) / most)]


def picture(width: float, height: float, title: str) -> ET.Element:
    """An empty picture on white paper; ``title`` describes what it shows."""
    root = ET.Element(
        "svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}",
        "height": f"{height:g}", "role": "img", "aria-label": _plain(title), "font-family": "system-ui, sans-serif",
        "font-size": "12", "fill": _TEXT},
    )  # fmt: skip
    ET.SubElement(root, "rect", width="100%", height="100%", fill=_PAPER)
    return root


def written(root: ET.Element) -> str:
    """The picture as XML, which can be a file or part of an HTML page."""
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode")


def frame(parent: ET.Element, across: Axis, up: Axis, across_ticks: Sequence[Tick], up_ticks: Sequence[Tick]) -> None:
    """The two axes with their ticks, each with a line through the chart."""
    for tick in up_ticks:
        y = up.place(tick.value)
        ET.SubElement(parent, "path", d=f"M{across.least:g} {y:g}H{across.most:g}", stroke=_GRID)
        text(parent, across.least - 6, y + 4, tick.text, anchor="end")
    for tick in across_ticks:
        x = across.place(tick.value)
        ET.SubElement(parent, "path", d=f"M{x:g} {up.most:g}V{up.least:g}", stroke=_GRID)
        text(parent, x, up.most + 16, tick.text, anchor="middle")
    axes = f"M{across.least:g} {up.least:g}V{up.most:g}H{across.most:g}"
    ET.SubElement(parent, "path", d=axes, stroke=_AXIS, fill="none")


def line(parent: ET.Element, places: Sequence[Place], colour: str, dash: str = "") -> None:
    """A line from place to place."""
    drawn = {"points": " ".join(f"{x:g},{y:g}" for x, y in places), "fill": "none", "stroke": colour}
    ET.SubElement(parent, "polyline", {**drawn, "stroke-width": "1.8", **({"stroke-dasharray": dash} if dash else {})})


def level(parent: ET.Element, across: Axis, y: float, words: str) -> None:
    """A dotted line through the whole chart at one height, with its name."""
    dots = {"stroke": "#6b7688", "stroke-width": "1.6", "stroke-dasharray": "1 4", "stroke-linecap": "round"}
    ET.SubElement(parent, "path", {"d": f"M{across.least:g} {y:g}H{across.most:g}", **dots})
    text(parent, across.least + 4, y - 5, words)


def upright(parent: ET.Element, up: Axis, x: float, words: str) -> None:
    """A dotted line from the top of the chart to its bottom, with its name above it."""
    dots = {"stroke": "#6b7688", "stroke-width": "1.6", "stroke-dasharray": "1 4", "stroke-linecap": "round"}
    ET.SubElement(parent, "path", {"d": f"M{x:g} {up.least:g}V{up.most:g}", **dots})
    text(parent, x, up.least - 5, words, anchor="middle")


def interval(parent: ET.Element, low: float, high: float, y: float, colour: str) -> None:
    """A line with a stop at each end, from ``low`` to ``high``: how far a figure may lie from its mark."""
    ends = f"M{low:g} {y:g}H{high:g}M{low:g} {y - 3:g}V{y + 3:g}M{high:g} {y - 3:g}V{y + 3:g}"
    ET.SubElement(parent, "path", {"d": ends, "stroke": colour, "stroke-width": "1.4", "fill": "none"})


def mark(parent: ET.Element, place: Place, colour: str, shape: int = 0, *, hollow: bool = False) -> None:
    """A circle, square, triangle or diamond, so that marks differ without colours too."""
    x, y = place
    paint = {"stroke": colour, "stroke-width": "2", "fill": _PAPER if hollow else colour}
    if shape % 4 == 0:
        ET.SubElement(parent, "circle", {"cx": f"{x:g}", "cy": f"{y:g}", "r": "3", **paint})
        return
    path = ("M-3 -3H3V3H-3Z", "M0 -4L3.5 2.5H-3.5Z", "M0 -4L4 0L0 4L-4 0Z")[shape % 4 - 1]
    ET.SubElement(parent, "path", {"d": path, "transform": f"translate({x:g} {y:g})", **paint})


def text(
    parent: ET.Element, x: float, y: float, words: str, *, anchor: str = "", colour: str = "", upwards: bool = False
) -> None:
    """Words at a place, read from left to right or ``upwards``."""
    given = {"transform": f"translate({x:g} {y:g}) rotate(-90)"} if upwards else {"x": f"{x:g}", "y": f"{y:g}"}
    given |= {"text-anchor": anchor} if anchor else {}
    given |= {"fill": colour} if colour else {}
    ET.SubElement(parent, "text", given).text = _plain(words)


def _plain(words: str) -> str:
    """Words without the characters that XML cannot hold."""
    return "".join(letter if letter.isprintable() else " " for letter in words)
