"""The part of the page about the peers: curves, tables, agreement and commands, from whatever cells were measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.growth import Panel, Point, growth_svg
from benchmarks.pages.table import table
from benchmarks.speed.peer_commands import METHODS, OURS

Cell = Mapping[str, Any]

NOTE = """All tools merge the same checkpoints with the same method and parameters, one BLAS thread each; ours uses one
worker. In each cell the tools ran one after another, once each; the inputs were read beforehand, so that all find the
system's cache in the same state. For mergekit we run its own command `mergekit-yaml`; for FusionBench its public
algorithm classes on its own model pool, in a small script (`benchmarks/speed/fusion_bench_driver.py`) that skips the
composition of configurations by its command line. Its TSV-M and Iso-C are set to average the embedding tables, as we
do. Ours also checks every value, hashes every byte read and written, and publishes the output whole or
not at all.
*Peak memory* is the largest resident size, pages of mapped files included; *of its own* excludes them (sampled twenty
times per second): it is what a machine must have free. A command was stopped after {seconds:g} s, or once it held more
than {memory:.0f} GB of its own; the figure in the table is then a lower bound."""

DIFFERENCE = """*Difference* is the relative Frobenius norm of our merged update minus theirs, for the whole model and
for the worst tensor (where one more or one fewer entry at the threshold of TIES shows). `ties` of FusionBench trims
over the whole model at once, ours and mergekit's tensor by tensor: by definition a different method, and the
difference shows by how much. `dare_ties` drops entries at random, so only the sizes of the updates are compared."""

COLUMNS = (
    "method", "tool", "wall", "times ours", "user CPU", "peak memory", "times ours", "of its own", "difference",
)  # fmt: skip


def peers_section(title: str, folder: Path, page: Path) -> Iterator[str]:
    """Lines of the part; its pictures are written next to the page."""
    cells = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    cells.sort(key=lambda cell: (cell["parameters"], cell["tasks"], METHODS.index(cell["method"])))
    limits = cells[0]["limits"]
    yield f"## {title}\n"
    yield f"{NOTE.format(seconds=limits['seconds'], memory=limits['own_bytes'] / 1e9)}\n"
    yield f"{_circumstances(cells)}\n"
    yield from _pictures(cells, page)
    yield f"{DIFFERENCE}\n"
    for parameters, tasks in dict.fromkeys((cell["parameters"], cell["tasks"]) for cell in cells):
        group = [cell for cell in cells if (cell["parameters"], cell["tasks"]) == (parameters, tasks)]
        yield f"### {_millions(parameters)} parameters ({group[0]['size']} shapes, float32), {tasks} models\n"
        yield from table(
            COLUMNS,
            (row for cell in group for row in _rows(cell)),
        )
    yield "<details><summary>Commands, each method's once</summary>\n\n```"
    shortest = {cell["method"]: cell for cell in sorted(cells, key=lambda cell: -cell["tasks"])}
    for method in (method for method in METHODS if method in shortest):
        cell = shortest[method]
        yield f"# {method}, {_millions(cell['parameters'])}, {cell['tasks']} models"
        for side in cell["sides"].values():
            yield side["command"]
            if "recipe" in side:
                yield f"#   its recipe: {json.dumps(side['recipe'])}"
    yield "```\n\n</details>\n"


def _circumstances(cells: Sequence[Cell]) -> str:
    machine = cells[0]["machine"]
    dates = " and ".join(sorted({cell["date"] for cell in cells}))
    commits = ", ".join(sorted({cell["commit"] for cell in cells}))
    loads = [cell["machine"]["load_before"] for cell in cells]
    ours = ", ".join(f"{name} {number}" for name, number in cells[0]["versions"].items())
    theirs = "; ".join(
        ", ".join(f"{name} {number}" for name, number in versions.items())
        for versions in cells[0]["peer_versions"].values()
    )
    quick = " --quick" if cells[0]["quick"] else ""
    return (
        f"{dates}, commit {commits}, `python -m benchmarks.speed peers{quick}`. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}. "
        f"Ours: {ours}. Peers: {theirs}. "
        f"Load average before a cell: {min(loads):.1f} to {max(loads):.1f} (up to 1: only the benchmark was running)."
    )


def _rows(cell: Cell) -> Iterator[tuple[str, ...]]:
    ours = cell["sides"][OURS]
    for tool, side in cell["sides"].items():
        found = cell["agreement"].get(tool)
        if side["ended"] == "failed":
            yield cell["method"], tool, f"failed: `{side['words']}`", "", "", "", "", "", ""
            continue
        limited = {"time": "over ", "memory": "stopped at "}.get(side["ended"], "")
        memory = {"memory": "over "}.get(side["ended"], "")
        yield (
            cell["method"],
            tool,
            f"{limited}{side['wall_s']:.1f} s",
            _times(side, ours, "wall_s", bound=side["ended"] == "time"),
            f"{side['user_s']:.1f} s",
            f"{memory}{side['peak_bytes'] / 1e9:.2f} GB",
            _times(side, ours, "peak_bytes", bound=side["ended"] == "memory"),
            f"{memory}{side['own_peak_bytes'] / 1e9:.2f} GB",
            "" if found is None else _difference(found),
        )


def _times(side: Cell, ours: Cell, key: str, *, bound: bool) -> str:
    """Theirs over ours; of a stopped command a lower bound where the limit was of this kind, nothing otherwise."""
    if side is ours or ours["ended"] != "done" or (side["ended"] != "done" and not bound):
        return ""
    ratio = side[key] / ours[key]
    return f"{'over ' if bound else ''}{ratio:.0f} x" if ratio >= 20 else f"{'over ' if bound else ''}{ratio:.1f} x"


def _difference(found: Cell) -> str:
    kind = ", sizes only" if found["what"] == "norms" else ""
    return f"{found['whole']:.0e}, worst {found['worst']:.0e}{kind}"


def _pictures(cells: Sequence[Cell], page: Path) -> Iterator[str]:
    # The size with the most numbers of models, and the number of models with the most sizes.
    size = _fullest(cells, "parameters", "tasks")
    tasks = _fullest(cells, "tasks", "parameters")
    drawings = {
        "peers-tasks": (
            [cell for cell in cells if cell["parameters"] == size],
            lambda cell: cell["tasks"],
            str,
            "models",
            f"Seconds and memory of each tool against the number of models, at {_millions(size)} parameters",
        ),
        "peers-sizes": (
            [cell for cell in cells if cell["tasks"] == tasks],
            lambda cell: cell["parameters"],
            _millions,
            "parameters",
            f"Seconds and memory of each tool against the models' size, {tasks} models",
        ),
    }
    for name, (chosen, place, words, across, caption) in drawings.items():
        ticks = {place(cell): words(place(cell)) for cell in chosen}
        if len(ticks) < 2:
            continue
        target = page.parent / "pictures" / f"{name}.svg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(growth_svg(_panels(chosen, place), across, ticks))
        yield f"![{caption}](pictures/{name}.svg)\n\n*{caption}; both axes logarithmic.*\n"


def _fullest(cells: Sequence[Cell], key: str, other: str) -> int:
    """The value of a key beside which another key has the most values, and of such the one with the most cells."""

    def rank(value: int) -> tuple[int, int, int]:
        own = [cell for cell in cells if cell[key] == value]
        return len({cell[other] for cell in own}), len(own), value

    return max({cell[key] for cell in cells}, key=rank)


def _panels(cells: Sequence[Cell], place: Callable[[Cell], float]) -> list[list[Panel]]:
    methods = [method for method in METHODS if sum(cell["method"] == method for cell in cells) > 1]
    rows = []
    for measure, key, unit, limit in (("s", "wall_s", 1, "time"), ("GB", "peak_bytes", 1e9, "memory")):
        panels = []
        for method in methods:
            lines: dict[str, list[Point]] = {}
            for cell in (cell for cell in cells if cell["method"] == method):
                for tool, side in cell["sides"].items():
                    # What was stopped for its memory says nothing of its seconds, nor the other way round.
                    if side["ended"] in ("done", limit):
                        point = Point(place(cell), side[key] / unit, stopped=side["ended"] == limit)
                        lines.setdefault(tool, []).append(point)
            panels.append(Panel(method, measure, lines))
        rows.append(panels)
    return rows


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.0f}M"
