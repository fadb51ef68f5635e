"""What residuals take: bytes of an entry, of an adapter, of memory, and seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from mergeometry.dtypes import NAMED_CODES, item_size
from mergeometry.methods.families.cost import ALGEBRA_BYTES, ALLOCATOR
from mergeometry.plan.machine import BYTES_PER_SECOND, FLOAT64_FLOPS_PER_SECOND

if TYPE_CHECKING:
    from mergeometry.plan.plan import Plan
    from mergeometry.plan.residual_form import ResidualForm
    from mergeometry.plan.tasks import TensorTask
    from mergeometry.recipe import ResidualOutput

ResidualKind: TypeAlias = Literal["factors", "bias", "rows", "vectors", "whole", "nothing"]

_HEADER_ENTRY = 160
"""Bytes of a header's entry beside the tensor's name in the merged model."""

PART_ELEMENTS = 1 << 18
"""Entries that are compared at a time."""

_PARTS = 8
"""Parts in float64 in memory at a time: those read, their difference, what is written."""


def residual_code(wanted: ResidualOutput, task: TensorTask, kind: ResidualKind) -> str:
    """The dtype that a tensor of a residual is written in; small ones have that of the merged model."""
    merged = task.outputs[0].code
    return merged if wanted.dtype == "base" or kind in ("vectors", "whole") else NAMED_CODES[wanted.dtype]


def entry_bytes(wanted: ResidualOutput, task: TensorTask, kind: ResidualKind) -> int:
    """Bytes of one direction, one row, or the whole of a tensor, by its kind."""
    size = item_size(residual_code(wanted, task, kind))
    if kind == "factors":
        return sum(task.shape) * size
    return (task.base.shape[1] if kind == "rows" else task.base.elements) * size


def header_bytes(form: ResidualForm) -> int:
    """Upper bound of what stands before the tensors in the file of one residual."""
    kept = [(name, kind) for name, kind in form.stored.items() if kind != "nothing"]
    return sum((len(name.encode()) + _HEADER_ENTRY) * (1 + (kind == "factors")) for name, kind in kept) + _HEADER_ENTRY


def least_bytes(plan: Plan) -> int:
    """Bytes of a residual that keeps no more than it must: vectors, biases, and a row of each table."""
    wanted, form = plan.recipe.output.residuals, plan.residuals
    assert wanted is not None and form is not None
    must: list[ResidualKind] = ["vectors", "bias", "rows", *(["factors"] if form.biases else [])]
    kept = (name for name in form.of_kind(*must))
    return header_bytes(form) + sum(entry_bytes(wanted, plan.by_name[name], form.stored[name]) for name in kept)


def most_bytes(plan: Plan) -> int:
    """The most bytes of the file of one residual."""
    wanted, form = plan.recipe.output.residuals, plan.residuals
    assert wanted is not None and form is not None
    total = header_bytes(form)
    for name, kind in form.stored.items():
        task, entries = plan.by_name[name], int(kind != "nothing")
        if kind == "factors":
            entries = min(*task.shape, wanted.rank or min(task.shape))
        elif kind == "rows":
            entries = task.base.shape[0]
        total += entries * entry_bytes(wanted, task, kind)
    budget = wanted.budget(plan.layout.nbytes)
    return total if budget is None else min(total, budget)


def expected_bytes(plan: Plan) -> int:
    """Bytes that all residuals may take, where the recipe limits them: what `keep` needs is known after the merge."""
    wanted = plan.recipe.output.residuals
    limited = wanted is not None and wanted.keep is None and plan.residuals is not None
    return len(plan.models) * most_bytes(plan) if limited else 0


def _memory(task: TensorTask, kind: ResidualKind, rank: int | None) -> int:
    """Upper bound of the bytes that measuring or writing a tensor takes: of one model at a time.

    Only what factors approximate is in memory as a whole, and what an adapter's update is formed from.
    """
    held = 8 * _PARTS * max(PART_ELEMENTS, task.base.shape[-1] if task.base.shape else 1)
    if task.forms_updates:
        held += 12 * task.base.elements
    if kind == "rows":
        held += 24 * task.base.shape[0]
    if kind == "factors":
        short = min(task.shape)
        # The matrix and a scaled copy of it; then both sides, each with another scaling; and what LAPACK takes.
        held += 16 * task.base.elements + 16 * max(task.shape) * min(short, rank or short) + 56 * short**2
    return int(ALGEBRA_BYTES + ALLOCATOR * held)


def residual_memories(plan: Plan) -> dict[str, int]:
    """The same for every tensor of a plan's residuals, by its name."""
    form, wanted = plan.residuals, plan.recipe.output.residuals
    if form is None or wanted is None:
        return {}
    return {name: _memory(plan.by_name[name], kind, wanted.rank) for name, kind in form.stored.items()}


def residual_seconds(plan: Plan) -> float:
    """Rough seconds of one core for all residuals."""
    if plan.residuals is None:
        return 0.0
    flops = nbytes = 0.0
    for name, kind in plan.residuals.stored.items():
        task = plan.by_name[name]
        nbytes += 2 * task.base.nbytes * (2 + len(plan.models))
        if kind == "factors":
            long, short = max(task.shape), min(task.shape)
            flops += len(plan.models) * (2 * long * short**2 + 5 * short**3 + 4 * long * short**2)
    return nbytes / BYTES_PER_SECOND + flops / FLOAT64_FLOPS_PER_SECOND
