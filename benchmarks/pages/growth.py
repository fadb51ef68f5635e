"""Growth curves as one SVG: a panel for each method and measure, a line for each tool, both axes logarithmic."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET  # writes only
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 150, 130
"""Of a panel's drawing, without its texts."""

_LEFT, _TOP, _RIGHT, _BOTTOM, _LEGEND = 44, 22, 10, 34, 26
_COLOURS = ("#2563c9", "#c2410c", "#15803d", "#9333ea")
_FONT = "system-ui, sans-serif"
_TEXT, _GRID = "#374151", "#e5e7eb"


@dataclass(frozen=True)
class Point:
    """A measurement; ``stopped`` at a limit that this is, so that the truth lies above."""

    x: float
    y: float
    stopped: bool = False


@dataclass(frozen=True)
class Panel:
    """A method and what is measured of it: the points of each tool, by the tool's name."""

    title: str
    measure: str
    lines: Mapping[str, Sequence[Point]]


def growth_svg(rows: Sequence[Sequence[Panel]], across: str, ticks: Mapping[float, str]) -> str:
    """Draw rows of panels that share the horizontal axis; in a row they share the vertical one as well.

    Raises:
        ValueError: there is nothing to draw, or a figure is not above zero.
    """
    points = [point for row in rows for panel in row for line in panel.lines.values() for point in line]
    if not points:
        raise ValueError("there is nothing to draw")
    if any(point.x <= 0 or point.y <= 0 for point in points):
        raise ValueError("logarithmic axes have no place for figures that are not above zero")
    names = list(dict.fromkeys(name for row in rows for panel in row for name in panel.lines))
    wide, high = _LEFT + WIDTH + _RIGHT, _TOP + HEIGHT + _BOTTOM
    size = wide * max(map(len, rows)), _LEGEND + high * len(rows)
    picture = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {size[0]} {size[1]}", width=str(size[0]),
        height=str(size[1]), role="img",
    )  # fmt: skip
    ET.SubElement(picture, "title").text = f"Growth with the {across}: {', '.join(names)}"
    ET.SubElement(picture, "rect", width="100%", height="100%", fill="#ffffff")
    for number, name in enumerate(names):
        place = _LEFT + 130 * number
        _mark(picture, number, place, 14, hollow=False)
        _text(picture, place + 10, 18, name, size=12)
    _mark(picture, 0, _LEFT + 130 * len(names), 14, hollow=True, colour=_TEXT)
    _text(picture, _LEFT + 130 * len(names) + 10, 18, "stopped at a limit: more", size=12)
    horizontal = _Axis(min(ticks), max(ticks), WIDTH)
    for down, row in enumerate(rows):
        heights = [point.y for panel in row for line in panel.lines.values() for point in line]
        vertical = _Axis(min(heights), max(heights), HEIGHT)
        for right, panel in enumerate(row):
            group = ET.SubElement(
                picture, "g", transform=f"translate({right * wide + _LEFT} {_LEGEND + down * high + _TOP})"
            )
            _frame(group, panel, horizontal, vertical, across, ticks)
            for name, line in panel.lines.items():
                _line(group, names.index(name), line, horizontal, vertical)
    ET.indent(picture)
    return ET.tostring(picture, encoding="unicode") + "\n"


class _Axis:
    """Figures on a logarithmic axis, with some room at both ends."""

    def __init__(self, low: float, high: float, length: float) -> None:
        room = 0.06 * math.log(high / low) or 0.5
        self._low, self._high, self._length = math.log(low) - room, math.log(high) + room, length

    def place(self, value: float) -> float:
        return round(self._length * (math.log(value) - self._low) / (self._high - self._low), 1)

    def ticks(self) -> Iterator[float]:
        """1, 2 and 5 times the powers of ten; only the powers where there are many."""
        powers = range(math.floor(self._low / math.log(10)), math.ceil(self._high / math.log(10)) + 1)
        found = [part * 10.0**power for power in powers for part in (1, 2, 5)]
        found = [value for value in found if self._low <= math.log(value) <= self._high]
        yield from found if len(found) <= 6 else found[::2] if len(found) <= 9 else found[::3]


def _frame(
    group: ET.Element, panel: Panel, horizontal: _Axis, vertical: _Axis, across: str, ticks: Mapping[float, str]
) -> None:
    for value in vertical.ticks():
        place = HEIGHT - vertical.place(value)
        ET.SubElement(group, "path", d=f"M0 {place:g}H{WIDTH}", stroke=_GRID)
        _text(group, -5, place + 4, f"{value:g}", anchor="end")
    for value, words in ticks.items():
        place = horizontal.place(value)
        ET.SubElement(group, "path", d=f"M{place:g} 0V{HEIGHT}", stroke=_GRID)
        _text(group, place, HEIGHT + 14, words, anchor="middle")
    ET.SubElement(group, "path", d=f"M0 0V{HEIGHT}H{WIDTH}", stroke="#9ca3af", fill="none")
    _text(group, 0, -7, f"{panel.title}, {panel.measure}", size=12)
    _text(group, WIDTH / 2, HEIGHT + 28, across, anchor="middle")


def _line(group: ET.Element, number: int, points: Sequence[Point], horizontal: _Axis, vertical: _Axis) -> None:
    places = [(horizontal.place(point.x), round(HEIGHT - vertical.place(point.y), 1)) for point in points]
    if len(places) > 1:
        drawn = " ".join(f"{x:g},{y:g}" for x, y in places)
        ET.SubElement(group, "polyline", points=drawn, fill="none", stroke=_COLOURS[number], **{"stroke-width": "2"})
    for point, (x, y) in zip(points, places, strict=True):
        _mark(group, number, x, y, hollow=point.stopped)


def _mark(group: ET.Element, number: int, x: float, y: float, *, hollow: bool, colour: str | None = None) -> None:
    """Circle, square, triangle, diamond: told apart without colours too."""
    colour = colour or _COLOURS[number]
    paint = {"stroke": colour, "stroke-width": "2", "fill": "#ffffff" if hollow else colour}
    if number == 0:
        ET.SubElement(group, "circle", cx=f"{x:g}", cy=f"{y:g}", r="3.5", **paint)
        return
    shape = ("M-3.5 -3.5H3.5V3.5H-3.5Z", "M0 -4.5L4 3H-4Z", "M0 -4.5L4.5 0L0 4.5L-4.5 0Z")[number - 1]
    ET.SubElement(group, "path", d=shape, transform=f"translate({x:g} {y:g})", **paint)


def _text(group: ET.Element, x: float, y: float, words: str, *, anchor: str = "start", size: int = 10) -> None:
    given = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor, "font-size": str(size)}
    ET.SubElement(group, "text", {**given, "font-family": _FONT, "fill": _TEXT}).text = words
