"""The demo's result as plain values: accuracies, the share of the gain kept with its spread, what merging took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mergeometry.comparison.gain import Correct, Score, gain_shares, resampled_differences


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more mean accuracy one model has than another, and its standard deviation over resampled test texts."""

    value: float
    spread: float

    @property
    def is_clear(self) -> bool:
        """Whether it is more than two standard deviations above zero."""
        return self.value > 2 * self.spread


@dataclass(frozen=True, slots=True)
class Points:
    """A row's mean accuracy against the base, and how far behind the best row it is; at scale 1 and its best scale."""

    at_one: Difference
    at_best: Difference
    behind_at_one: Difference
    behind_at_best: Difference


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
    """How much less of the gain this row keeps at its best scale than the first one does at its own."""
    behind_spread: float = 0.0
    """Standard deviation of ``behind`` over resampled test texts, both rows scored on the same ones."""
    points: Points | None = None
    """The same in points of mean accuracy; None in a file that was written before they were."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All rows, best first, between the base and the experts."""

    tasks: tuple[str, ...]
    texts: dict[str, int]
    base: dict[str, float]
    experts: dict[str, float]
    rows: tuple[Row, ...]
    seconds: float
    above_base: Difference | None = None
    """Of the experts' mean accuracy."""

    def to_json(self) -> dict[str, Any]:
        """The leaderboard as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Leaderboard:
        """Read what `to_json` wrote."""
        rows = [
            Row(
                **{
                    **row,
                    "at_one": Score(**row["at_one"]),
                    "at_best": Score(**row["at_best"]),
                    "points": _points_of(row.get("points")),
                }
            )
            for row in value["rows"]
        ]
        above = value.get("above_base")
        read = {"tasks": tuple(value["tasks"]), "rows": tuple(rows), "above_base": above and Difference(**above)}
        return cls(**{**value, **read})

    def within_noise(self) -> list[Row]:
        """Rows that the first one does not beat by two standard deviations of the difference."""
        return [row for row in self.rows[1:] if row.behind <= 2 * row.behind_spread]

    def best_at_one(self) -> Row:
        """The row that keeps most at scale 1."""
        return max(self.rows, key=lambda row: row.at_one.gain_kept)


def rank(rows: Sequence[tuple[Row, Correct, Correct]], base: Correct, experts: Correct) -> tuple[Row, ...]:
    """Sort rows by the gain kept at their best scale, and say how far each is behind the first, and how surely.

    Each row comes with what it has right at scale 1 and at its best scale.
    """
    ordered = sorted(rows, key=lambda row: -row[0].at_best.gain_kept)
    _, _, first = ordered[0]
    _, first_at_one, _ = max(ordered, key=lambda row: row[0].at_one.gain_kept)
    shares = gain_shares(first, base, experts)
    ranked = []
    for row, at_one, at_best in ordered:
        behind = shares - gain_shares(at_best, base, experts)
        points = Points(
            difference(at_one, base),
            difference(at_best, base),
            difference(first_at_one, at_one),
            difference(first, at_best),
        )
        ranked.append(replace(row, behind=float(behind[0]), behind_spread=float(behind[1:].std()), points=points))
    return tuple(ranked)


def difference(first: Correct, second: Correct) -> Difference:
    """How much more mean accuracy the first has than the second on the same texts."""
    means = resampled_differences(first, second, tuple(first)) / len(first)
    return Difference(float(means[0]), float(means[1:].std()))


def _points_of(value: Mapping[str, Any] | None) -> Points | None:
    return None if value is None else Points(**{name: Difference(**part) for name, part in value.items()})
