"""Rank correlations with intervals by the bootstrap: over merges, over tasks, over pairs of models, over layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

RESAMPLES = 500
LEVEL = 0.95

Numbers = np.ndarray


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's coefficient, its interval, and its value on every board; None where nothing varies."""

    rho: float | None
    low: float | None
    high: float | None
    boards: tuple[float | None, ...]

    @property
    def holds(self) -> bool:
        """Whether the interval excludes zero and no board has the other sign."""
        if self.rho is None or self.low is None or self.high is None or self.low * self.high <= 0:
            return False
        return all(board is None or board * self.rho > 0 for board in self.boards)


def spearman(first: Numbers, second: Numbers) -> Numbers:
    """Along the last axis; NaN where one of the two does not vary."""
    one, other = (rankdata(values, axis=-1) for values in (first, second))
    one, other = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))


def over_columns(boards: Sequence[tuple[Numbers, Numbers]]) -> Correlation:
    """Of tables with one row per merge and one column per task: the mean of the rows' coefficients.

    Tasks are resampled, the same ones for every merge of a board, since a hard task is hard in each.
    """
    return _bootstrapped(boards, lambda table, drawn: table[:, drawn], axis=1)


def over_rows(boards: Sequence[tuple[Numbers, Numbers]]) -> Correlation:
    """Of the same tables: the coefficient of the rows' means, such as of merges over all their tasks."""
    means = [(figure.mean(axis=1)[None], loss.mean(axis=1)[None]) for figure, loss in boards]
    return _bootstrapped(means, lambda table, drawn: table[:, drawn], axis=1)


def within_rows(figure: Numbers, loss: Numbers) -> Correlation:
    """The mean of the rows' coefficients, such as of tasks over their layers; rows are resampled."""
    rhos = spearman(figure, loss)
    rhos = rhos[~np.isnan(rhos)]
    if not rhos.size:
        return Correlation(None, None, None, (None,))
    generator = np.random.default_rng(0)
    drawn = generator.choice(rhos, (RESAMPLES, rhos.size)).mean(axis=1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(float(rhos.mean()), float(low), float(high), (float(rhos.mean()),))


def over_pairs_of(pairs: Sequence[tuple[str, str]], figure: Numbers, loss: Numbers) -> Correlation:
    """Of one value per pair: models are resampled, for pairs that share one are not independent."""
    models = sorted({name for pair in pairs for name in pair})
    places = {frozenset(pair): place for place, pair in enumerate(pairs)}
    rho, generator, drawn = float(spearman(figure, loss)), np.random.default_rng(0), []
    if np.isnan(rho):
        return Correlation(None, None, None, (None,))
    for _ in range(RESAMPLES):
        chosen = generator.choice(models, len(models))
        taken = [places[pair] for one, other in combinations(chosen, 2) if (pair := frozenset((one, other))) in places]
        drawn.append(float(spearman(figure[taken], loss[taken])) if len(taken) > 1 else np.nan)
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(rho, float(low), float(high), (rho,))


def _bootstrapped(
    boards: Sequence[tuple[Numbers, Numbers]], take: Callable[[Numbers, Numbers], Numbers], axis: int
) -> Correlation:
    whole = [_mean(spearman(figure, loss)) for figure, loss in boards]
    middle = _mean(np.array(whole))
    if np.isnan(middle):
        return Correlation(None, None, None, tuple(None for _ in boards))
    generator, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rhos = []
        for figure, loss in boards:
            places = generator.integers(0, figure.shape[axis], figure.shape[axis])
            rhos.append(_mean(spearman(take(figure, places), take(loss, places))))
        drawn.append(_mean(np.array(rhos)))
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(middle, float(low), float(high), tuple(None if np.isnan(rho) else rho for rho in whole))


def _mean(values: Numbers) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
