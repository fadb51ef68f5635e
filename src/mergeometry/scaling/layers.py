"""Rules that give every layer of a model a scale of its own, from figures of all its layers at once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mergeometry.scaling.statistics import Need

_TIERS = (0.8, 1.0, 1.2)
"""Scales of the lowest, the middle and the highest third of scores: ours."""

_DEPTH = 0.5
"""Power of the depth in LARV's score."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What a rule may know of a layer: means over its matrices, and over the tasks that changed each."""

    contrast: float
    """Effective rank of the base's weights over that of a task vector."""
    conflict: float
    """How far the base's weights and a task vector are from commuting, between 0 and 2."""
    place: float
    """Its number, counted from 1, over the number of layers."""


@dataclass(frozen=True, slots=True)
class LayerRule:
    """A rule for all layers together, and what it needs of every tensor."""

    name: str
    formula: Callable[[Sequence[Layer]], list[float]]
    needs: frozenset[Need] = frozenset({"layers"})

    @property
    def law(self) -> str:
        """What it computes and where that is from, in words."""
        return (self.formula.__doc__ or "").strip()


def larv(layers: Sequence[Layer]) -> list[float]:
    """``s`` is 0.8, 1 or 1.2 for the lowest, middle and highest third of ``e sqrt(l/L) / (1 + softplus(z))``.

    ``e`` is the mean over tasks of ``r(W0) / r(tau_t)``, ``r`` the effective rank ``exp(H(sigma^2 / sum sigma^2))``;
    ``z`` is how many standard deviations the layer's conflict ``c`` lies above the layers' mean, ``c`` the mean of
    ``(||W0 tau^T - tau W0^T|| + ||W0^T tau - tau^T W0||) / (2 ||W0|| ||tau||)``; ``l`` is the layer's number of ``L``.
    Wang et al. 2026, LARV, arXiv 2602.09413, as others implement its equation 8; the three scales are ours.
    """
    scores = larv_scores(layers)
    ordered = sorted(scores)
    low, high = (_quantile(ordered, third / 3) for third in (1, 2))
    return [_TIERS[(score > low) + (score > high)] for score in scores]


def larv_scores(layers: Sequence[Layer]) -> list[float]:
    """LARV's score of each layer: high where the update is concentrated, in harmony with the base, and deep."""
    conflicts = [layer.conflict for layer in layers]
    mean, spread = statistics.fmean(conflicts), statistics.pstdev(conflicts)
    return [
        layer.contrast * layer.place**_DEPTH / (1 + _softplus((layer.conflict - mean) / (spread or 1.0)))
        for layer in layers
    ]


LAYER_RULES: Mapping[str, LayerRule] = {rule.name: rule for rule in (LayerRule("larv", larv),)}
"""Every rule for layers by its name."""


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the sorted ones lies, between two of them in proportion."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
