"""A merge of a recipe file with several stages, from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from mergeometry.errors import RecipeError

if TYPE_CHECKING:
    from mergeometry.recipe import Recipe
    from mergeometry.results import Run
    from mergeometry.sources.access import Access


def holds_stages(recipe: object) -> TypeGuard[str | Path]:
    """Whether a recipe is a file that holds several, or one with a name.

    Raises:
        RecipeError: the file cannot be read.
    """
    from mergeometry.recipe.stages import is_staged  # noqa: PLC0415

    return isinstance(recipe, str | Path) and is_staged(Path(recipe))


def merge_in_stages(
    file: Path,
    output: Path,
    keys: Mapping[str, Any],
    access: Access,
    merge: Callable[[Recipe, Path], Run],
    *,
    overwrite: bool,
    resume: bool,
) -> Run:
    """Merge every stage once those that it needs are there, and return the run of the last.

    Raises:
        RecipeError: the file is not usable, or ``keys`` would change one of several recipes.
        MergeometryError: what a merge raises; finished stages are kept, and ``resume`` takes them.
    """
    from mergeometry.execution.stages import Places, check_stages, merge_stages  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.recipe.stages import read_stages  # noqa: PLC0415
    from mergeometry.results import Run  # noqa: PLC0415
    from mergeometry.sink.replaceable import refuse_taken  # noqa: PLC0415
    from mergeometry.sink.target import resolved_target  # noqa: PLC0415

    if keys:
        raise RecipeError(
            f"`{next(iter(keys))}` holds for one recipe, and the file has several stages",
            file=file,
            hint="write it into the stage that it is for",
        )
    stages = read_stages(file)
    if any(stage.name is None for stage in stages):
        refuse_taken(resolved_target(output), overwrite=overwrite, inputs=[])
    check_stages(stages, output, lambda recipe: prepared_plan(recipe, access, weights=False))
    last = None
    for stage, record, _ in merge_stages(stages, output, merge, resume=resume):
        last = record if isinstance(record, Run) else Run.of(record, Places.of(stages, output).target(stage))
    assert last is not None
    return last
