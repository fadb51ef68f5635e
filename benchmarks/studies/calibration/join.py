"""Joins the figures of a board's merges with the scores that were recorded, and keeps both."""

from __future__ import annotations

import json
from statistics import fmean

from benchmarks.speed.machine import circumstances
from benchmarks.studies.calibration.boards import RESULTS, entries_of, recorded, scales_of, setup_of
from benchmarks.studies.calibration.measure import by_task, measure
from mergeometry.inspection.result import Inspection, PairTotals
from mergeometry.inspection.run import inspect_plan

_OF_PAIRS = ("cosine", "conflict", "overlap_left", "overlap_right", "interference")


def measure_board(name: str) -> None:
    """Merge by every row of a board again, measure each task in it, and keep the figures next to the scores."""
    comparison, found = recorded(name), circumstances()
    by_name = {row["name"]: row for row in comparison["rows"]}
    setup = setup_of(name, entries_of(name))
    scales = [list(scales_of(by_name[entry.name])) for entry in setup.entries]
    before = before_merge(inspect_plan(setup.plans[0], workers=1))
    cells, _ = measure(setup, scales)
    rows = []
    for row in by_task(setup, cells, scales):
        own = by_name[row["method"]]
        del row["layers"]
        rows.append({**row, "score": scales_of(own)[row["scale"]][row["task"]]})
    kept = {
        "board": name, **found, "tasks": len(setup.seen), "inputs": comparison["inputs"]["test"],
        "base": comparison["base"], "experts": comparison["experts"], "before": before, "rows": rows,
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def before_merge(inspection: Inspection) -> dict[str, dict[str, float | None]]:
    """Each model's figures before a merge; those of pairs are means over its pairs."""
    found: dict[str, dict[str, float | None]] = {}
    for own in inspection.totals.models:
        pairs = [pair for pair in inspection.totals.pairs if own.label in (pair.one, pair.other)]
        found[own.label] = {
            "norm": own.norm,
            "relative_norm": own.relative_norm,
            "effective_rank": own.effective_rank,
            **{figure: _mean(pairs, figure) for figure in _OF_PAIRS},
        }
    return found


def _mean(pairs: list[PairTotals], figure: str) -> float | None:
    known = [value for pair in pairs if (value := getattr(pair, figure)) is not None]
    return fmean(known) if known else None
