"""Figures of whole models, pairs of models and layers: ratios of sums over tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from mergeometry.inspection.result import (
    LayerTotals,
    MatrixFigures,
    ModelTotals,
    PairTotals,
    TensorFigures,
    Totals,
    pairs_of,
)


def totals_of(tensors: Sequence[TensorFigures], labels: Sequence[str]) -> Totals:
    """Add up the figures of the tensors of these models."""
    layers: dict[tuple[str, int], list[TensorFigures]] = {}
    modules: dict[str, float] = {}
    for one in tensors:
        modules[one.module] = modules.get(one.module, 0.0) + _energy(one)
        if one.layer is not None:
            layers.setdefault((one.tower, one.layer), []).append(one)
    whole = sum(modules.values())
    shares = ((module, energy / whole if whole else 0.0) for module, energy in modules.items())
    return Totals(
        tuple(_model(tensors, index, label) for index, label in enumerate(labels)),
        tuple(
            _pair(tensors, place, pair, (labels[pair[0]], labels[pair[1]]))
            for place, pair in enumerate(pairs_of(len(labels)))
        ),
        tuple(_layer(*place, own) for place, own in sorted(layers.items())),
        tuple(sorted(shares, key=lambda one: -one[1])),
        outvoted(tensors),
    )


def outvoted(tensors: Sequence[TensorFigures]) -> float:
    """Share of the mass of all models whose sign is outvoted."""
    return _ratio((one.outvoted * sum(one.mass), sum(one.mass)) for one in tensors) or 0.0


def base_alignment(tensors: Sequence[TensorFigures], index: int) -> float:
    """``cos(W_t, W_0)`` of one model over some tensors."""
    base = math.fsum(one.base_norm**2 for one in tensors)
    along = math.fsum(one.along_base[index] for one in tensors)
    model = base + 2 * along + math.fsum(one.norm[index] ** 2 for one in tensors)
    return (base + along) / math.sqrt(base * model) if base > 0 and model > 0 else 0.0


def matrices_of(tensors: Sequence[TensorFigures]) -> list[TensorFigures]:
    """The tensors that are matrices."""
    return [one for one in tensors if one.matrix is not None]


def over_accumulation(tensors: Sequence[TensorFigures]) -> float | None:
    """Over-accumulation over all merged matrices, by energy; None where there is none."""
    known = [(own.accumulated, own.norm**2) for own in (one.merged for one in tensors) if own and own.accumulated]
    energy = math.fsum(weight for _, weight in known)
    return math.fsum(value * weight for value, weight in known) / energy if energy > 0 else None


def _model(tensors: Sequence[TensorFigures], index: int, label: str) -> ModelTotals:
    norm = math.sqrt(math.fsum(one.norm[index] ** 2 for one in tensors))
    base = math.sqrt(math.fsum(one.base_norm**2 for one in tensors))
    matrices = matrices_of(tensors)
    rank = _ratio((_of(one).effective_rank[index] * one.norm[index] ** 2, one.norm[index] ** 2) for one in matrices)
    merged = [(one, one.merged) for one in tensors if one.merged is not None]
    whole = [(one, own) for one, own in merged if own.alignment]
    squares = _ratio(((own.alignment[index] * one.norm[index]) ** 2, one.norm[index] ** 2) for one, own in whole)
    return ModelTotals(
        label,
        norm,
        norm / base if base else 0.0,
        base_alignment(matrices or tensors, index),
        rank,
        _ratio((own.share_held[index] * one.norm[index] ** 2, one.norm[index] ** 2) for one, own in merged),
        None if squares is None else math.sqrt(squares),
        _ratio((own.consistency[index] * _of(one).strength[index], _of(one).strength[index]) for one, own in whole),
    )


def _pair(tensors: Sequence[TensorFigures], place: int, pair: tuple[int, int], labels: tuple[str, str]) -> PairTotals:
    one, other = pair
    inner = math.fsum(each.cosine[place] * each.norm[one] * each.norm[other] for each in tensors)
    sizes = [math.sqrt(math.fsum(each.norm[index] ** 2 for each in tensors)) for index in pair]
    matrices = matrices_of(tensors)
    return PairTotals(
        *labels,
        inner / (sizes[0] * sizes[1]) if all(sizes) else 0.0,
        _ratio((each.conflict[place] * _both(each.mass, pair), _both(each.mass, pair)) for each in tensors) or 0.0,
        _overlap(matrices, place, pair, lambda matrix: matrix.overlap_left),
        _overlap(matrices, place, pair, lambda matrix: matrix.overlap_right),
        pair_interference(matrices, place, pair),
    )


def pair_interference(matrices: Sequence[TensorFigures], place: int, pair: tuple[int, int]) -> float | None:
    """Singular task interference of two models alone, over the sum of their strengths."""
    return _ratio(
        (_of(each).pair_interference[place] * _both(_of(each).strength, pair), _both(_of(each).strength, pair))
        for each in matrices
    )


def _layer(tower: str, layer: int, tensors: Sequence[TensorFigures]) -> LayerTotals:
    matrices, tasks = matrices_of(tensors), len(tensors[0].norm)
    pairs = pairs_of(tasks)
    overlaps = [_overlap(matrices, place, pair, lambda matrix: matrix.overlap_left) for place, pair in enumerate(pairs)]
    interference = [pair_interference(matrices, place, pair) for place, pair in enumerate(pairs)]
    return LayerTotals(
        tower,
        layer,
        math.sqrt(math.fsum(map(_energy, tensors))),
        outvoted(tensors),
        _mean(interference),
        _mean(overlaps),
        tuple(interference),
    )


def _overlap(
    matrices: Sequence[TensorFigures],
    place: int,
    pair: tuple[int, int],
    figure: Callable[[MatrixFigures], Sequence[float]],
) -> float | None:
    smaller = [(each, min(_of(each).rank[index] for index in pair)) for each in matrices]
    return _ratio((figure(_of(each))[place] * count, count) for each, count in smaller)


def _of(tensor: TensorFigures) -> MatrixFigures:
    assert tensor.matrix is not None
    return tensor.matrix


def _energy(tensor: TensorFigures) -> float:
    return math.fsum(norm**2 for norm in tensor.norm)


def _both(figures: Sequence[float], pair: tuple[int, int]) -> float:
    return figures[pair[0]] + figures[pair[1]]


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None


def _ratio(terms: Iterable[tuple[float, float]]) -> float | None:
    """The sum of the first over the sum of the second; None where there is nothing to divide by."""
    parts = list(terms)
    below = math.fsum(part for _, part in parts)
    return math.fsum(part for part, _ in parts) / below if below > 0 else None
