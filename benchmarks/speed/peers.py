"""mergekit and FusionBench on the same checkpoints, the same work, in turn with ours, as models and tasks grow.

``python -m benchmarks.speed.environments`` makes the peers' environments first. A cell of the grid (a size, a number of
models, a method) is measured by all tools that have the method and kept as a JSON file of its own; a run that is
interrupted goes on where it was, and a run that finds the whole grid measured begins again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.environments import FUSION_BENCH, MERGEKIT
from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import (
    ONE_THREAD,
    ROOT,
    Case,
    CommandFailedError,
    Limits,
    printed_json,
    program,
    remove,
    run_once,
    say,
    shown,
)
from benchmarks.speed.peer_commands import METHODS, OURS, command, recipe_file, tools
from benchmarks.speed.settings import Settings
from benchmarks.speed.sizes import BERT_LARGE, MINILM, VIT_B, Size

TITLE = "Peers: mergekit and FusionBench on the same checkpoints"

MEMORY = 20 * 10**9
"""Bytes of its own at which a command is stopped (or 85 % of the machine's memory, if that is less)."""

SECONDS = 300
"""Wall seconds at which a command is stopped."""


@dataclass(frozen=True)
class Cell:
    """One line of the grid."""

    size: Size
    tasks: int
    method: str

    @property
    def name(self) -> str:
        return f"{self.size.name}-T{self.tasks}-{self.method}"


GRID = (
    *(Cell(MINILM, 8, method) for method in METHODS),
    *(Cell(VIT_B, 8, method) for method in METHODS),
    *(Cell(size, tasks, method) for size in (MINILM, VIT_B) for tasks in (2, 20) for method in ("average", "iso_c")),
    *(Cell(BERT_LARGE, tasks, method) for tasks in (2, 8) for method in ("average", "iso_c")),
    Cell(BERT_LARGE, 20, "average"),
)
"""Three sizes by three numbers of models, by one method that only reads and adds and one that decomposes (but not
twenty of the largest); two sizes at eight models by all methods: what less than an hour on two cores has room for."""

QUICK = tuple(Cell(MINILM, 2, method) for method in METHODS)


def run(settings: Settings) -> None:
    """Measure the cells that are not measured yet."""
    grid = QUICK if settings.quick else GRID
    folder = settings.results / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    versions = {environment.package: environment.versions() for environment in (MERGEKIT, FUSION_BENCH)}
    left = [cell for cell in grid if not (folder / f"{cell.name}.json").exists()]
    if not left:
        say("  the whole grid is measured: starting again")
        left = list(grid)
        for cell in grid:
            (folder / f"{cell.name}.json").unlink()
    work = settings.work / "peers"
    for size in dict.fromkeys(cell.size for cell in left):
        cells = [cell for cell in left if cell.size == size]
        try:
            models = made(size, max(cell.tasks for cell in cells), work)
            for cell in cells:
                say(f"  {cell.name}")
                found = {"quick": settings.quick, "peer_versions": versions, **circumstances()}
                found |= measured(cell, models, work)
                whole = folder / f"{cell.name}.json.unfinished"
                whole.write_text(json.dumps(found, indent=1) + "\n")
                whole.rename(folder / f"{cell.name}.json")
        finally:
            # Gigabytes; the models can be written again from their seeds.
            remove(work)


def measured(cell: Cell, models: Sequence[Path], work: Path) -> dict[str, Any]:
    """Run the tools one after another on a cell, and compare their results with ours."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = Limits(SECONDS, min(MEMORY, int(0.85 * physical)))
    cases = [command(tool, cell.method, models[: cell.tasks + 1], work, limits) for tool in tools(cell.method)]
    _read(models[: cell.tasks + 1])
    sides: dict[str, dict[str, Any]] = {
        case.name: {"command": shown(case.command), **_run(case, work)} for case in cases
    }
    if "mergekit" in sides:
        sides["mergekit"]["recipe"] = json.loads(recipe_file(cell.method, work).read_text())
    finished = [case for case in cases if sides[case.name]["ended"] == "done"]
    agreement = {}
    if cases[0] in finished:
        agreement = {case.name: _agreement(cell, models[0], cases[0], case) for case in finished[1:]}
    for case in cases:
        if case.output is not None:
            remove(case.output)
    return {
        "size": cell.size.name,
        "parameters": cell.size.parameters,
        "tasks": cell.tasks,
        "method": cell.method,
        "limits": {"seconds": limits.seconds, "own_bytes": limits.own_bytes},
        "sides": sides,
        "agreement": agreement,
    }


def made(size: Size, tasks: int, work: Path) -> list[Path]:
    """The base and its fine-tunes, by two processes; what is there already stays.

    Raises:
        OSError: the disk has no room for them and for three outputs.
    """
    folder = work / size.name.lower()
    folder.mkdir(parents=True, exist_ok=True)
    parts = ["base", *(str(task) for task in range(tasks))]
    needed = 4 * size.parameters * (len(parts) + 4)
    if shutil.disk_usage(folder).free < needed:
        raise OSError(f"{tasks} models of {size.name} need {needed / 1e9:.0f} GB of free disk")
    say(f"  writing {tasks} models of the size {size.name}")
    writers = [
        subprocess.Popen(program("synthetic", size.name, folder, *share), cwd=ROOT, env={**os.environ, **ONE_THREAD})
        for share in (parts[::2], parts[1::2])
    ]
    if {writer.wait() for writer in writers} != {0}:
        raise CommandFailedError(f"the models of the size {size.name} could not be written")
    return [folder / (part if part == "base" else f"task{part}") for part in parts]


def _run(case: Case, work: Path) -> dict[str, Any]:
    """One run; a failure of a peer is a result, a failure of ours is an error."""
    # Earlier unwritten pages are not part of it: only we wait until our output is on the disk.
    os.sync()
    try:
        run = run_once(case, work)
    except CommandFailedError as error:
        if case.name == OURS:
            raise
        words = str(error).strip().splitlines()[-1]
        say(f"    {case.name} failed: {words}")
        return {"ended": "failed", "words": words}
    say(f"    {case.name}: {run['wall_s']:.2f} s, {run['peak_bytes'] / 1e9:.2f} GB, {run['ended']}")
    return run


def _agreement(cell: Cell, base: Path, ours: Case, theirs: Case) -> dict[str, Any]:
    # Random draws agree in size, never entry by entry.
    what = "norms" if cell.method == "dare_ties" else "models"
    assert ours.output is not None
    assert theirs.output is not None
    asked = [what, "--ours", ours.output, "--theirs", theirs.output, "--base", base]
    return {"what": what, **printed_json(program("agreement", *asked))["between"]}


def _read(models: Sequence[Path]) -> None:
    """Read every input once, so that all tools find the system's cache in one state, as far as memory reaches."""
    for model in models:
        with (model / "model.safetensors").open("rb", buffering=0) as file:
            while file.read(2**24):
                pass
