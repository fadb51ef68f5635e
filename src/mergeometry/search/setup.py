"""What a search scores on, checked before a weight is read: the tasks of a tasks file that the merged models have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mergeometry.comparison.entries import Entry
from mergeometry.comparison.read_inputs import TEST, VALIDATION, read_data_of, read_splits
from mergeometry.comparison.setup import Setup, unknown_tasks
from mergeometry.comparison.tasks_file import TasksFile, load_tasks
from mergeometry.encoders.pooling import POOLED_NOTE, with_pooling
from mergeometry.errors import MismatchError, RecipeError
from mergeometry.inputs import UnlabelledData
from mergeometry.plan.plan import Plan
from mergeometry.recipe.scale import ScaleGrid
from mergeometry.recipe.search import SearchSection


def grid_setup(plan: Plan, grid: ScaleGrid) -> Setup:
    """Match a plan, whose scale is 1 where none is fixed, with the validation inputs and the heads of its tasks.

    Raises:
        RecipeError: the tasks file cannot be read, or the base is a stack of layers.
        MismatchError: tasks, heads and inputs do not fit the models; it lists every reason.
    """
    at_one = replace(plan, recipe=plan.recipe.model_copy(update={"scale": 1.0}))
    return _setup(at_one, grid.tasks, load_tasks(grid.tasks), (VALIDATION,))


def section_setup(plan: Plan, section: SearchSection) -> Setup:
    """Match a plan with the validation inputs of its tasks, and with their test inputs where all have some.

    Raises:
        RecipeError: the tasks file cannot be read, or the base is a stack of layers.
        MismatchError: tasks, heads and inputs do not fit the models; it lists every reason.
    """
    start = replace(plan, recipe=plan.recipe.model_copy(update={"search": None}))
    tasks = load_tasks(section.tasks)
    tested = all(task.test is not None for task in tasks.tasks if not task.unseen)
    return _setup(start, section.tasks, tasks, (VALIDATION, TEST) if tested else (VALIDATION,))


def _setup(plan: Plan, tasks_file: str, tasks: TasksFile, scored: Collection[str]) -> Setup:
    """Match a plan with its tasks, and read the inputs of the splits that are scored.

    Raises:
        RecipeError: the tasks file cannot be read, or the base is a stack of layers.
        MismatchError: tasks, heads and inputs do not fit the models; it lists every reason.
    """
    recipe = plan.recipe
    if not isinstance(recipe.base, str):
        raise RecipeError(
            "the base is a stack of layers, and scores come from models that are run from the base's folder",
            hint="write the stack first, with `method: passthrough`, and give its output as the base",
        )
    names = [model.label for model in plan.models]
    problems, notes = list(unknown_tasks(tasks, names)), []
    seen = tuple(task.name for task in tasks.tasks if not task.unseen)
    unscored = [name for name in names if name not in seen]
    if unscored:
        notes.append(f"merged but not scored, since no task has this name: {', '.join(unscored)}")
    if not seen:
        problems.append("every task is unseen, and a search chooses on the validation inputs of seen tasks")
    encoder = with_pooling(tasks.encoder, plan.models, [task.head for task in tasks.tasks])
    if encoder != tasks.encoder:
        notes.append(POOLED_NOTE)
        tasks = tasks.model_copy(update={"encoder": encoder})
    splits, wrong, of_inputs = read_splits(tasks, plan.base, dict.fromkeys(scored, seen))
    problems += wrong
    unlabelled: dict[str, UnlabelledData] = {}
    if recipe.data is not None:
        unlabelled, wrong = read_data_of(recipe.data, recipe.models, plan.base)
        problems += wrong
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise MismatchError(
            f"the tasks in {tasks_file} do not fit the recipe ({count})", problems, hint="no weight was read"
        )
    entry = Entry(recipe.method.name, recipe.method.model_dump(mode="json"))
    return Setup(recipe, tasks, (entry,), (plan,), seen, (), splits, (*notes, *of_inputs), unlabelled)
