"""Rank correlations with intervals by the bootstrap: over merges, over tasks, over pairs of models, over layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import rankdata

RESAMPLES = 500
LEVEL = 0.95
MARGIN = 0.05
"""How much farther from zero than every control a figure has to be: less is the control in other clothes."""

Numbers = np.ndarray


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's coefficient, its interval, and its value on every board; None where nothing varies."""

    rho: float | None
    low: float | None
    high: float | None
    boards: tuple[float | None, ...]

    @property
    def agrees(self) -> bool:
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
    return _over_tables(boards, lambda table, drawn: table[:, drawn], axis=1)


def over_rows(boards: Sequence[tuple[Numbers, Numbers]]) -> Correlation:
    """Of the same tables: the coefficient of the rows' means, such as of merges over all their tasks."""
    means = [(figure.mean(axis=1)[None], loss.mean(axis=1)[None]) for figure, loss in boards]
    return _over_tables(means, lambda table, drawn: table[:, drawn], axis=1)


def within_rows(boards: Sequence[tuple[Numbers, Numbers]]) -> Correlation:
    """The mean of the rows' coefficients, such as of tasks over their layers; rows are resampled."""
    return _over_tables(boards, lambda table, drawn: table[drawn], axis=0)


Pairs = tuple[Sequence[tuple[str, str]], Numbers, Numbers]
"""Pairs of models with a figure and a loss of each."""


def over_pairs_of(boards: Sequence[Pairs]) -> Correlation:
    """Of one value per pair: models are resampled, for pairs that share one are not independent."""
    return _bootstrapped(
        [float(spearman(figure, loss)) for _, figure, loss in boards],
        [partial(_of_drawn_models, own) for own in boards],
    )


def _of_drawn_models(own: Pairs, generator: np.random.Generator) -> float:
    pairs, figure, loss = own
    models = sorted({name for pair in pairs for name in pair})
    places = {frozenset(pair): place for place, pair in enumerate(pairs)}
    chosen = generator.choice(models, len(models))
    taken = [places[pair] for one, other in combinations(chosen, 2) if (pair := frozenset((one, other))) in places]
    return float(spearman(figure[taken], loss[taken])) if len(taken) > 1 else math.nan


def _over_tables(
    boards: Sequence[tuple[Numbers, Numbers]], take: Callable[[Numbers, Numbers], Numbers], axis: int
) -> Correlation:
    def draw(board: tuple[Numbers, Numbers], generator: np.random.Generator) -> float:
        figure, loss = board
        places = generator.integers(0, figure.shape[axis], figure.shape[axis])
        return _mean(spearman(take(figure, places), take(loss, places)))

    return _bootstrapped(
        [_mean(spearman(figure, loss)) for figure, loss in boards], [partial(draw, board) for board in boards]
    )


def _bootstrapped(whole: Sequence[float], draws: Sequence[Callable[[np.random.Generator], float]]) -> Correlation:
    """The mean of the boards' coefficients, with the interval of the means of their redrawn ones."""
    middle = _mean(np.array(whole))
    if np.isnan(middle):
        return Correlation(None, None, None, tuple(None for _ in whole))
    generator = np.random.default_rng(0)
    drawn = [_mean(np.array([draw(generator) for draw in draws])) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(middle, float(low), float(high), tuple(None if np.isnan(rho) else rho for rho in whole))


def _mean(values: Numbers) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def against_controls(found: dict[str, dict[str, Any]], controls: Collection[str]) -> dict[str, dict[str, Any]]:
    """Figures to levels to coefficients, where those of figures hold only if they beat every control of the level."""
    for name, levels in found.items():
        for level, own in levels.items():
            strongest = max((abs(found[one][level]["rho"]) for one in controls if level in found[one]), default=0.0)
            own["holds"] = own["agrees"] and (name in controls or abs(own["rho"]) > strongest + MARGIN)
    return found
