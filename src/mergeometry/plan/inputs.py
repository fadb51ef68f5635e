"""Opens the models of a recipe: a folder, a file, or a model with an adapter in it, `model+adapter`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mergeometry.errors import MismatchError, SourceError
from mergeometry.hub_names import halves_of
from mergeometry.recipe import Recipe, load_recipe
from mergeometry.sources import Adapter, Checkpoint, TensorInfo, open_model
from mergeometry.sources.adapted import form_of
from mergeometry.sources.formed import formed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mergeometry.plan.plan import Plan


def open_input(
    path: str, label: str, plan: Callable[[Recipe], Plan], *, dequantise: bool | None = False
) -> Checkpoint | Adapter:
    """Open the model at a path; ``plan`` plans the merge of an adapter into its model.

    Raises:
        SourceError: the model cannot be read, or a half of `model+adapter` is not what it should be.
        MismatchError: the adapter does not fit the model; it lists every reason.
    """
    halves = None if os.path.lexists(path) else halves_of(path)
    if halves is None:
        return open_model(Path(path), label, dequantise=bool(dequantise))
    model, adapter = halves
    opened = open_model(Path(adapter), label)
    if not isinstance(opened, Adapter):
        raise SourceError("what follows the + is no adapter", model=label, file=adapter, hint="write MODEL+ADAPTER")
    if isinstance(open_model(Path(model), label, dequantise=bool(dequantise)), Adapter):
        raise SourceError(
            "what precedes the + is an adapter itself", model=label, file=model, hint="write MODEL+ADAPTER"
        )
    try:
        return _with_adapter(plan(_recipe(model, adapter, label, dequantise)), label)
    except MismatchError as error:
        reasons = [reason.replace("the base", "its model") for reason in error.mismatches]
        raise MismatchError(f"{label}: the adapter does not fit its model", reasons, hint=error.hint) from error


def _recipe(model: str, adapter: str, label: str, dequantise: bool | None) -> Recipe:
    entry = {"path": adapter, "name": label if label != "base" else "adapter"}
    keys = {"dequantise": True} if dequantise else {}
    return load_recipe({"base": model, "models": [entry], "method": "task_arithmetic", **keys})


def _with_adapter(plan: Plan, label: str) -> Checkpoint:
    """The model of a plan, with the plan's one adapter in it."""
    tensors: dict[str, TensorInfo] = {}
    for task in plan.tasks:
        source = task.sources[0] if task.sources else None
        if source is None or task.method is None:
            tensors[task.name] = task.base
        else:
            tensors[task.name] = formed(task.name, task.base.shape, task.base.code, form_of(task.base, source))
    (adapter,) = plan.models
    return replace(
        plan.base,
        label=label,
        tensors=dict(sorted(tensors.items())),
        config={**plan.base.config, **plan.configuration} if plan.base.config is not None else None,
        changed=plan.configuration,
        files=(*plan.base.files, *adapter.files),
        adapter=adapter.path,
    )
