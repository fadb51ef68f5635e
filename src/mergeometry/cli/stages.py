"""Merges and plans of several stages, by one file of several recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.cli.recipes import MethodOptions, RecipeOptions
from mergeometry.cli.show import console, plain, wrong_usage

if TYPE_CHECKING:
    from mergeometry.recipe import Recipe
    from mergeometry.recipe.stages import Stage
    from mergeometry.sink import RunRecord


def stages_of(options: RecipeOptions, how: MethodOptions) -> tuple[Stage, ...]:
    """The stages that a file holds; none where it is one recipe."""
    from mergeometry.recipe.stages import is_staged, read_stages

    if options.recipe is None or not is_staged(options.recipe):
        return ()
    given = [(one, field.name) for one in (options, how) for field in fields(one) if field.name != "given"]
    for one, name in given:
        if getattr(one, name) is not None:
            wrong_usage(f"--{name.rstrip('_')} holds for one recipe, and {options.recipe} has several stages")
    return read_stages(options.recipe)


def finished_stages(stages: tuple[Stage, ...], output: Path) -> list[str]:
    """The stages whose results an interrupted run left beside the output."""
    from mergeometry.execution.stages import Places

    places = Places.of(stages, output)
    return [stage.name for stage in stages if stage.name and not places.all_named and places.place(stage.name).is_dir()]


def planned(
    stages: tuple[Stage, ...], output: Path, plan: Callable[[Recipe], dict[str, Any]], *, show: bool
) -> list[dict[str, Any]]:
    """Check the recipes of all stages, and plan those whose models are all there."""
    from mergeometry.execution.stages import Places

    places, found = Places.of(stages, output), []
    for stage in stages:
        recipe = stage.recipe(places.place)
        if show:
            needed = f", planned once {' and '.join(map(repr, stage.needs))} is merged" if stage.needs else ""
            console().print(f"{plain(stage.title)}: by {plain(recipe.method.name)}{plain(needed)}")
        found.append({"stage": stage.name, "needs": stage.needs, **({} if stage.needs else plan(recipe))})
    return found


def merged(
    stages: tuple[Stage, ...], output: Path, merge: Callable[[Recipe, Path], RunRecord], *, resume: bool, quiet: bool
) -> list[RunRecord]:
    """Merge all stages, and say so of each."""
    from mergeometry.execution.stages import merge_stages

    records = []
    for stage, record, earlier in merge_stages(stages, output, merge, resume=resume):
        records.append(record)
        if not quiet:
            done = "was finished by an earlier run" if earlier else f"is merged: {len(record.tensors)} tensors"
            console().print(f"{plain(stage.title)} {done}")
    return records
