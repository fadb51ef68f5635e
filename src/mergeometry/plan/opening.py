"""Opens what a recipe names: checkpoints, adapters, and stacks of layers of several checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from mergeometry.errors import RecipeError, SourceError
from mergeometry.plan.inputs import open_input
from mergeometry.recipe import ModelEntry, Recipe
from mergeometry.recipe.stack import LayerRange
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.files import naming_model
from mergeometry.sources.layer_stack import assemble
from mergeometry.sources.lora_file import open_lora_file
from mergeometry.sources.lora_resolution import resolved
from mergeometry.sources.stacked import StackedLayers

if TYPE_CHECKING:
    from mergeometry.plan.plan import Plan

Planning: TypeAlias = "Callable[[Recipe], Plan]"
"""Plans a merge; `make_plan`, which opens models itself."""
Opens: TypeAlias = Callable[[str, str], Checkpoint | Adapter]
"""Opens the model at a path under a label."""


def open_base(recipe: Recipe, plan: Planning) -> Checkpoint:
    """Open a recipe's base; ``plan`` plans the merge of an adapter into its model.

    Raises:
        SourceError: it cannot be read, or is an adapter.
    """
    opens = _opens(recipe, plan)
    if not isinstance(recipe.base, str):
        return _open_stack(recipe.base.stack, "base", opens)
    opened = opens(recipe.base, "base")
    if isinstance(opened, Adapter):
        raise SourceError("the base is an adapter", file=opened.path, hint="give the full model it was trained on")
    return opened


def open_models(recipe: Recipe, base: Checkpoint, plan: Planning) -> tuple[tuple[Checkpoint | Adapter, ...], list[str]]:
    """Open a recipe's models, LoRA files by the names of the base's modules, and say what those hold for others.

    Raises:
        SourceError: a model cannot be read.
        MismatchError: a LoRA file, or the adapter of a `model+adapter`, does not fit.
    """
    models: list[Checkpoint | Adapter] = []
    notes: list[str] = []
    for entry in recipe.models:
        file = None if entry.stack else open_lora_file(entry.path, entry.name)
        if file is None:
            models.append(_open_entry(entry, _opens(recipe, plan)))
            continue
        with naming_model(entry.name):
            adapter, remarks = resolved(file, base)
        models.append(adapter)
        notes += remarks
    return tuple(models), notes


def refuse_stacked(recipe: Recipe, base: Checkpoint) -> None:
    """Refuse what needs the base in a folder of its own, where it is a stack.

    Raises:
        RecipeError: the recipe runs the base, or writes an adapter for it.
    """
    if base.stack is None:
        return
    hint = "write the stack first, with `method: passthrough`, and give its output as the base"
    for key, wanted in (("adapt", recipe.adapt), ("data", recipe.data)):
        if wanted is not None:
            raise RecipeError(f"{key}: the base is a stack of layers, which has no folder to be run from", hint=hint)
    if recipe.output.adapter:
        raise RecipeError("output.adapter: the base is a stack of layers, which no adapter can name", hint=hint)
    if recipe.output.residuals is not None:
        raise RecipeError("output.residuals: the base is a stack of layers, which no adapter can name", hint=hint)


def _opens(recipe: Recipe, plan: Planning) -> Opens:
    return partial(open_input, plan=plan, dequantise=recipe.dequantise)


def _open_entry(entry: ModelEntry, opens: Opens) -> Checkpoint | Adapter:
    return _open_stack(entry.stack, entry.name, opens) if entry.stack else opens(entry.path, entry.name)


def _open_stack(ranges: Sequence[LayerRange], label: str, opens: Opens) -> Checkpoint:
    opened: dict[str, Checkpoint] = {}
    with naming_model(label):
        for one in ranges:
            if one.path not in opened:
                model = opens(one.path, label)
                if isinstance(model, Adapter):
                    raise SourceError(
                        "an entry of a stack is an adapter, which has no layers of its own",
                        file=model.path,
                        hint="write MODEL+ADAPTER, the model with the adapter in it",
                    )
                opened[one.path] = model
        return assemble([StackedLayers(opened[one.path], *one.layers) for one in ranges], label)
