"""Measures a merged tensor and its task vectors: the few numbers that scale rules compute with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from statistics import fmean

from mergeometry.deferred import Float, Tensor
from mergeometry.execution.refining import WeighedDeltas
from mergeometry.linalg.inner import inner
from mergeometry.linalg.layer_proxies import commutator_conflict, effective_rank
from mergeometry.linalg.recall import NOTHING, Recall
from mergeometry.plan.tasks import TensorTask
from mergeometry.refinements import registry as refinements
from mergeometry.scaling import Statistics, UndefinedScale, find, scale_by
from mergeometry.scaling.statistics import Need
from mergeometry.values import Delta

NO_SCALE = "no scale by "
"""How the note begins on a tensor that its rule has no value for."""

Gram = tuple[tuple[float, ...], ...]


class UndefinedScaleWarning(UserWarning):
    """A rule has no value for one tensor."""


def statistics_of(
    merged: Delta,
    deltas: Sequence[Delta],
    needs: Collection[Need],
    gram: Gram | None = None,
    base: Callable[[], Tensor] | None = None,
    recall: Recall = NOTHING,
) -> Statistics:
    """Measure a merged task vector against the weighted ones; a ``gram`` that is known already is not computed again.

    ``deltas`` may be read from disk as they are iterated over: once for what every rule needs, once more for "svc" and
    for "layers"; "gram" keeps them all in memory. ``base`` gives the weights that they start from, for "layers", and
    ``recall`` may know their singular values.
    """
    along, energies, held = [], [], []
    for delta in deltas:
        along.append(inner(merged, delta))
        energies.append(inner(delta, delta))
        if "gram" in needs and gram is None:
            held.append(delta)
    if "gram" in needs and gram is None:
        gram = gram_of(held)
    calibrated = None
    if "svc" in needs and len(merged.shape) == 2:
        calibrated = inner(refinements.build("svc", {})(merged, deltas), merged)
    proxies = None
    if "layers" in needs and len(merged.shape) == 2 and base is not None:
        proxies = _proxies(base(), deltas, recall)
    return Statistics(tuple(along), tuple(energies), inner(merged, merged), gram, calibrated, proxies)


def _proxies(weight: Float[Tensor, "m n"], deltas: Sequence[Delta], recall: Recall) -> tuple[float, float] | None:
    """Contrast and conflict with the base's weights, means over the tasks that changed the matrix; None if none did."""
    rank, pairs = effective_rank(recall.spectrum(weight)), []
    for delta in deltas:
        if (own := effective_rank(recall.spectrum(delta))) > 0:
            pairs.append((rank / own, commutator_conflict(weight, delta)))
    return (fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)) if pairs else None


def gram_of(deltas: Sequence[Delta]) -> Gram:
    """``<tau_s, tau_t>`` of all pairs, T x T."""
    rows = [[inner(delta, other) for other in deltas[: place + 1]] for place, delta in enumerate(deltas)]
    tasks = range(len(deltas))
    return tuple(tuple(rows[max(s, t)][min(s, t)] for t in tasks) for s in tasks)


def scale_for(task: TensorTask, merged: Delta, deltas: Sequence[Delta]) -> float:
    """The scale of a task's tensor: what its rule computes from this tensor alone, or else the plan's number.

    ``deltas`` are the task vectors before their models' weights. Where the rule has no value, as it may
    for a bias of a few entries, the tensor keeps the scale 1 and an `UndefinedScaleWarning` says so.
    """
    if task.scaling is None or task.scaling.per != "tensor":
        return task.scale
    rule = find(task.scaling.rule)
    statistics = statistics_of(merged, WeighedDeltas(deltas, task.weights), rule.needs)
    try:
        return scale_by(rule, statistics, task.scaling.factor)
    except UndefinedScale as error:
        warnings.warn(f"{NO_SCALE}{rule.name}, so the scale is 1: {error}", UndefinedScaleWarning, stacklevel=2)
        return 1.0
