"""What a search will try and cost, without reading a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mergeometry.comparison.dry_run import core_seconds, peak_memory
from mergeometry.comparison.merging import merge_jobs
from mergeometry.comparison.setup import VALIDATION
from mergeometry.plan.tasks import Plan
from mergeometry.recipe.scale import ScaleGrid
from mergeometry.search.setup import search_setup


def dry_run(plan: Plan, grid: ScaleGrid, workers: int) -> dict[str, Any]:
    """Check the tasks, and estimate scratch space, memory and rough seconds.

    Raises:
        RecipeError: the tasks file cannot be read.
        MismatchError: tasks, heads and inputs do not fit the models; it lists every reason.
    """
    setup = search_setup(plan, grid.tasks)
    return {
        "scales": list(grid.scales),
        "inputs": setup.counts[VALIDATION],
        "notes": list(setup.notes),
        "scratch_bytes": sum(merge_jobs(setup.plans, Path("scratch"))[1].values()),
        "memory_bytes": peak_memory(setup, workers),
        "seconds": core_seconds(setup, grid.scales) / workers,
    }
