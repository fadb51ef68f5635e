"""Growth curves as one SVG: one panel per method and measure, one line per tool, both axes logarithmic."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # writes only
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mergeometry.report.chart import COLOURS, Axis, Tick, frame, line, mark, picture, text, written

WIDTH, HEIGHT = 150, 130
"""Width and height of a panel's drawing, without its texts."""

_LEFT, _TOP, _RIGHT, _BOTTOM, _LEGEND, _ITEM = 44, 22, 16, 44, 26, 120
_STOPPED = "#465266"


@dataclass(frozen=True)
class Point:
    """A measurement; if ``stopped``, it is the limit that was reached, and the true value lies above."""

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
        raise ValueError("logarithmic axes can only show figures above zero")
    names = list(dict.fromkeys(name for row in rows for panel in row for name in panel.lines))
    stopped = any(point.stopped for point in points)
    wide, high = _LEFT + WIDTH + _RIGHT, _TOP + HEIGHT + _BOTTOM
    legend = _LEFT + _ITEM * len(names) + (_ITEM + 30) * stopped
    root = picture(
        max(legend, wide * max(map(len, rows))),
        _LEGEND + high * len(rows),
        f"Growth with the {across}: {', '.join(names)}",
    )
    for number, name in enumerate(names):
        mark(root, (_LEFT + _ITEM * number, 14), COLOURS[number], number)
        text(root, _LEFT + _ITEM * number + 10, 18, name)
    if stopped:
        mark(root, (_LEFT + _ITEM * len(names), 14), _STOPPED, hollow=True)
        text(root, _LEFT + _ITEM * len(names) + 10, 18, "stopped at a limit: more")
    horizontal = Axis(min(ticks), max(ticks), 0, WIDTH, logarithmic=True, room=0.06)
    for down, row in enumerate(rows):
        heights = [point.y for panel in row for line in panel.lines.values() for point in line]
        vertical = Axis(min(heights), max(heights), HEIGHT, 0, logarithmic=True, room=0.06)
        for right, panel in enumerate(row):
            place = f"translate({right * wide + _LEFT} {_LEGEND + down * high + _TOP})"
            group = ET.SubElement(root, "g", transform=place)
            marked = [Tick(value, words) for value, words in ticks.items()]
            frame(group, horizontal, vertical, list(horizontal.spaced(marked, 24)), vertical.ticks(6))
            text(group, 0, -7, f"{panel.title}, {panel.measure}")
            text(group, WIDTH / 2, HEIGHT + 32, across, anchor="middle")
            for name, own in panel.lines.items():
                _draw(group, names.index(name), own, horizontal, vertical)
    return written(root) + "\n"


def _draw(group: ET.Element, number: int, points: Sequence[Point], horizontal: Axis, vertical: Axis) -> None:
    places = [(horizontal.place(point.x), vertical.place(point.y)) for point in points]
    if len(places) > 1:
        line(group, places, COLOURS[number])
    for point, place in zip(points, places, strict=True):
        mark(group, place, COLOURS[number], number, hollow=point.stopped)
