"""Rules for the scale of a merge: each is one formula over `Statistics` of one tensor, or of many laid end to end.

Notation: ``tau`` is what a method merged at scale 1, ``tau_t`` the task vectors times their models' weights, ``T`` the
number of those that are not zero, ``<.,.>`` the Frobenius inner product; a rule gives ``s``, and the merged weight is
``W0 + s * tau``. Every rule may be multiplied by a constant, its ``factor``; 1 leaves the formula as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mergeometry.errors import RecipeError
from mergeometry.scaling.layers import LAYER_RULES
from mergeometry.scaling.statistics import Need, Statistics
from mergeometry.words import nearest

AUTO = "auto"
"""The rule that fits the recipe's method, which a method declares as its ``scale_rule``."""

LARGEST = 1e3
"""A scale above this means that a formula divided by almost zero."""

_CANCELLED = 1e-12
"""Share of the task vectors' norms below which a merged tensor is rounding error, for which no scale is meaningful."""

_ALIKE, _UNEVEN, _DISPERSED = 1.15, 0.5, 7.5
"""CORAM's two strengths, and the dispersion of task vectors' lengths above which the second one holds."""


class UndefinedScale(ValueError):  # noqa: N818  (it is a state of the numbers, which the caller turns into an error)
    """The formula has no value for these numbers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, and what it needs beyond the inner products with the merged tensor."""

    name: str
    formula: Callable[[Statistics], float]
    needs: frozenset[Need] = frozenset()

    @property
    def law(self) -> str:
        """What it computes and where that is from, in words."""
        return (self.formula.__doc__ or "").strip()


def find(name: str) -> Rule:
    """The rule of a name, for tensors or whole models.

    Raises:
        RecipeError: no rule has this name; the error suggests the nearest.
    """
    if name not in RULES:
        raise RecipeError(f"there is no rule {name!r} for scales{nearest(name, [*RULES, *LAYER_RULES])}")
    return RULES[name]


def needed_by(name: str) -> frozenset[Need]:
    """What a rule of either kind needs beyond the inner products with the merged tensor.

    Raises:
        RecipeError: no rule has this name; the error suggests the nearest.
    """
    return LAYER_RULES[name].needs if name in LAYER_RULES else find(name).needs


def scale_by(rule: Rule, statistics: Statistics, factor: float = 1.0) -> float:
    """The scale that a rule gives, times ``factor``; 1 where the merge is zero and every scale gives the same.

    Raises:
        UndefinedScale: the formula divides by zero or almost zero.
    """
    norms = sum(math.sqrt(energy) for energy in statistics.energies)
    if math.sqrt(statistics.merged) <= _CANCELLED * norms or statistics.merged == 0:
        return 1.0
    scale = factor * rule.formula(statistics)
    if not abs(scale) <= LARGEST:
        raise UndefinedScale(f"{rule.name} gives {scale:.3g}; a scale is at most {LARGEST:g}")
    return scale


def one(_statistics: Statistics) -> float:
    """``s = 1``: the method as it was published."""
    return 1.0


def projection(statistics: Statistics) -> float:
    """``s = max(0, mean_t <tau, tau_t> / ||tau||^2)``.

    The least-squares scale: it minimises ``sum_t ||s tau - tau_t||^2`` over ``s >= 0``, and puts ``s tau`` where the
    mean of the task vectors projects onto it. It is 1 for `average` and 1/T for `task_arithmetic`.
    """
    return max(0.0, _mean([inner for inner, _ in _taking_part(statistics)]) / statistics.merged)


def relative_projection(statistics: Statistics) -> float:
    """The scale that minimises ``sum_t ||s tau - tau_t||^2 / ||tau_t||^2`` over ``s >= 0``.

    ``s = sum_t (<tau, tau_t> / ||tau_t||^2) / (||tau||^2 sum_t 1 / ||tau_t||^2)``: least squares of relative errors,
    in which a long task vector counts no more than a short one. Ours.
    """
    pairs = _taking_part(statistics)
    shares, inverse = sum(inner / energy for inner, energy in pairs), sum(1 / energy for _, energy in pairs)
    return max(0.0, shares / (statistics.merged * inverse))


def own_projection(statistics: Statistics) -> float:
    """The scale that minimises ``sum_t (s <tau, tau_t> / ||tau_t|| - ||tau_t||)^2``.

    ``s = sum_t <tau, tau_t> / sum_t (<tau, tau_t>^2 / ||tau_t||^2)``: least squares of the errors along each task's own
    vector alone, so that what the other tasks need does not count as an error. Ours.
    """
    pairs = _taking_part(statistics)
    along = sum(inner**2 / energy for inner, energy in pairs)
    return _positive(sum(inner for inner, _ in pairs), along, "the merge leads away from its task vectors")


def own_share(statistics: Statistics) -> float:
    """``s = 1 / mean_t (<tau, tau_t> / ||tau_t||^2)``: on average each task's own vector is kept in full. Ours."""
    shares = _mean([inner / energy for inner, energy in _taking_part(statistics)])
    return _positive(1.0, shares, "the merge holds nothing of its task vectors on average")


def norm_mean(statistics: Statistics) -> float:
    """``s = mean_t ||tau_t|| / ||tau||``: the merge is as long as its task vectors are on average.

    Per tensor it is the refinement `norm`. Li et al. 2025, MAGIC, arXiv 2512.19320, weight space calibration; the scale
    that continual merging keeps, Tang et al. 2025, arXiv 2501.09522.
    """
    return _mean([math.sqrt(energy) for _, energy in _taking_part(statistics)]) / math.sqrt(statistics.merged)


