"""The demo's result as plain values: accuracies, the share of the gain kept with its spread, what merging took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
"""Times that the test texts are drawn anew, with replacement, to see how far a figure would move."""


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


@dataclass(frozen=True, slots=True)
class Row:
    """One method: its score as merged, its score at the scale that validation chose, and what merging took."""

    name: str
    at_one: Score
    at_best: Score
    best_scale: float
    validation: dict[str, float]
    """Scale to mean validation accuracy."""
    seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All rows, best first, between the base and the experts."""

    tasks: tuple[str, ...]
    texts: dict[str, int]
    base: dict[str, float]
    experts: dict[str, float]
    rows: tuple[Row, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The leaderboard as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Leaderboard:
        """Read what `to_json` wrote."""
        rows = [
            Row(**{**row, "at_one": Score(**row["at_one"]), "at_best": Score(**row["at_best"])})
            for row in value["rows"]
        ]
        return cls(**{**value, "tasks": tuple(value["tasks"]), "rows": tuple(rows)})

    def within_noise(self) -> list[Row]:
        """Rows that the winner does not beat by more than the spread of the two together."""
        winner = self.rows[0]
        return [
            row
            for row in self.rows[1:]
            if winner.at_best.gain_kept - row.at_best.gain_kept
            <= (winner.at_best.spread**2 + row.at_best.spread**2) ** 0.5
        ]


Correct = Mapping[str, list[bool]]
"""Task to whether each test text was classified right, in one order for all weights."""


def score(merged: Correct, base: Correct, experts: Correct) -> Score:
    """Accuracies, and ``sum_t (merged - base) / sum_t (experts - base)`` with its spread over resampled texts."""
    accuracy = {task: float(np.mean(correct)) for task, correct in merged.items()}
    generator = np.random.default_rng(0)
    kept, gained = np.zeros(RESAMPLES + 1), np.zeros(RESAMPLES + 1)
    for task, correct in merged.items():
        count = len(correct)
        # The first draw is the texts themselves. All weights are drawn alike: they are scored on the same texts.
        draws = np.vstack([np.arange(count), generator.integers(0, count, (RESAMPLES, count))])
        before = np.asarray(base[task], dtype=float)
        kept += (np.asarray(correct, dtype=float) - before)[draws].mean(axis=1)
        gained += (np.asarray(experts[task], dtype=float) - before)[draws].mean(axis=1)
    shares = kept / gained
    return Score(accuracy, float(shares[0]), float(shares[1:].std()))
