"""A comparison's result as plain values: figures of every method between the base and the experts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Measure = Literal["accuracy", "perplexity"]


@dataclass(frozen=True, slots=True)
class Figures:
    """The results of one set of weights on the test inputs of the seen and the unseen tasks."""

    tasks: dict[str, float]
    """Task to its accuracy, or its perplexity."""
    mean: float
    """Mean accuracy, or the geometric mean of perplexities, which is the perplexity of the mean log-loss."""
    normalised: float
    """Mean over the tasks of accuracy divided by the expert's, or of the expert's perplexity divided by this."""
    gain_kept: float | None
    """Share of the experts' gain over the base, in accuracy or log-loss; None where the experts gain nothing."""
    spread: float | None
    """Standard deviation of ``gain_kept`` over resampled inputs."""
    worst: str
    """The task that keeps least of its expert."""
    worst_normalised: float
    unseen: dict[str, float]
    unseen_mean: float | None
    unseen_gain: float | None
    """How much better than the base on unseen tasks, in mean accuracy or mean log-loss."""
    unseen_spread: float | None


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """The results of a scale rule with one method, on the test inputs of the seen tasks."""

    rule: str
    per: str
    factor: float
    """A constant that multiplies the rule's value: 1 is the rule itself."""
    scale: float | None
    """The scale, or the median of a rule that scales each tensor; None where the rule has no value."""
    least: float | None
    largest: float | None
    without: int
    """How many tensors keep the scale 1, since the rule has no value for them."""
    mean: float | None
    """Mean accuracy, or perplexity of the mean log-loss."""
    gain_kept: float | None
    spread: float | None
    regret: float | None
    """How much less mean accuracy, or more mean log-loss, than at the validated scale on the same inputs."""
    regret_spread: float | None
    problem: str
    """Why the rule has no value here."""


@dataclass(frozen=True, slots=True)
class CompareRow:
    """One method: at scale 1, at the scale that validation chose, and along the curve."""

    name: str
    method: dict[str, Any]
    refine: list[Any]
    validation: dict[str, float]
    """Scale to mean validation accuracy, or perplexity of the mean log-loss."""
    best_scale: float
    at_one: Figures
    at_best: Figures
    behind: float
    """How much less mean accuracy, or more mean log-loss, than the first row on the same test inputs."""
    behind_spread: float
    """Standard deviation of ``behind`` over resampled inputs."""
    regret_at_one: float
    """What scale 1 loses against the validated scale, in mean accuracy or mean log-loss on the test inputs."""
    regret_spread: float
    seconds: float
    """Reading, decomposing and merging by this method alone, on one core; shared work is counted for each method."""
    memory: int
    """The most bytes that a merge by this method alone takes in one process, as `mergeometry plan` estimates."""
    rules: dict[str, RuleFigures] = field(default_factory=dict)
    """The results of scale rules, which see no labels, with this method."""
    other: str | dict[str, Any] | None = None
    """What merges tensors that are not matrices, where the row says so."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the other models gain where one is left out of the merge, by one method."""

    model: str
    method: str
    """The name of the method's row."""
    scale: float
    """The scale that validation chose with all models, and without this one."""
    scale_without: float
    gain: float
    """How much better the others' tasks are, in mean accuracy or mean log-loss on the test inputs."""
    spread: float
    """Standard deviation of ``gain`` over resampled inputs."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """All rows, best first, between the base and the experts."""

    measure: Measure
    """What scores are: accuracies, or perplexities of language models."""
    seen: tuple[str, ...]
    """Tasks whose model is merged."""
    unseen: tuple[str, ...]
    """Tasks that are scored though none of their models is merged."""
    inputs: dict[str, dict[str, int]]
    """Split to task to number of inputs."""
    scales: tuple[float, ...]
    """The scales at which every method was scored."""
    base: dict[str, float]
    """The base on the test inputs of each task."""
    experts: dict[str, float]
    """Each expert on the test inputs of its own task."""
    base_validation: float
    """The base's mean on the validation inputs of the seen tasks."""
    experts_validation: float
    """The experts' mean on the validation inputs of their own tasks."""
    rows: tuple[CompareRow, ...]
    """One per method, best first."""
    notes: tuple[str, ...]
    """What was left out or decided, in sentences."""
    seed: int
    """The recipe's seed."""
    seconds: float
    """Wall-clock time of the comparison."""
    peak_memory: int
    """Peak memory of any one process of the comparison, in bytes."""
    rules: tuple[str, ...] = ()
    """Scale rules that were scored along with the validated scale."""
    left_out: tuple[LeftOut, ...] = ()
    """What the others gain without each model, where that was asked for."""

    def __repr__(self) -> str:
        rows = ", ".join(f"{row.name} {row.at_best.mean:.4g}" for row in self.rows)
        return f"Comparison({self.measure} on {len(self.seen)} tasks: {rows})"

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return asdict(self)

    def mean_of(self, figures: Mapping[str, float]) -> float:
        """Mean of the seen tasks' accuracies, or geometric mean of their perplexities."""
        return mean_of(self.measure, [figures[task] for task in self.seen])

    def within_noise(self) -> list[CompareRow]:
        """Rows that the first one does not beat by two standard deviations of the difference."""
        return [row for row in self.rows[1:] if row.behind <= 2 * row.behind_spread]


def mean_of(measure: Measure, values: Sequence[float]) -> float:
    """Mean of accuracies, geometric mean of perplexities."""
    if measure == "accuracy":
        return sum(values) / len(values)
    return math.exp(sum(map(math.log, values)) / len(values))
