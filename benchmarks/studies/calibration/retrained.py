"""How near the experts that were trained again come to those that a board was scored with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from benchmarks.speed.machine import circumstances
from benchmarks.speed.measure import say
from benchmarks.studies.calibration.boards import MODELS, RESULTS, recorded, setup_of
from mergeometry.comparison.read_inputs import TEST
from mergeometry.comparison.scoring import ScoreJob, score, settings_of

RETRAINED = tuple(name for name, (_, full, _) in MODELS.items() if full)
"""Full fine-tunes, which do not ship with the project: boards were scored with others of the same seeds."""
KEPT = RESULTS / "experts.json"


def measure_retrained(name: str) -> None:
    """Score every expert of a board on the board's own test inputs, and keep what that gives next to the board's."""
    setup, found = setup_of(name, ["task_arithmetic"]), circumstances()
    settings, own = settings_of(setup, setup.digest), {}
    for place, task in enumerate(setup.seen):
        own[task] = fmean(score(ScoreJob("", settings, TEST, (task,), expert=place)).scores[task])
        say(f"{name}: {task} {own[task]:.3f}")
    kept = {**read_retrained(), name: {**found, "recorded": recorded(name)["experts"], "again": own}}
    KEPT.write_text(json.dumps({key: kept[key] for key in RETRAINED if key in kept}, indent=1) + "\n", "utf-8")


def read_retrained() -> dict[str, Mapping[str, Any]]:
    """The boards whose experts were scored again."""
    return json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}


def retrained_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """How many points the experts score more than the board's: on average, and in the task that differs most."""
    return "\n".join(["| board | mean difference, points | of the task that differs most |", "| --- | ---: | --- |",
                      *_rows(found)]) + "\n"  # fmt: skip


def _rows(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, own in found.items():
        differences = {task: 100 * (score - own["recorded"][task]) for task, score in own["again"].items()}
        task = max(differences, key=lambda one: abs(differences[one]))
        most = f"{task} {differences[task]:+.1f}" if differences[task] else "none differs"
        yield f"| {name} | {fmean(differences.values()):+.1f} | {most} |"
