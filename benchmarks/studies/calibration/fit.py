"""A regularised model of each task's loss, chosen and fitted on some families of boards, tested on one it never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from benchmarks.studies.calibration.correlation import spearman

SQUARED = "squared: "
CANDIDATES = (
    "share_held", "distance", "distance_of_base", "foreign", "relative_norm", "alignment", "consistency", "accumulated",
    f"{SQUARED}share_held", f"{SQUARED}distance", f"{SQUARED}distance_of_base", f"{SQUARED}foreign",
    f"{SQUARED}accumulated",
)  # fmt: skip
"""Figures that a report has of one task in one merge, and squares of those that have no bound."""
MOST = 2
"""Figures of a model, and never more than the kinds of models that it is fitted on."""
PENALTIES = (0.01, 0.1, 1.0)
"""Of ridge regression on standardised figures, over the number of rows."""
COVERAGE = 0.9
"""What the interval is made for."""
LEAST = 0.05
"""Nats below which estimates are not told apart: about the sampling error of a score on a few hundred inputs."""


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
    """The interval's ends, as multiples of the estimate to add to it: quantiles of the errors on held-out families."""

    def estimate(self, rows: Rows) -> np.ndarray:
        """The nats that each row's task is estimated to lose."""
        return np.maximum(LEAST, self.intercept + (rows.matrix(self.names) - self.centre) / self.size @ self.weights)


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


def held_out(families: Families, names: Sequence[str], penalty: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The loss of each family's rows, and its estimate by a model that was fitted on the others.

    Of one family alone, each task is held out.
    """
    result, parts = {}, _parts(families)
    for name, rows in parts.items():
        others = {other: own for other, own in parts.items() if other != name}
        result[name] = rows.lost, ridge(others, names, penalty).estimate(rows)
    return result


def _parts(families: Families) -> Families:
    if len(families) > 1:
        return families
    (rows,) = families.values()
    return {task: rows.of_task(task) for task in dict.fromkeys(rows.tasks.tolist())}


def chosen(families: Families, candidates: Sequence[str] = CANDIDATES) -> Model:
    """The figures and the penalty of the least error on held-out families, fitted on all; with the interval.

    Of choices with equal error, the one with fewer figures.
    """
    best: tuple[float, tuple[str, ...], float, Mapping[str, tuple[np.ndarray, np.ndarray]]] | None = None
    for count in range(1, min(MOST, len(families)) + 1):
        for names in combinations(candidates, count):
            for penalty in PENALTIES:
                results = held_out(families, names, penalty)
                error = float(np.mean([np.abs(lost - estimate).mean() for lost, estimate in results.values()]))
                if best is None or error < best[0] - 1e-4:
                    best = (error, names, penalty, results)
    assert best is not None
    _, names, penalty, results = best
    below, above = interval(results)
    model = ridge(families, names, penalty)
    return Model(model.names, model.centre, model.size, model.weights, model.intercept, penalty, below, above)


def interval(results: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """The widest of the families' own quantiles of the error over the estimate, for errors grow with the loss.

    The widest is what is asked of a family that was never seen; the average row would need less.
    """
    edges = [
        np.quantile((lost - estimate) / estimate, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        for lost, estimate in results.values()
    ]
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
    rho: float | None
    """None where the estimate is the same for every row."""
    coverage: float
    below: float
    above: float
    rows: int


def error_on(families: Families, fitted: Sequence[str], unseen: str, candidates: Sequence[str] = CANDIDATES) -> Tested:
    """Choose and fit on some families, test on another."""
    own = {name: families[name] for name in fitted}
    model, rows = chosen(own, candidates), families[unseen]
    estimates = model.estimate(rows)
    constant = float(np.mean([other.lost.mean() for other in own.values()]))
    errors = rows.lost - estimates
    rho = float(spearman(estimates, rows.lost))
    inside = (errors >= model.below * estimates) & (errors <= model.above * estimates)
    return Tested(
        tuple(fitted), unseen, model.names, float(np.abs(errors).mean()), float(np.abs(rows.lost - constant).mean()),
        None if math.isnan(rho) else rho, float(inside.mean()), model.below, model.above, len(rows.lost),
    )  # fmt: skip
