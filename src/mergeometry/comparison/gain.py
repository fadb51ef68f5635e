"""The share of the experts' gain that a merge keeps, with its spread over resampled inputs.

Every input of a task has a score, such as 1 if it is classified correctly and 0 if not; a model's score on the task is
their mean. Where inputs count unequally, as texts do by their tokens, weights say how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, UInt16

RESAMPLES = 1000
"""How often the inputs are resampled, with replacement, to estimate the spread of a figure."""

Correct = Mapping[str, Sequence[float]]
"""Task to the score of each of its inputs, in one order for all models: for a classifier, whether it is correct."""


@dataclass(frozen=True, slots=True)
class Score:
    """The results of one set of weights on the test texts."""

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
    """``sum_t (merged - base) / sum_t (experts - base)`` on the test texts, then on each resampled set of them.

    The draws are the same for all models, so that methods are compared on the same texts. Where the experts gain
    nothing in a draw, its share is infinite or not a number.
    """
    kept = resampled_differences(merged, base, tuple(merged), weights)
    gained = resampled_differences(experts, base, tuple(merged), weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return kept / gained


def resampled_differences(
    first: Correct, second: Correct, tasks: Sequence[str], weights: Correct | None = None
) -> Float64[np.ndarray, " draws"]:
    """``sum_t (first - second)`` of the tasks' means, on all inputs, then on each resampled set of them."""
    total = np.zeros(RESAMPLES + 1)
    counts = tuple(len(second[task]) for task in tasks)
    for task, times in zip(tasks, _draws(counts), strict=True):
        differences = np.asarray(first[task], dtype=float) - np.asarray(second[task], dtype=float)
        counts_as = np.ones(len(differences)) if weights is None else np.asarray(weights[task], dtype=float)
        sums = times.astype(float) @ np.stack([differences * counts_as, counts_as], axis=1)
        total += sums[:, 0] / sums[:, 1]
    return total


@lru_cache(maxsize=4)
def _draws(counts: tuple[int, ...]) -> tuple[UInt16[np.ndarray, "draws inputs"], ...]:
    """How often each input of each task is drawn: once in the first row, at random in the others."""
    generator = np.random.default_rng(0)
    draws = []
    for count in counts:
        times = np.ones((RESAMPLES + 1, count), dtype=np.uint16)
        for row, drawn in enumerate(generator.integers(0, count, (RESAMPLES, count)), 1):
            times[row] = np.bincount(drawn, minlength=count)
        draws.append(times)
    return tuple(draws)
