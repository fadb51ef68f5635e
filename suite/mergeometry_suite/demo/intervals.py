"""The leaderboard as one drawing: each method at scale 1 and at its best scale, between the base and the experts."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from mergeometry.report.chart import Axis, frame, interval, mark, picture, text, upright, written
from mergeometry_suite.demo.leaderboard import Difference, Leaderboard
from mergeometry_suite.demo.sentences import points_of

_NAMES, _RIGHT, _TOP, _ROW, _BOTTOM = 118, 26, 44, 34, 44
_AT_ONE, _AT_BEST = "#c2410c", "#2563c9"
_FLOOR = -15.0
"""Points below the base at which the drawing ends; a merge that is ruined has its figure there."""


def intervals_svg(board: Leaderboard, width: int) -> str:
    """Draw points of mean accuracy above the base, with two standard deviations; every name is escaped."""
    assert board.above_base is not None
    bottom = _TOP + _ROW * len(board.rows)
    root = picture(width, bottom + _BOTTOM, "mean accuracy of each merge in points above the base")
    shown = [found for row in board.rows for found in (points_of(row).at_one, points_of(row).at_best)]
    ends = [100 * (found.value + side * found.spread) for found in shown for side in (-2, 2)]
    experts = 100 * board.above_base.value
    across = Axis(max(_FLOOR, min(*ends, 0.0)), max(*ends, experts), _NAMES, width - _RIGHT, room=0.02)
    up = Axis(0.0, 1.0, bottom, _TOP)
    frame(root, across, up, across.ticks(max(4, (width - _NAMES) // 60)), [])
    upright(root, up, across.place(0.0), "base")
    upright(root, up, across.place(experts), "experts")
    text(root, (across.least + across.most) / 2, bottom + 36, "points of mean accuracy above the base", anchor="middle")
    for number, row in enumerate(board.rows):
        middle = _TOP + _ROW * (number + 0.5)
        text(root, _NAMES - 8, middle + 4, row.name, anchor="end")
        _draw(root, across, points_of(row).at_one, middle - 6, _AT_ONE, hollow=True)
        _draw(root, across, points_of(row).at_best, middle + 6, _AT_BEST)
    _legend(root)
    return written(root)


def _draw(root: ET.Element, across: Axis, found: Difference, y: float, colour: str, *, hollow: bool = False) -> None:
    value, reach = 100 * found.value, 200 * found.spread
    if value < _FLOOR:
        text(root, across.least + 4, y + 4, f"← {value:.0f}", colour=colour)
        return
    low = max(across.place(value - reach), across.least)
    interval(root, low, across.place(value + reach), y, colour)
    mark(root, (across.place(value), y), colour, hollow=hollow)


def _legend(root: ET.Element) -> None:
    for x, words, colour, hollow in ((12.0, "scale 1", _AT_ONE, True), (84.0, "validated scale", _AT_BEST, False)):
        mark(root, (x, 14.0), colour, hollow=hollow)
        text(root, x + 9, 18, words)
    text(root, 194, 18, "± two standard deviations")
