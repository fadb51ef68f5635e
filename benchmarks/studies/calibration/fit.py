"""A regularised model of each task's loss, chosen and fitted on some families of boards, tested on one it never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from benchmarks.studies.calibration.correlation import spearman

CANDIDATES = (
    "share_held",
    "distance",
    "distance_of_base",
    "foreign",
    "relative_norm",
    "alignment",
    "consistency",
    "disturbance",
    "accumulated",
)
"""Figures of one task in one merge; which of them are used is chosen on the boards that are fitted."""
MOST = 3
PENALTIES = (0.01, 0.1, 1.0)
"""Of ridge regression on standardised figures, over the number of rows."""
COVERAGE = 0.9
"""What the interval is made for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one family of boards: their figures by name, and the nats that each task lost."""

    figures: Mapping[str, np.ndarray]
    lost: np.ndarray
    tasks: np.ndarray
    """The task of each row."""

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """Rows by figures."""
        return np.stack([self.figures[name] for name in names], axis=1)

    def of_task(self, task: str) -> Rows:
        """The rows of one task."""
        mask = self.tasks == task
        return Rows({name: own[mask] for name, own in self.figures.items()}, self.lost[mask], self.tasks[mask])


@dataclass(frozen=True, slots=True)
class Model:
    """``lost = intercept + sum_i weight_i (figure_i - centre_i) / size_i``, and the interval around it."""

    names: tuple[str, ...]
    centre: np.ndarray
    size: np.ndarray
    weights: np.ndarray
    intercept: float
    penalty: float
    below: float = math.nan
    above: float = math.nan
    """What to add for the interval's ends: quantiles of the errors on families that were held out of the fit."""

    def estimate(self, rows: Rows) -> np.ndarray:
        """The nats that each row's task is estimated to lose."""
        return self.intercept + (rows.matrix(self.names) - self.centre) / self.size @ self.weights


Families = Mapping[str, Rows]
"""Kind of models, such as adapters of texts, to its rows."""


def weights_of(families: Families) -> np.ndarray:
    """Every family counts alike, however many merges it has."""
    return np.concatenate([np.full(len(rows.lost), 1 / len(rows.lost)) for rows in families.values()])


def ridge(families: Families, names: Sequence[str], penalty: float) -> Model:
    """Fit one choice of figures."""
    stacked = np.concatenate([rows.matrix(names) for rows in families.values()])
    lost = np.concatenate([rows.lost for rows in families.values()])
    counts = weights_of(families) / len(families)
    centre = counts @ stacked
    size = np.sqrt(counts @ (stacked - centre) ** 2)
    size = np.where(size > 0, size, 1.0)
    scaled, intercept = (stacked - centre) / size, float(counts @ lost)
    gram = (scaled * counts[:, None]).T @ scaled + penalty * np.eye(len(names))
    weights = np.linalg.solve(gram, (scaled * counts[:, None]).T @ (lost - intercept))
    return Model(tuple(names), centre, size, weights, intercept, penalty)


def held_out_errors(families: Families, names: Sequence[str], penalty: float) -> dict[str, np.ndarray]:
    """Actual minus estimated loss of each family, by a model that was fitted on the others.

    Of one family alone, each task is held out.
    """
    errors, parts = {}, _parts(families)
    for name, rows in parts.items():
        others = {other: own for other, own in parts.items() if other != name}
        errors[name] = rows.lost - ridge(others, names, penalty).estimate(rows)
    return errors


def _parts(families: Families) -> Families:
    if len(families) > 1:
        return families
    (rows,) = families.values()
    return {task: rows.of_task(task) for task in dict.fromkeys(rows.tasks.tolist())}


def chosen(families: Families, candidates: Sequence[str] = CANDIDATES) -> Model:
    """The figures and the penalty of the least error on held-out families, fitted on all; with the interval.

    Of choices with equal error, the one with fewer figures.
    """
    best: tuple[float, tuple[str, ...], float, dict[str, np.ndarray]] | None = None
    for count in range(1, MOST + 1):
        for names in combinations(candidates, count):
            for penalty in PENALTIES:
                errors = held_out_errors(families, names, penalty)
                error = float(np.mean([np.abs(own).mean() for own in errors.values()]))
                if best is None or error < best[0] - 1e-4:
                    best = (error, names, penalty, errors)
    assert best is not None
    _, names, penalty, errors = best
    below, above = interval(errors)
    model = ridge(families, names, penalty)
    return Model(model.names, model.centre, model.size, model.weights, model.intercept, penalty, below, above)


def interval(errors: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """The widest of the families' own quantiles: what holds for an unseen family, not for the average row."""
    edges = [np.quantile(own, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]) for own in errors.values()]
    return float(min(low for low, _ in edges)), float(max(high for _, high in edges))


@dataclass(frozen=True, slots=True)
class Tested:
    """What a model that was chosen and fitted on other families is worth on one that it never saw."""

    fitted_on: tuple[str, ...]
    tested_on: str
    names: tuple[str, ...]
    error: float
    """Mean absolute error in nats."""
    constant_error: float
    """The same of estimating the fitted families' mean loss for every row."""
    rho: float
    coverage: float
    width: float
    rows: int


def tested(families: Families, fitted: Sequence[str], unseen: str, candidates: Sequence[str] = CANDIDATES) -> Tested:
    """Choose and fit on some families, test on another."""
    own = {name: families[name] for name in fitted}
    model, rows = chosen(own, candidates), families[unseen]
    estimates = model.estimate(rows)
    constant = float(np.mean([other.lost.mean() for other in own.values()]))
    errors = rows.lost - estimates
    inside = (errors >= model.below) & (errors <= model.above)
    return Tested(
        tuple(fitted), unseen, model.names, float(np.abs(errors).mean()), float(np.abs(rows.lost - constant).mean()),
        float(spearman(estimates, rows.lost)), float(inside.mean()), model.above - model.below, len(rows.lost),
    )  # fmt: skip
