"""Elementwise merges against reading the inputs and writing the output, which every merge has to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.speed.full import counted
from benchmarks.speed.measure import Case, in_turn, merge_command, printed_json, program, relative
from benchmarks.speed.settings import Settings, goal

TITLE = "Elementwise merges: against the reading and writing alone"
METHODS = ("ties", "average", "task_arithmetic")


def run(settings: Settings) -> dict[str, Any]:
    base, models, _ = settings.models()
    files = tuple(folder / "model.safetensors" for folder in (base, *models))
    rows, agreement, goals = [], [], []
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
            (method, workers): Case(
                f"{state}: {method}, {counted(workers)}",
                merge_command(base, models, method, settings.work / f"out-{method}", workers=workers),
                settings.work / f"out-{method}",
                cold,
                settle,
                sums_processes=workers > 1,
            )
            for method in settings.methods(*METHODS)
            for workers in settings.workers
        }
        cases = [*plain.values(), *merges.values()]
        in_turn(cases, settings.repeats, settings.work)
        rows += [case.row() for case in cases]
        for (method, workers), case in merges.items():
            times = case.row()["wall_s"] / plain[workers].row()["wall_s"]
            text = f"{method}, {counted(workers)}, {state} cache: times the reading and writing"
            goals.append(goal(text, times, 2, at_least=False))
    for method in settings.methods(*METHODS):
        asked = ["--method", method, "--ours", settings.work / f"out-{method}", "--exact", "12", "--base", base]
        found = printed_json(program("agreement", "exact", *asked, "--models", *models))
        agreement.append({"what": f"{method} against its definition in float64", **found["float64"]["ours"]})
    return {"rows": rows, "agreement": agreement, "goals": goals}


def _raw(settings: Settings, workers: int, files: tuple[Path, ...]) -> list[str]:
    target = settings.work / "raw.bin"
    size = files[0].stat().st_size
    names = [relative(file) for file in files]
    return [sys.executable, "benchmarks/speed/raw_io.py", str(workers), relative(target), str(size), *names]


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
