"""Chooses a scale from a grid: all are tried on the validation inputs, and the best is taken."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergeometry.comparison.dry_run import core_seconds
from mergeometry.comparison.figures import shown, worth
from mergeometry.comparison.read_inputs import VALIDATION
from mergeometry.comparison.result import Measure
from mergeometry.comparison.result_cache import ResultCache
from mergeometry.comparison.scoring import Scored, ScoreJob, settings_of
from mergeometry.comparison.setup import Setup
from mergeometry.recipe.scale import ScaleGrid
from mergeometry.search.jobs import Say, Trial, run_trials


def choose_scale(
    setup: Setup,
    grid: ScaleGrid,
    kept: Path,
    target: Path,
    *,
    say: Say,
    **options: Any,
) -> tuple[float, dict[str, Any]]:
    """The scale with the best mean validation score, among equals the smallest, and what the run record says of it.

    Scores are kept in the folder ``kept``, and merges beside the ``target``; ``options`` are those of `run_trials`.

    Raises:
        MergeometryError: an input changed, a value is not finite, a method fails, or disk or memory are too small.
    """
    started = time.perf_counter()
    cache = ResultCache(setup, kept)
    tried = _Scales(setup, cache, grid.scales)
    base = ScoreJob(cache.base(VALIDATION), settings_of(setup, cache.identity), VALIDATION, setup.seen)
    notes = run_trials(
        setup, cache, tried, target, core_seconds(setup, grid.scales),
        ends=[] if cache.has(base.key) else [base], say=say, **options,
    )  # fmt: skip
    scored = cache.scored(base.key)
    measure: Measure = "accuracy" if scored.weights is None else "perplexity"
    best = max(tried.worth.values())
    equal = [scale for scale in grid.scales if tried.worth[scale] == best]
    return equal[0], {
        "scale": equal[0],
        "equal": equal[1:],
        "measure": measure,
        "validation": {f"{scale:.10g}": shown(measure, tried.worth[scale]) for scale in grid.scales},
        "base": shown(measure, worth(scored.scores, scored.weights, setup.seen)),
        "inputs": setup.counts[VALIDATION],
        "tasks": grid.tasks,
        "tasks_digest": f"sha256:{setup.digest}",
        "notes": [*setup.notes, *notes],
        "seconds": time.perf_counter() - started,
    }


class _Scales:
    """All scales at once; they share one merge."""

    def __init__(self, setup: Setup, cache: ResultCache, scales: Sequence[float]) -> None:
        self._tasks = setup.seen
        self.worth: dict[float, float] = {}
        """Scale to the mean validation score, higher is better."""
        self._left = [
            Trial(cache.point(0, scale, VALIDATION), f"scale {scale:g}", setup.plans[0], scale) for scale in scales
        ]

    def next(self) -> Trial | None:
        return self._left.pop(0) if self._left else None

    def take(self, trial: Trial, scored: Scored) -> None:
        assert trial.scale is not None
        self.worth[trial.scale] = worth(scored.scores, scored.weights, self._tasks)
