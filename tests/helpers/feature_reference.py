"""Slow float64 references of the figures on features, from the papers' definitions alone, without the package."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def linear_cka(first: Any, second: Any) -> float:
    """Kornblith et al. 2019: by products of the features, not of the inputs."""
    x, y = (one - one.mean(axis=0) for one in (np.asarray(first, np.float64), np.asarray(second, np.float64)))
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _dependence(one: np.ndarray, other: np.ndarray) -> float:
    """HSIC's U-statistic: the mean over all four different inputs."""
    total, count = 0.0, 0
    for i, j, q, r in itertools.permutations(range(len(one)), 4):
        total += one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
        count += 1
    return total / count


def unbiased_cka(first: Any, second: Any) -> float:
    k, m = (np.asarray(one, np.float64) @ np.asarray(one, np.float64).T for one in (first, second))
    return _dependence(k, m) / np.sqrt(_dependence(k, k) * _dependence(m, m))


def collapse(features: Any, classes: Any, head: Any, predicted: Any) -> dict[str, float]:
    """Papyan, Han and Donoho 2020, with whole covariances and loops over inputs and pairs of classes."""
    features, classes, head = np.asarray(features, np.float64), np.asarray(classes), np.asarray(head, np.float64)
    kept = [number for number in range(len(head)) if (classes == number).sum() >= 2]
    means = [features[classes == number].mean(axis=0) for number in kept]
    centre = np.mean(means, axis=0)
    between = np.mean([np.outer(mean - centre, mean - centre) for mean in means], axis=0)
    spreads = []
    for number, mean in zip(kept, means, strict=True):
        own = features[classes == number]
        spreads.append(np.mean([np.outer(row - mean, row - mean) for row in own], axis=0))
    within = np.mean(spreads, axis=0)
    directions = [mean - centre for mean in means]
    lengths = np.array([np.linalg.norm(one) for one in directions])
    cosines = [
        one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
        for one, other in itertools.combinations(directions, 2)
    ]
    weight, stacked = head[kept], np.array(directions)
    inside = [place for place in range(len(features)) if classes[place] in kept]
    wrong = [
        kept[int(np.argmin([np.linalg.norm(features[place] - mean) for mean in means]))] != predicted[place]
        for place in inside
    ]
    return {
        "nc1": float(np.trace(within @ np.linalg.pinv(between, rcond=1e-9)) / len(kept)),
        "nc2_lengths": float(lengths.std() / lengths.mean()),
        "nc2_angles": float(np.mean([abs(cosine + 1 / (len(kept) - 1)) for cosine in cosines])),
        "nc3": float(np.linalg.norm(weight / np.linalg.norm(weight) - stacked / np.linalg.norm(stacked)) ** 2),
        "nc4": float(np.mean(wrong)),
    }
