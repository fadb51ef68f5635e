"""Elementwise merges against reading the inputs and writing the output, which every merge has to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.full import counted
from benchmarks.speed.measure import Case, in_turn, merge_command, printed_json, program, relative
from benchmarks.speed.settings import Settings, goal
from benchmarks.speed.small_models import small_models

TITLE = "Elementwise merges: against the reading and writing alone"
METHODS = ("ties", "average", "task_arithmetic")
LIMITS = {"warm": 2.0, "cold": 1.2}
"""Times the reading and writing, start-up aside."""


def run(settings: Settings) -> dict[str, Any]:
    base, models, _ = settings.models()
    files = tuple(folder / "model.safetensors" for folder in (base, *models))
    rows, agreement, times = [], [], []
    starts = {
        (method, workers): _merge(settings, "start-up", method, small_models(settings.work, len(models)), workers)
        for method in settings.methods(*METHODS)
        for workers in settings.workers
    }
    for state in ("warm",) if settings.quick else ("warm", "cold"):
        cold = files if state == "cold" else ()
        # A virtual machine gives idle memory back to its host and takes it again page by page, at a cost of seconds:
        # the plain program before every run, unmeasured, has all of them find memory and cache in one state.
        settle = _raw(settings, 1, files)
        plain = {
            workers: Case(
                f"{state}: read and write, {threads(workers)}", _raw(settings, workers, files), None, cold, settle
            )
            for workers in settings.workers
        }
        merges = {
            (method, workers): _merge(settings, state, method, (base, models), workers, cold, settle)
            for method, workers in starts
        }
        cases = [*plain.values(), *merges.values(), *(starts.values() if state == "warm" else ())]
        in_turn(cases, settings.repeats, settings.work)
        rows += [case.row() for case in cases]
        for (method, workers), case in merges.items():
            least, whole = plain[workers].row()["wall_s"], case.row()["wall_s"]
            aside = (whole - starts[method, workers].row()["wall_s"]) / least
            name = f"{method}, {counted(workers)}, {state} cache"
            times.append({"name": name, "whole": whole / least, "aside": aside, "limit": LIMITS[state]})
    text = "times the reading and writing, start-up aside"
    goals = [goal(f"{one['name']}: {text}", one["aside"], one["limit"], at_least=False) for one in times]
    for method in settings.methods(*METHODS):
        asked = ["--method", method, "--ours", settings.work / f"out-warm-{method}", "--exact", "12", "--base", base]
        found = printed_json(program("agreement", "exact", *asked, "--models", *models))
        agreement.append({"what": f"{method} against its definition in float64", **found["float64"]["ours"]})
    return {"rows": rows, "agreement": agreement, "goals": goals, "times_plain": times}


def _merge(
    settings: Settings,
    what: str,
    method: str,
    models: tuple[Path, list[Path]],
    workers: int,
    cold: tuple[Path, ...] = (),
    settle: Sequence[str] = (),
) -> Case:
    output = settings.work / f"out-{what}-{method}"
    command = merge_command(*models, method, output, workers=workers)
    return Case(
        f"{what}: {method}, {counted(workers)}", command, output, cold, list(settle), sums_processes=workers > 1
    )


def _raw(settings: Settings, workers: int, files: tuple[Path, ...]) -> list[str]:
    target = settings.work / "raw.bin"
    size = files[0].stat().st_size
    names = [relative(file) for file in files]
    return [sys.executable, "benchmarks/speed/raw_io.py", str(workers), relative(target), str(size), *names]


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
