"""What a search will try and cost, without reading a weight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mergeometry.comparison.dry_run import core_seconds, peak_memory
from mergeometry.comparison.merging import merge_jobs
from mergeometry.comparison.read_inputs import VALIDATION
from mergeometry.comparison.setup import Setup
from mergeometry.plan.plan import Plan
from mergeometry.recipe.scale import ScaleGrid, ScaleRule
from mergeometry.recipe.search import SearchSection
from mergeometry.search.setup import grid_setup, section_setup
from mergeometry.search.space import Space
from mergeometry.search.study import require_optuna


def dry_run(plan: Plan, workers: int) -> dict[str, Any]:
    """Check the tasks, and estimate scratch space, memory and rough seconds.

    Raises:
        RecipeError: the tasks file cannot be read, Optuna is missing, or a search has no number to start from.
        MismatchError: tasks, heads and inputs do not fit the models; it lists every reason.
    """
    section, scale = plan.recipe.search, plan.recipe.scale
    if section is not None:
        require_optuna()
        if isinstance(scale, ScaleRule):  # its number is known once the weights are read
            plan = _at_one(plan)
        setup = section_setup(plan, section)
        found = _of_trials(setup, section, workers)
    else:
        assert isinstance(scale, ScaleGrid)
        setup = grid_setup(plan, scale)
        found = {"scales": list(scale.scales), "seconds": core_seconds(setup, scale.scales) / workers}
    return {
        **found,
        "inputs": setup.counts[VALIDATION],
        "notes": list(setup.notes),
        "scratch_bytes": sum(merge_jobs(setup.plans, Path("scratch"))[1].values()),
        "memory_bytes": peak_memory(setup, workers),
    }


def _of_trials(setup: Setup, section: SearchSection, workers: int) -> dict[str, Any]:
    """The parameters, and the trials that the budget is expected to allow."""
    each = core_seconds(setup, [1.0]) / workers
    allowed = max(1, int(60 * section.minutes / max(each, 1e-3))) if section.minutes is not None else None
    expected = min(one for one in (section.trials, allowed) if one is not None)
    names = [one.name for one in Space(setup.plans[0], section).parameters]
    return {"parameters": names, "trials": expected, "seconds": expected * each}


def _at_one(plan: Plan) -> Plan:
    return replace(plan, recipe=plan.recipe.model_copy(update={"scale": 1.0}))
