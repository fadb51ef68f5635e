"""The curves over inputs as one drawing: the share of the gain that each way to merge keeps."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from benchmarks.studies.few_inputs.points import Point, accuracy, ends_of, name_of, share_kept, way_of
from mergeometry.report.chart import COLOURS, Axis, Tick, frame, level, line, mark, picture, text, written

_WIDTH, _HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 470, 18, 292


def drawn(points: Sequence[Point]) -> str:
    """A line per way to merge, over the number of inputs; dotted, what is merged without any."""
    ends = ends_of(points)
    if ends is None:
        raise ValueError("no point holds the accuracies of base and experts")
    counts = sorted({point["count"] for point in points if point["count"]})
    ways = sorted({way_of(point) for point in points if point["count"]})
    curves = {
        name_of(way): {
            count: share_kept(mean(values), ends)
            for count in counts
            if (values := [accuracy(p) for p in points if way_of(p) == way and p["count"] == count])
        }
        for way in ways
    }
    levels = {point["arm"]: share_kept(accuracy(point), ends) for point in points if not point["count"]}
    shown = [*levels.values(), 100.0, *(share for curve in curves.values() for share in curve.values())]
    across = Axis(min(counts) / 1.3, max(counts) * 1.3, _LEFT, _RIGHT, logarithmic=True)
    up = Axis(min(*shown, 0.0), max(shown), _BOTTOM, _TOP, room=0.05)
    root = picture(_WIDTH, _HEIGHT, "gain kept, %, against unlabelled inputs per task, a line for each method")
    frame(root, across, up, [Tick(count, str(count)) for count in counts], up.ticks())
    text(root, (_LEFT + _RIGHT) / 2, _BOTTOM + 36, "unlabelled inputs per task", anchor="middle")
    text(root, 16, (_TOP + _BOTTOM) / 2, "gain kept, %", anchor="middle", upwards=True)
    for name, share in {**levels, "experts": 100.0}.items():
        level(root, across, up.place(share), f"{name}, no input" if name in levels else name)
    below = _TOP
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.place(count), up.place(share)) for count, share in curve.items()]
        line(root, places, colour)
        for place in places:
            mark(root, place, colour, number)
        below += 20
        mark(root, (_RIGHT + 22, below - 4), colour, number)
        text(root, _RIGHT + 34, below, name, colour=colour)
    return written(root) + "\n"
