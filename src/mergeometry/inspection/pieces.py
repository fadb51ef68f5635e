"""The figures of tensors that are not matrices, read a few entries or rows at a time: a table takes no memory."""

from __future__ import annotations

import math

from mergeometry.deferred import Tensor, torch
from mergeometry.diagnostics.alignment import share_held
from mergeometry.diagnostics.entries import entry_statistics
from mergeometry.diagnostics.tables import moved_rows
from mergeometry.execution.task_reader import ChunkedInput, Reads, TaskReader
from mergeometry.inspection.figures import MeasureJob, figures_of
from mergeometry.inspection.result import MergedFigures, TensorFigures
from mergeometry.linalg.shrinkage import RowMovements
from mergeometry.plan.tasks import TensorTask
from mergeometry.sources import TensorInfo

PIECE = 1 << 18
"""Entries of each model that are read at a time."""


def can_read_in_pieces(task: TensorTask) -> bool:
    """Whether a tensor is no matrix, and every model holds it whole or leaves it as it is."""
    return task.kind == "other" and all(source is None or isinstance(source, TensorInfo) for source in task.sources)


def measured_in_pieces(job: MeasureJob, inputs: TaskReader, reader: Reads, started: float) -> TensorFigures:
    """The figures of a tensor from its first entries to its last.

    Raises:
        NumericalError: an entry is not finite.
        SourceError: an input changed or ends early.
    """
    task = job.task
    base = ChunkedInput(inputs, reader, "base", task.base)
    models = [
        ChunkedInput(inputs, reader, inputs.label(index), source) if isinstance(source, TensorInfo) else None
        for index, source in enumerate(task.sources)
    ]
    count = len(models) - job.merged
    table = len(task.base.shape) == 2
    width = task.base.shape[1] if table else 1
    step = max(1, PIECE // max(1, width)) * max(1, width)
    entries = entry_statistics(torch.zeros(count, 0))
    movements = [RowMovements(task.base.shape[0]) for _ in range(count)] if table and task.base.elements else []
    energy = merged_energy = 0.0
    along_base, along_merged = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for first in range(0, task.base.elements, step):
        last = min(first + step, task.base.elements)
        weights = base.read(first, last).double()
        updates = torch.stack([_update(model, first, last, weights) for model in models])
        deltas = updates[:count]
        entries = entries + entry_statistics(deltas)
        energy += float(weights @ weights)
        along_base += deltas @ weights
        if job.merged:
            merged_energy += float(updates[-1] @ updates[-1])
            along_merged += deltas @ updates[-1]
        for each, delta in zip(movements, deltas, strict=bool(movements)):
            each.add(weights.view(-1, width), delta.view(-1, width))
    merged = None
    if job.merged:
        norms = entries.norms()
        shares = (share_held(float(one), float(norm)) for one, norm in zip(along_merged, norms, strict=True))
        merged = MergedFigures(math.sqrt(merged_energy), tuple(shares))
    return figures_of(
        job, math.sqrt(energy), tuple(map(float, along_base)), entries, started, merged=merged,
        rows=moved_rows(movements) if movements else None,
    )  # fmt: skip


def _update(model: ChunkedInput | None, first: int, last: int, weights: Tensor) -> Tensor:
    return torch.zeros_like(weights) if model is None else model.read(first, last).double().sub_(weights)
