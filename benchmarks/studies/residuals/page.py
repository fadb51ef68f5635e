"""Writes the curve over bytes into docs/residuals.md: a table between its marks, and a picture beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.pages.marks import between
from mergeometry.report.chart import COLOURS, Axis, Tick, frame, level, line, mark, picture, text, written

Point = Mapping[str, Any]

PICTURE = "residuals.svg"
_FORMS = {"full": "full fine-tunes", "adapter": "LoRA adapters"}


def write_page(results: Mapping[str, Any], page: Path, command: str) -> None:
    """Replace the table, and the picture in the folder of the page's pictures."""
    boards = _boards(results["points"])
    (page.parent / "pictures" / PICTURE).write_text(f"{_drawn(boards)}\n", "utf-8")
    lines = ["| experts | figure | " + " | ".join(_heading(size) for size in _sizes(boards)) + " |"]
    lines.append(f"| --- | --- |{' ---: |' * len(_sizes(boards))}")
    for name, points in boards.items():
        for words, figure in (("gain kept, %", gain), ("lost norm kept, %", _norm), ("highest rank", _rank)):
            cells = [figure(points[size]) if size in points else None for size in _sizes(boards)]
            lines.append(f"| {name} | {words} | {' | '.join('' if c is None else f'{c:.0f}' for c in cells)} |")
    test = results["points"][0]["test"]
    lines += [
        "",
        f"![Gain kept against the size of a residual]({f'pictures/{PICTURE}'})",
        "",
        f"Up to {test} test texts per task, one training seed, factors in {results['points'][0]['dtype']}; sizes were "
        f"fixed beforehand. `{command}`, {results['date']}; {results['machine']['cpu']}.",
    ]
    page.write_text(between(page.read_text("utf-8"), "residuals", "\n".join(lines) + "\n", command), "utf-8")


def gain(point: Point) -> float:
    """The share of the experts' gain over the base that is kept, in per cent."""
    base, experts, here = (mean(point[key].values()) for key in ("base", "experts", "accuracies"))
    return 100 * (here - base) / (experts - base)


def _norm(point: Point) -> float:
    """The mean share of the squared norm of what the merge lost that a residual keeps, in per cent."""
    return 100 * mean(one["kept"] for one in point["residuals"].values()) if "residuals" in point else 0.0


def _rank(point: Point) -> float:
    return max((one["rank"] for one in point["residuals"].values()), default=0) if "residuals" in point else 0


def _boards(points: Sequence[Point]) -> dict[str, dict[str, Point]]:
    boards: dict[str, dict[str, Point]] = {}
    for point in sorted(points, key=lambda one: (one["form"] != "full", len(one["accuracies"]))):
        name = f"{len(point['accuracies'])} text tasks, {_FORMS[point['form']]}, `{point['method']}`"
        boards.setdefault(name, {})[point["size"]] = point
    return boards


def _sizes(boards: Mapping[str, Mapping[str, Point]]) -> list[str]:
    return sorted({size for points in boards.values() for size in points}, key=_percent)


def _percent(size: str) -> float:
    return float(size.rstrip("%"))


def _heading(size: str) -> str:
    return "no residual" if size == "0" else size.replace("%", " %")


def _drawn(boards: Mapping[str, Mapping[str, Point]]) -> str:
    """Gain kept, a line per board, against bytes."""
    root = picture(720, 300, "gain kept against the size of a residual, a line for each board")
    sizes = [_percent(size) for size in _sizes(boards)]
    shares = [gain(point) for points in boards.values() for point in points.values()]
    across, up = Axis(min(sizes), max(sizes), 56, 440), Axis(min(shares), max(*shares, 100.0), 250, 16, room=0.06)
    frame(root, across, up, list(across.spaced([Tick(size, f"{size:g}") for size in sizes], 20)), up.ticks(6))
    level(root, across, up.place(100.0), "experts")
    text(root, 248, 288, "size of a residual, % of the merged model", anchor="middle")
    text(root, 16, 133, "gain kept, %", anchor="middle", upwards=True)
    for number, (name, points) in enumerate(boards.items()):
        places = [(across.place(_percent(size)), up.place(gain(points[size]))) for size in sorted(points, key=_percent)]
        line(root, places, COLOURS[number])
        for place in places:
            mark(root, place, COLOURS[number], number)
        text(root, 456, 120 + 20 * number, name.replace("`", ""), colour=COLOURS[number])
    return written(root)
