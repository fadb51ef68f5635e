"""What a worker receives and hands back: a tensor to measure, and its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mergeometry.deferred import Tensor
from mergeometry.diagnostics.entries import EntryStatistics
from mergeometry.diagnostics.tables import MovedRows
from mergeometry.digests import DEFAULT, Algorithm
from mergeometry.inspection.result import Figures, MatrixFigures, MergedFigures, Problem, TensorFigures, pairs_of
from mergeometry.plan.low_rank import Verdict
from mergeometry.plan.tasks import TensorTask


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """One tensor, or one matrix of a stack, as a worker receives it; with ``merged`` its last source is the merge."""

    task: TensorTask
    labels: tuple[str, ...]
    tower: str
    layer: int | None
    module: str
    merged: bool = False
    algorithm: Algorithm = DEFAULT
    """What every byte read is hashed by."""
    sampled: bool = False
    """Whether it is one of the matrices that tell folded adapters from full fine-tunes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A tensor's figures, or why there are none; and (model, name in the file, digest) of what was read.

    ``verdicts`` say of each model whether it moves a sampled matrix by an update of low rank, where that can be told.
    """

    figures: TensorFigures | Problem
    read: tuple[tuple[str, str, str], ...]
    verdicts: tuple[Verdict | None, ...] = ()


def figures_of(
    job: MeasureJob,
    base_norm: float,
    along_base: Figures,
    entries: EntryStatistics,
    started: float,
    *,
    matrix: MatrixFigures | None = None,
    rows: MovedRows | None = None,
    merged: MergedFigures | None = None,
) -> TensorFigures:
    """Put a tensor's figures together."""
    cosines, conflicts = entries.cosines(), entries.conflicts()
    pairs = pairs_of(len(along_base))
    assert job.task.kind != "copied"
    return TensorFigures(
        name=job.task.name,
        kind=job.task.kind,
        shape=job.task.shape,
        tower=job.tower,
        layer=job.layer,
        module=job.module,
        base_norm=base_norm,
        norm=numbers(entries.norms()),
        along_base=along_base,
        mass=numbers(entries.mass),
        cosine=tuple(float(cosines[pair]) for pair in pairs),
        conflict=tuple(float(conflicts[pair]) for pair in pairs),
        outvoted=entries.conflict(),
        seconds=time.perf_counter() - started,
        matrix=matrix,
        rows_moved_by=rows.by if rows else (),
        rows_moved_alone=rows.alone if rows else (),
        rows_shrunk_by=rows.shrinkage if rows else (),
        merged=merged,
    )


def numbers(tensor: Tensor) -> Figures:
    """A vector as plain numbers."""
    return tuple(float(number) for number in tensor)
