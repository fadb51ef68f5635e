"""The demo's result as plain values: accuracies, the share of the gain kept with its spread, what merging took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mergeometry.comparison.gain import Correct, Score, gain_shares


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
    behind: float = 0.0
    """How much less of the gain this row keeps than the first one."""
    behind_spread: float = 0.0
    """Standard deviation of ``behind`` over resampled test texts, both rows scored on the same ones."""


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
        """Rows that the first one does not beat by two standard deviations of the difference."""
        return [row for row in self.rows[1:] if row.behind <= 2 * row.behind_spread]


def rank(rows: Sequence[tuple[Row, Correct]], base: Correct, experts: Correct) -> tuple[Row, ...]:
    """Sort rows by the gain kept at their best scale, and say how far each is behind the first, and how surely."""
    ordered = sorted(rows, key=lambda pair: -pair[0].at_best.gain_kept)
    first = gain_shares(ordered[0][1], base, experts)
    ranked = []
    for row, correct in ordered:
        behind = first - gain_shares(correct, base, experts)
        ranked.append(replace(row, behind=float(behind[0]), behind_spread=float(behind[1:].std())))
    return tuple(ranked)
