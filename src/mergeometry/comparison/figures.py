"""From scores of single inputs to the figures of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mergeometry.comparison.gain import Correct, gain_shares, resampled_differences
from mergeometry.comparison.result import Figures, Measure, mean_of


@dataclass(frozen=True, slots=True)
class Ends:
    """The scores between which merges lie, on the test inputs: the base on all tasks, each expert on its own."""

    measure: Measure
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    base: Correct
    experts: Correct
    weights: Correct | None
    """How much each input counts; all equally where None."""


def figures_of(merged: Correct, ends: Ends) -> Figures:
    """The figures of one set of weights on all test inputs."""
    reached = measured(ends.measure, merged, ends.weights)
    experts = measured(ends.measure, ends.experts, ends.weights)
    normalised = {task: _normalised(ends.measure, reached[task], experts[task]) for task in ends.seen}
    worst = min(ends.seen, key=lambda task: normalised[task])
    shares = shares_of(merged, ends)
    unseen = {task: reached[task] for task in ends.unseen}
    better = resampled_differences(merged, ends.base, ends.unseen, ends.weights) / max(1, len(ends.unseen))
    return Figures(
        tasks={task: reached[task] for task in ends.seen},
        mean=mean_of(ends.measure, [reached[task] for task in ends.seen]),
        normalised=sum(normalised.values()) / len(normalised),
        gain_kept=None if shares is None else float(shares[0]),
        spread=None if shares is None else spread_of(shares),
        worst=worst,
        worst_normalised=normalised[worst],
        unseen=unseen,
        unseen_mean=mean_of(ends.measure, list(unseen.values())) if unseen else None,
        unseen_gain=float(better[0]) if unseen else None,
        unseen_spread=float(better[1:].std()) if unseen else None,
    )


def shares_of(merged: Correct, ends: Ends) -> Float64[np.ndarray, " draws"] | None:
    """Share of the gain kept on the seen tasks and its draws; None where the experts gain nothing."""
    gain = resampled_differences(ends.experts, ends.base, ends.seen, ends.weights)[0]
    if gain <= 0:
        return None
    return gain_shares({task: merged[task] for task in ends.seen}, ends.base, ends.experts, ends.weights)


def spread_of(shares: Float64[np.ndarray, " draws"]) -> float | None:
    """Standard deviation over the draws; None if the experts gain nothing in one of them."""
    spread = float(shares[1:].std()) if bool(np.isfinite(shares).all()) else math.nan
    return spread if math.isfinite(spread) else None


def worth(numbers: Correct, weights: Correct | None, tasks: Sequence[str]) -> float:
    """Mean over the tasks of their inputs' mean, by which validation chooses: higher is better."""
    return sum(_mean(numbers[task], None if weights is None else weights[task]) for task in tasks) / len(tasks)


def shown(measure: Measure, value: float) -> float:
    """A mean accuracy unchanged, a mean log-likelihood as a perplexity."""
    return value if measure == "accuracy" else math.exp(-value)


def measured(measure: Measure, numbers: Correct, weights: Correct | None) -> dict[str, float]:
    """Accuracy or perplexity of each task."""
    return {
        task: shown(measure, _mean(scores, None if weights is None else weights[task]))
        for task, scores in numbers.items()
    }


def spread_of_task(measure: Measure, numbers: Correct, weights: Correct | None, task: str) -> float:
    """Standard deviation of a task's accuracy or perplexity over resampled inputs."""
    zeros = {task: [0.0] * len(numbers[task])}
    draws = resampled_differences(numbers, zeros, [task], weights)[1:]
    return float(np.std([shown(measure, mean) for mean in draws]))


def difference(first: Correct, second: Correct, ends: Ends) -> tuple[float, float]:
    """How much better the first is on the seen tasks, in mean accuracy or log-loss, with its standard deviation."""
    draws = resampled_differences(first, second, ends.seen, ends.weights) / len(ends.seen)
    return float(draws[0]), float(draws[1:].std())


def _mean(numbers: Sequence[float], weights: Sequence[float] | None) -> float:
    return float(np.average(np.asarray(numbers, dtype=float), weights=weights))


def _normalised(measure: Measure, reached: float, expert: float) -> float:
    if measure == "perplexity":
        return expert / reached
    # An expert that is never right leaves nothing to lose.
    return reached / expert if expert else 1.0
