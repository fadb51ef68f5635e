"""The figures of one tensor: its inputs are read once, each task vector is decomposed once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from mergeometry.deferred import Float, Tensor, torch
from mergeometry.diagnostics.accumulation import accumulation
from mergeometry.diagnostics.alignment import ENERGY, directional_consistency, share_held, subspace_alignment
from mergeometry.diagnostics.angles import subspace_overlap
from mergeometry.diagnostics.entries import statistics_of_entries
from mergeometry.diagnostics.frames import deviation, residual
from mergeometry.diagnostics.interference import singular_task_interference, strength
from mergeometry.diagnostics.products import DirectionProducts
from mergeometry.diagnostics.spectra import effective_rank, energy_kept, stable_rank
from mergeometry.errors import NumericalError
from mergeometry.execution.task_reader import Reads, TaskReader
from mergeometry.execution.task_vectors import TaskVectors
from mergeometry.inspection.figures import Measured, MeasureJob, figures_of, numbers
from mergeometry.inspection.folds import verdicts_of
from mergeometry.inspection.pieces import can_read_in_pieces, measured_in_pieces
from mergeometry.inspection.result import Figures, MatrixFigures, MergedFigures, Problem, TensorFigures, pairs_of
from mergeometry.linalg.inner import inner, inner_with_each
from mergeometry.linalg.norms import frobenius
from mergeometry.linalg.responses import resolve_equal_values
from mergeometry.linalg.spectrum import Spectrum
from mergeometry.linalg.svd import DecompositionFallbackWarning
from mergeometry.methods.families.directional import rank_of
from mergeometry.sources import TensorReader
from mergeometry.values import Delta, Directions, LowRank

_SHOWN = 32
"""Merged directions whose over-accumulation is kept one by one; their mean is of all."""


def measure(job: MeasureJob) -> Measured:
    """Read one tensor of every model and measure it.

    Raises:
        SourceError: an input changed or ends early.
    """
    with TensorReader() as reader:
        return measured(job, reader)


def measured(job: MeasureJob, reader: Reads) -> Measured:
    """The same with inputs wherever they are."""
    started = time.perf_counter()
    inputs = TaskReader(reader, job.labels, job.algorithm)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DecompositionFallbackWarning)  # the merge itself warns
            if can_read_in_pieces(job.task):
                figures = measured_in_pieces(job, inputs, reader, started)
            else:
                figures = _measured_whole(job, inputs, started)
    except NumericalError as error:
        figures = Problem(job.task.name, " ".join(str(error).split()))
    read = tuple((label, name, digest) for (label, name), digest in inputs.digests.items())
    return Measured(figures, read, verdicts_of(job.task, reader) if job.sampled else ())


def _measured_whole(job: MeasureJob, inputs: TaskReader, started: float) -> TensorFigures:
    vectors = TaskVectors(job.task, inputs)
    deltas = [vectors[index] for index in range(len(vectors))]
    merged = deltas.pop() if job.merged else None
    base = vectors.base
    entries = statistics_of_entries(deltas)
    along = tuple(inner_with_each(deltas, base))
    norm = frobenius(base)
    del vectors, base
    matrix, outcome = None, None
    if job.task.kind == "matrix":
        matrix, outcome = _of_matrix(deltas, merged, numbers(entries.norms()))
    elif merged is not None:
        outcome = _of_other(deltas, merged, numbers(entries.norms()))
    return figures_of(job, norm, along, entries, started, matrix=matrix, merged=outcome)


def _of_matrix(
    deltas: Sequence[Delta], merged: Delta | None, norms: Figures
) -> tuple[MatrixFigures, MergedFigures | None]:
    shape, tasks = (deltas[0].shape[0], deltas[0].shape[1]), len(deltas)
    whole = Spectrum.of_each(deltas, [rank_of("auto", shape, tasks, _held(delta)) for delta in deltas])
    tops = [one.leading for one in whole]
    ranks = _powers_of_two(min(shape))
    products, pairs = DirectionProducts.of(tops), pairs_of(tasks)
    between = [products.between_left(*pair) for pair in pairs]
    matrix = MatrixFigures(
        rank=tuple(top.count for top in tops),
        strength=tuple(float(top.values.sum()) for top in tops),
        effective_rank=tuple(effective_rank(one.values) for one in whole),
        stable_rank=tuple(stable_rank(one.values) for one in whole),
        energy_ranks=ranks,
        energy_kept=tuple(_kept(one.values, ranks) for one in whole),
        overlap_left=tuple(map(subspace_overlap, between)),
        overlap_right=tuple(subspace_overlap(products.between_right(*pair)) for pair in pairs),
        largest_cosine=_largest_cosines(between),
        pair_interference=tuple(_relative_interference(products.pair(*pair)) for pair in pairs),
        interference=_relative_interference(products),
    )
    return matrix, None if merged is None else _of_merged(deltas, merged, tops, norms, ranks)


def _of_merged(
    deltas: Sequence[Delta], merged: Delta, tops: Sequence[Directions], norms: Figures, ranks: tuple[int, ...]
) -> MergedFigures:
    whole = Spectrum.of(merged, min(merged.shape))
    held = whole.holding(ENERGY)
    counted = accumulation(resolve_equal_values(whole.leading, deltas), deltas)
    energy = whole.leading.values.square()
    outcome = _of_other(deltas, merged, norms)
    return MergedFigures(
        norm=outcome.norm,
        share_held=outcome.share_held,
        alignment=tuple(subspace_alignment(held, delta, norm) for delta, norm in zip(deltas, norms, strict=True)),
        consistency=tuple(directional_consistency(top, whole.leading.left) for top in tops),
        effective_rank=effective_rank(whole.values),
        stable_rank=stable_rank(whole.values),
        energy_kept=_kept(whole.values, ranks),
        accumulation=numbers(counted[:_SHOWN]),
        accumulated=float((counted * energy).sum() / energy.sum()) if counted.numel() else None,
        deviation=deviation(merged, tops),
        residual=residual(merged, tops),
    )


def _of_other(deltas: Sequence[Delta], merged: Delta, norms: Figures) -> MergedFigures:
    along = [inner(merged, delta) for delta in deltas]
    return MergedFigures(
        frobenius(merged), tuple(share_held(one, norm) for one, norm in zip(along, norms, strict=True))
    )


def _relative_interference(products: DirectionProducts) -> float:
    size = strength(products)
    return singular_task_interference(products) / size if size > 0 else 0.0


def _largest_cosines(between: Sequence[Float[Tensor, "k l"]]) -> Figures:
    if len({one.shape for one in between}) != 1 or not between[0].numel():
        return tuple(min(1.0, float(torch.linalg.matrix_norm(one, 2))) if one.numel() else 0.0 for one in between)
    return tuple(min(1.0, float(norm)) for norm in torch.linalg.matrix_norm(torch.stack(list(between)), 2))


def _powers_of_two(short: int) -> tuple[int, ...]:
    return tuple(sorted({min(1 << power, short) for power in range(short.bit_length() + 1)}))


def _kept(values: Tensor, ranks: Sequence[int]) -> Figures:
    kept = energy_kept(values)
    if not kept.numel() or not kept[-1] > 0:
        return tuple(0.0 for _ in ranks)
    return tuple(float(kept[min(rank, len(kept)) - 1]) for rank in ranks)


def _held(delta: Delta) -> int | None:
    return delta.rank if isinstance(delta, LowRank) else None
