"""From a plan that leaves something open to one that is ready to be merged, with what was tried on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError
from mergeometry.execution.directions_folder import DirectionsFolder, kept_in, refuse_unusable
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.global_scale import with_global_scale
from mergeometry.execution.leftovers import MERGES
from mergeometry.execution.telling import Tell, untold
from mergeometry.execution.workers import MemoryLimit, workers_for
from mergeometry.plan.build import make_plan
from mergeometry.plan.plan import Plan
from mergeometry.recipe.scale import ScaleGrid, ScaleRule
from mergeometry.search.jobs import Say
from mergeometry.search.scale_grid import choose_scale
from mergeometry.search.setup import grid_setup, section_setup
from mergeometry.search.space import Space
from mergeometry.search.study import require_optuna
from mergeometry.search.trials import search
from mergeometry.sink import StateFolder
from mergeometry.sink.target import resolved_target, search_folder

_NOT_RESUMED = "the search starts over without --resume"


@contextmanager
def searched(
    plan: Plan,
    output: str | Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    say: Say | None = None,
    memory_limit: MemoryLimit = None,
    tell: Tell = untold,
    executor: Executor = LOCAL,
    directions: DirectionsFolder | None = None,
) -> Iterator[Plan]:
    """The plan that the best of all that the recipe leaves open leads to.

    What is known of the search is kept beside the output until the block, in which it is merged, ends without an error;
    ``resume`` continues from it.

    Raises:
        RecipeError: Optuna is missing, something has no number to start from, or the budget is too small.
        MergeometryError: tasks, heads and inputs do not fit, the output may not be written, or a merge fails.
    """
    recipe = plan.recipe
    refuse_unusable(directions, plan, output)
    if recipe.search is not None:
        require_optuna()
        plan = _with_one_scale(plan, workers, memory_limit, executor, directions)
        setup = replace(section_setup(plan, recipe.search), directions=directions)
        Space(setup.plans[0], recipe.search)  # what has no number to start from is refused before anything is written
    else:
        assert isinstance(recipe.scale, ScaleGrid)
        setup = replace(grid_setup(plan, recipe.scale), directions=directions)
    target = resolved_target(output)
    with StateFolder(output, search_folder, overwrite=overwrite, resume=resume, inputs=plan.inputs) as place:
        if place.discarded_bytes:
            tell("discarded", {"tensors": 0, "bytes": place.discarded_bytes, "reason": _NOT_RESUMED})
        options: dict[str, Any] = {"prefix": MERGES.format(name=target.name), "workers": workers}
        options |= {"say": say or _silent, "memory_limit": memory_limit, "executor": executor}
        if recipe.search is not None:
            found = search(setup, recipe.search, place.folder, target, **options)
            chosen, summary = found.recipe, found.summary
        else:
            assert isinstance(recipe.scale, ScaleGrid)
            scale, summary = choose_scale(setup, recipe.scale, place.folder, target, **options)
            chosen = recipe.model_copy(update={"scale": scale})
        yield replace(make_plan(chosen), notes=plan.notes, planned_in=plan.planned_in, search=summary)
        place.done()


def _with_one_scale(
    plan: Plan, workers: int | None, memory_limit: MemoryLimit, executor: Executor, directions: DirectionsFolder | None
) -> Plan:
    """The plan with the number that its rule gives, where it has a rule: a search starts from numbers.

    Raises:
        RecipeError: the rule gives each tensor a scale of its own.
    """
    rule = plan.recipe.scale
    if not isinstance(rule, ScaleRule):
        return plan
    if rule.per != "model":
        raise RecipeError(
            f"search: the scale is a rule per {rule.per}, from which a search cannot start",
            hint="give a number, `auto`, or a rule per model",
        )
    kept = kept_in(directions, plan.ordered())
    count = workers_for(plan, workers, memory_limit, executor)
    scaled = with_global_scale(plan, count, executor=executor, directions=kept)
    scale = next((task.scale for task in scaled.tasks if task.scaling is not None), 1.0)
    made = make_plan(plan.recipe.model_copy(update={"scale": scale}))
    return replace(made, notes=scaled.notes, planned_in=plan.planned_in)


def _silent(text: str, done: int, total: int) -> None:
    del text, done, total
