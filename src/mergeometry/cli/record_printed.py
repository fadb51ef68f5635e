"""What `mergeometry merge` prints of a finished merge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergeometry.cli.learning import learned_line
from mergeometry.cli.searching import searched_lines
from mergeometry.cli.show import console, plain, size
from mergeometry.grouping import grouped
from mergeometry.progress import duration
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.plan import Plan
    from mergeometry.sink import RunRecord


def print_record(plan: Plan, record: RunRecord, output: Path, done: str = "") -> None:
    """Print what a merge has done, ``done`` in its first words."""
    totals, target = record.totals, console()
    done = done or f"merged {counted(len(plan.models), 'model')} by {plan.recipe.method.name}"
    target.print(
        f"{plain(done)} into {plain(output)}: "
        f"{len(record.tensors)} tensors, {size(totals.bytes_written)}, {duration(totals.seconds)}, "
        f"peak memory {size(totals.peak_memory)}"
    )
    if record.scaling is not None:
        target.print(_scaled_line(record.scaling))
    if record.adapt is not None:
        target.print(learned_line(record.adapt))
    if record.search is not None:
        target.print(searched_lines(record.search), soft_wrap=True)
    for warning in grouped([*record.warnings, *record.sidecars.notes]):
        target.print(f"  note: {plain(warning)}")


def _scaled_line(scaling: Mapping[str, Any]) -> str:
    """The scales that a rule gave, in one line."""
    by = f"scale by {scaling['rule']}"
    if scaling["per"] == "model":
        return f"{by}, one for the model: {scaling['median']:.4g}"
    ends = f"{scaling['least']:.4g} to {scaling['largest']:.4g}, median {scaling['median']:.4g}"
    return f"{by}, one per {scaling['per']}: {ends}"
