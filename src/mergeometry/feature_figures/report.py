"""From tasks as a user gives them to the figures of a plan, or of the output of a merge."""

from __future__ import annotations

from pathlib import Path

from mergeometry.execution.workers import MemoryLimit
from mergeometry.feature_figures.run import LIMIT, Progress, figures_before_merge, figures_of_merge
from mergeometry.feature_figures.tasks_file import Given, load_figure_tasks
from mergeometry.inspection.after import recipe_of_merge
from mergeometry.inspection.on_inputs import OnInputs
from mergeometry.plan.plan import Plan


def figures_of_output(
    output: Path, data: Given, *, limit: int = LIMIT, memory_limit: MemoryLimit = None, progress: Progress | None = None
) -> OnInputs:
    """The figures of the merge in a folder, on the tasks of a file, a mapping or its own "recipe".

    Raises:
        MergeometryError: the tasks are not usable, or a model is gone or cannot be run.
    """
    tasks = load_figure_tasks(data, recipe_of_merge(output))
    return figures_of_merge(output, tasks, limit=limit, memory_limit=memory_limit, progress=progress)


def figures_of_plan(
    plan: Plan, data: Given, *, limit: int = LIMIT, memory_limit: MemoryLimit = None, progress: Progress | None = None
) -> OnInputs:
    """The figures of base and experts before a merge, on the tasks of a file, a mapping or the plan's own "recipe".

    Raises:
        MergeometryError: the tasks are not usable, or a model cannot be run.
    """
    tasks = load_figure_tasks(data, plan.recipe.canonical())
    return figures_before_merge(plan, tasks, limit=limit, memory_limit=memory_limit, progress=progress)
