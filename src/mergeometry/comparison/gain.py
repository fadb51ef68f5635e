"""The share of the experts' gain that a merge keeps, with its spread over resampled inputs.

Every input of a task has a number, such as 1 where it is classified right and 0 where it is not; what a model is
worth on the task is their mean. Where inputs count unequally, as texts do by their tokens, weights say how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, UInt16

RESAMPLES = 1000
"""Times that the inputs are drawn anew, with replacement, to see how far a figure would move."""

Correct = Mapping[str, Sequence[float]]
"""Task to the number of each of its inputs, in one order for all weights: for a classifier, whether it is right."""


@dataclass(frozen=True, slots=True)
class Score:
    """How one set of weights does on the test texts."""

    accuracy: dict[str, float]
    gain_kept: float
    spread: float
    """Standard deviation of ``gain_kept`` over resampled test texts."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the tasks."""
        return sum(self.accuracy.values()) / len(self.accuracy)


def score(merged: Correct, base: Correct, experts: Correct) -> Score:
    """Accuracy on each task, and the share of the gain kept with its spread over resampled texts."""
    shares = gain_shares(merged, base, experts)
    accuracy = {task: float(np.mean(correct)) for task, correct in merged.items()}
    return Score(accuracy, float(shares[0]), float(shares[1:].std()))


def gain_shares(
    merged: Correct, base: Correct, experts: Correct, weights: Correct | None = None
) -> Float64[np.ndarray, " draws"]:
    """``sum_t (merged - base) / sum_t (experts - base)`` on the test texts, then on each of the resampled ones.

    The draws are the same for all weights, so that differences between methods are differences on the same texts.
    Where the experts gain nothing in a draw, its share is infinite or not a number.
    """
    kept = resampled_differences(merged, base, tuple(merged), weights)
    gained = resampled_differences(experts, base, tuple(merged), weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return kept / gained


def resampled_differences(
    first: Correct, second: Correct, tasks: Sequence[str], weights: Correct | None = None
) -> Float64[np.ndarray, " draws"]:
    """``sum_t (first - second)`` of the tasks' means, on all inputs and then on each of the resampled sets of them."""
    found = np.zeros(RESAMPLES + 1)
    counts = tuple(len(second[task]) for task in tasks)
    for task, times in zip(tasks, _draws(counts), strict=True):
        differences = np.asarray(first[task], dtype=float) - np.asarray(second[task], dtype=float)
        own = np.ones(len(differences)) if weights is None else np.asarray(weights[task], dtype=float)
        sums = times.astype(float) @ np.stack([differences * own, own], axis=1)
        found += sums[:, 0] / sums[:, 1]
    return found


@lru_cache(maxsize=4)
def _draws(counts: tuple[int, ...]) -> tuple[UInt16[np.ndarray, "draws inputs"], ...]:
    """How often each input of each task is drawn: once in the first row, by chance in the others."""
    generator = np.random.default_rng(0)
    found = []
    for count in counts:
        times = np.ones((RESAMPLES + 1, count), dtype=np.uint16)
        for row, drawn in enumerate(generator.integers(0, count, (RESAMPLES, count)), 1):
            times[row] = np.bincount(drawn, minlength=count)
        found.append(times)
    return tuple(found)
