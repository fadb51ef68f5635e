"""A merge into one safetensors file, as Stable Diffusion checkpoints are, in place of a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mergeometry.errors import OutputError, RecipeError
from mergeometry.plan.plan import Plan
from mergeometry.sink import is_single_file, lay_out

_LARGEST = 2**62


def written_to(plan: Plan, target: Path) -> Plan:
    """The plan for this output: with one weight file of the output's name where the output is a file, else as it is.

    Raises:
        OutputError: the output is one file, and the base a folder.
        RecipeError: the output is one file, and something has to be kept next to the weights.
    """
    if not is_single_file(target):
        return plan
    outputs = [output for task in plan.tasks for output in task.outputs]
    alone = plan.form is not None and plan.form.layout != "peft"
    if plan.base.path.is_dir() and not alone:
        raise OutputError(
            "the output is one file, and the base is a folder with more than weights",
            file=target,
            hint="give an output without .safetensors at its end: a folder",
        )
    recipe = plan.recipe
    for what, wanted in (
        ("output.adapter", recipe.output.adapter and not alone),
        ("output.residuals", plan.residuals),
        ("heads", plan.heads),
        ("adapt", recipe.adapt),
    ):
        if wanted:
            raise RecipeError(f"{what}: the output is one file, which has no room for it", hint="give a folder")
    return replace(plan, layout=lay_out(outputs, shard_size=_LARGEST, stem=target.stem))
