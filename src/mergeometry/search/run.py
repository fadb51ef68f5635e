"""From a plan that leaves something open to one that is ready to be merged, with what was tried on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.telling import Tell, untold
from mergeometry.execution.workers import MemoryLimit
from mergeometry.plan.build import make_plan
from mergeometry.plan.tasks import Plan
from mergeometry.recipe.scale import ScaleGrid
from mergeometry.search.jobs import Say
from mergeometry.search.scale_grid import choose_scale
from mergeometry.search.setup import search_setup
from mergeometry.sink import LearningPlace
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
) -> Iterator[Plan]:
    """The plan with the scale that its grid's tasks choose; a plan that leaves nothing open as it is.

    What is known of the search is kept beside the output until the block, in which it is merged, ends without an error;
    ``resume`` continues from it.

    Raises:
        MergeometryError: tasks, heads and inputs do not fit, the output may not be written, or a merge fails.
    """
    grid = plan.recipe.scale
    if not isinstance(grid, ScaleGrid):
        yield plan
        return
    setup, target = search_setup(plan, grid.tasks), resolved_target(output)
    with LearningPlace(
        output, overwrite=overwrite, resume=resume, inputs=plan.inputs, folder_of=search_folder
    ) as place:
        if place.discarded_bytes:
            tell("discarded", {"tensors": 0, "bytes": place.discarded_bytes, "reason": _NOT_RESUMED})
        scale, summary = choose_scale(
            setup, grid, place.folder, target, workers=workers, say=say or _silent, memory_limit=memory_limit,
            executor=executor,
        )  # fmt: skip
        chosen = make_plan(plan.recipe.model_copy(update={"scale": scale}))
        yield replace(chosen, notes=plan.notes, planned_in=plan.planned_in, search=summary)
        place.done()


def _silent(text: str, done: int, total: int) -> None:
    del text, done, total
