"""Directional merges of full fine-tunes against full decompositions, one thread each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.measure import Case, in_turn, merge_command, printed_json, program
from benchmarks.speed.settings import Settings, goal

TITLE = "Full fine-tunes: leading directions against full decompositions"
METHODS = ("dc_merge", "tsv_m", "mda")
GOALS = {"1 worker": 3, "2 workers": 5.5}
"""Times faster than the plain program on one thread."""


def run(settings: Settings) -> dict[str, Any]:
    base, models, _ = settings.models()
    rows, agreement, goals = [], [], []
    for method in settings.methods(*METHODS):
        other = settings.work / "out-theirs"
        outputs = {workers: settings.work / f"out-ours-{workers}" for workers in settings.workers}
        cases = [
            Case(
                f"{method}, mergeometry, {counted(workers)}",
                merge_command(base, models, method, output, workers=workers),
                output,
                sums_processes=workers > 1,
            )
            for workers, output in outputs.items()
        ]
        dense = program("full_svd", "--method", method, "--output", other, "--base", base, *models)
        cases.append(Case(f"{method}, full SVD", dense, other))
        in_turn(cases, settings.slow_repeats, settings.work)
        sides = ["--ours", outputs[1], "--theirs", other]
        # One layer's matrices: float64 decompositions in full take long.
        asked = ["--method", method, *sides, "--exact", "6", "--base", base, "--models", *models]
        found = printed_json(program("agreement", "models", *asked))
        agreement.append({"what": f"{method}, ours against full SVD in float32", **found["between"]})
        for side, words in (("ours", "ours"), ("theirs", "full SVD in float32")):
            agreement.append({"what": f"{method}, {words} against float64", **found["float64"][side]})
        group = [case.row() for case in cases]
        rows += group
        goals += goals_of(method, group)
    return {"rows": rows, "agreement": agreement, "goals": goals}


def goals_of(method: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The goals of a method, whose last row is the plain program's."""
    *ours, theirs = rows
    goals = []
    for row in ours:
        workers = row["name"].rpartition(", ")[2]
        times = theirs["wall_s"] / row["wall_s"]
        goals.append(goal(f"{method}, {workers}: times faster", times, GOALS[workers], at_least=True))
    goals.append(goal(f"{method}: peak memory", ours[0]["peak_bytes"] / 1e9, 1.5, "GB", at_least=False))
    return goals


def counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
