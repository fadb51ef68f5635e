"""The Python calls behind the command line: load a recipe, plan it, merge it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from mergeometry.adapt.train import Report
    from mergeometry.execution.run import Progress
    from mergeometry.plan import Plan
    from mergeometry.sink import RunRecord


def make_plan(recipe: Recipe | str | Path | Mapping[str, Any]) -> Plan:
    """Match all inputs by their headers and say what a merge would read, compute and write.

    Raises:
        MergeometryError: the recipe or an input is not usable; all mismatches are listed at once.
    """
    from mergeometry.plan import build  # noqa: PLC0415  (needs torch)

    return build.make_plan(recipe if isinstance(recipe, Recipe) else load_recipe(recipe))


def merge(
    recipe: Recipe | str | Path | Mapping[str, Any],
    output: str | Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    report: Report | None = None,
) -> RunRecord:
    """Merge the models of a recipe into the folder ``output``, which appears whole or not at all.

    A recipe with an `adapt:` section learns first, on its unlabelled data. ``workers`` is the number of
    processes (by default one a core, or none for small merges); it does not change the result. ``progress`` is
    called with each finished `TensorTask`, ``report`` with each `Point` of learning.

    Raises:
        MergeometryError: something is wrong with the recipe, an input, a value or the output; nothing was published.
    """
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)

    plan = make_plan(recipe)
    if plan.recipe.adapt is None:
        return execute(plan, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress)
    from mergeometry.adapt.run import adapt  # noqa: PLC0415  (needs transformers)

    return adapt(plan, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress, report=report)
