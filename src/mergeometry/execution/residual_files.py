"""The files of one residual: the tensors of an adapter of PEFT, where they go, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mergeometry.execution.residual_choice import Kept
from mergeometry.plan.plan import Plan
from mergeometry.plan.residual_cost import residual_code
from mergeometry.sink import (
    PREFIX,
    AdapterModule,
    Layout,
    OutputTensor,
    adapter_config,
    adapter_tensors,
    factor_bias_name,
    lay_out,
    token_rows_name,
)

_ONE_FILE = 2**62


@dataclass(frozen=True, slots=True)
class Folder:
    """One residual's folder in the output, with its file of weights laid out."""

    place: str
    layout: Layout
    names: Mapping[str, tuple[str, ...]]
    """The slots of what it holds of every tensor of the merged model: factors A and B, or one."""


def folder_of(plan: Plan, place: str, kept: Kept) -> Folder:
    """Lay out what is kept of a model in the folder ``place``.

    Raises:
        OutputError: a name cannot be written.
    """
    form, wanted = plan.residuals, plan.recipe.output.residuals
    assert form is not None and wanted is not None
    held: dict[str, list[OutputTensor]] = {}
    for name, kind in form.stored.items():
        task, module = plan.by_name[name], form.module(name)
        code = residual_code(wanted, task, kind)
        if kept.ranks.get(name):
            held[name] = adapter_tensors([AdapterModule(module, kept.ranks[name], task.shape[0], task.shape[1])], code)
        elif rows := kept.rows.get(name):
            held[name] = [OutputTensor(token_rows_name(module), code, (len(rows), task.base.shape[1]))]
        elif name in kept.whole:
            stored = factor_bias_name(module) if kind == "bias" else f"{PREFIX}{form.names[name]}"
            held[name] = [OutputTensor(stored, code, tuple(task.base.shape))]
    layout = lay_out([one for tensors in held.values() for one in tensors], shard_size=_ONE_FILE, stem="adapter_model")
    return Folder(
        place,
        Layout(
            tuple(replace(file, name=f"{place}/{file.name}") for file in layout.files),
            {f"{place}/{name}": replace(slot, file=f"{place}/{slot.file}") for name, slot in layout.slots.items()},
            {},
        ),
        {name: tuple(f"{place}/{one.name}" for one in tensors) for name, tensors in held.items()},
    )


def settings_of(plan: Plan, kept: Kept, base: str) -> dict[str, Any]:
    """The adapter's settings, on top of the merged model of the name ``base``."""
    form = plan.residuals
    assert form is not None
    adapted = [plan.by_name[name] for name, rank in kept.ranks.items() if rank]
    return adapter_config(
        [
            AdapterModule(form.module(task.name), kept.ranks[task.name], task.shape[0], task.shape[1])
            for task in adapted
        ],
        base_model=base,
        fan_in_fan_out=any(task.transposed for task in adapted),
        saved=sorted({form.module(name) for name in kept.whole if form.stored[name] != "bias"}),
        factor_biases=form.biases,
        tokens={form.module(name): rows for name, rows in kept.rows.items()},
    )