def norm_sqrt(statistics: Statistics) -> float:
    """``s = sqrt(T) mean_t ||tau_t|| / ||tau||``: the norm that the sum of T orthogonal task vectors has. Ours.

    Per tensor it is the refinement `norm` with ``root_sum_square``, where task vectors are of one length.
    """
    return math.sqrt(len(_taking_part(statistics))) * norm_mean(statistics)


def coram(statistics: Statistics) -> float:
    """``s = kappa sqrt(mean_t ||tau_t||^2) / ||tau||``, kappa 1.15 where task vectors are of like length, else 0.5.

    The merge gets the root mean square length of its task vectors, times a strength that the dispersion
    ``max_t ||tau_t|| / min_t ||tau_t||`` chooses. Sui et al. 2026, CORAM, arXiv 2608.17366, equations 3 to 5, for
    merges on manifolds; kappa is 1.15 up to a dispersion of 3.5 and 0.5 at 16, with any boundary between: that of 7.5,
    their geometric mean, is ours. The dispersion is that of the whole model, so use it per model.
    """
    energies = [energy for _, energy in _taking_part(statistics)]
    dispersion = math.sqrt(max(energies) / min(energies))
    strength = _ALIKE if dispersion <= _DISPERSED else _UNEVEN
    return strength * math.sqrt(_mean(energies) / statistics.merged)


def gram_retention(statistics: Statistics) -> float:
    """``s = 1 / mean_t a_t`` with ``a = G^+ (<tau, tau_t>)_t``, ``G`` the Gram matrix of the task vectors.

    ``a`` are the coefficients of the task vectors in the merge's projection onto their span: how much of each it holds
    when what they share is counted once; `own_share` counts it for every task. Where task vectors are independent it
    is 1 for `task_arithmetic` and T for `average`. No text was found under the name; the definition is ours.
    """
    import numpy as np  # noqa: PLC0415  (recipes are read without it)

    assert statistics.gram is not None
    norms = np.sqrt([max(energy, 0.0) for energy in statistics.energies])
    held = norms > 0
    if not held.any():
        raise UndefinedScale("no task vector takes part")
    # Cosines in place of inner products: one long task vector would hide how the short ones lie.
    cosines = np.asarray(statistics.gram)[np.ix_(held, held)] / np.outer(norms[held], norms[held])
    along = np.asarray(statistics.inner)[held] / norms[held]
    coefficients = np.linalg.pinv(cosines, rcond=1e-9, hermitian=True) @ along / norms[held]
    return _positive(1.0, float(coefficients.mean()), "the merge holds nothing of its task vectors on average")


def svc_gamma(statistics: Statistics) -> float:
    """``s = <tau', tau> / ||tau||^2``, ``tau'`` the merge after the refinement `svc`; 1 where there is no matrix.

    The mean of SVC's ``gamma_r``, each weighted by its ``sigma_r^2``: the one number nearest to the calibration.
    Li et al. 2026, arXiv 2602.05536, Algorithm 1; reading one number off it is ours.
    """
    return 1.0 if statistics.calibrated is None else statistics.calibrated / statistics.merged


def inverse_norm(statistics: Statistics) -> float:
    """``s = ||sum_t w_t tau_t|| / ||tau||`` with ``w_t = (1/||tau_t||) / sum_r (1/||tau_r||)``.

    The merge is as long as the combination in which every task is weighted by its inverse norm. Si et al. 2025, NAN,
    arXiv 2505.16148, gives models such weights; only its abstract could be found, so the norms of task vectors in
    place of models' and the step from weights to one scale are ours.
    """
    assert statistics.gram is not None
    weights = [1 / math.sqrt(energy) if energy > 0 else 0.0 for energy in statistics.energies]
    size = sum(weights)
    if size == 0:
        raise UndefinedScale("no task vector takes part")
    tasks = range(len(weights))
    squared = math.fsum(weights[s] * weights[t] * statistics.gram[s][t] for s in tasks for t in tasks) / size**2
    return math.sqrt(max(0.0, squared) / statistics.merged)


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("one", one),
        Rule("projection", projection),
        Rule("relative_projection", relative_projection),
        Rule("own_projection", own_projection),
        Rule("own_share", own_share),
        Rule("norm_mean", norm_mean),
        Rule("norm_sqrt", norm_sqrt),
        Rule("coram", coram),
        Rule("gram_retention", gram_retention, frozenset({"gram"})),
        Rule("svc_gamma", svc_gamma, frozenset({"svc"})),
        Rule("inverse_norm", inverse_norm, frozenset({"gram"})),
    )
}
"""Every rule by its name."""


def _taking_part(statistics: Statistics) -> list[tuple[float, float]]:
    """``(<tau, tau_t>, ||tau_t||^2)`` of the tasks that changed anything."""
    pairs = [pair for pair in zip(statistics.inner, statistics.energies, strict=True) if pair[1] > 0]
    if not pairs:
        raise UndefinedScale("no task vector takes part")
    return pairs


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _positive(above: float, below: float, otherwise: str) -> float:
    if above <= 0 or below <= 0:
        raise UndefinedScale(otherwise)
    return above / below
