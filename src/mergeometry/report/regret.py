"""What scales without labels lose against the validated one: tables of regret, rows methods and columns rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison, RuleFigures

KINDS = (("model", "One scale for the model"), ("tensor", "A scale for each tensor"))


@dataclass(frozen=True, slots=True)
class RegretTable:
    """One table in words: a row a method under the rules' names, and what they lose on average and at worst."""

    title: str
    rules: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    mean: tuple[str, ...]
    worst: tuple[str, ...]


def regret_tables(comparison: Comparison) -> list[RegretTable]:
    """A table for rules that give the model one scale, and one for those that give each tensor its own."""
    found = []
    for per, title in KINDS:
        rules = [rule for rule in comparison.rules if _figures(comparison, rule)[0].per == per]
        if not rules:
            continue
        rows = tuple((row.name, tuple(cell(comparison, row.rules[rule]) for rule in rules)) for row in comparison.rows)
        regrets = [list(_regrets(comparison, rule)) for rule in rules]
        mean = tuple(_points(comparison, sum(own) / len(own)) if own else "–" for own in regrets)
        worst = tuple(_points(comparison, max(own)) if own else "–" for own in regrets)
        found.append(RegretTable(title, tuple(rules), rows, mean, worst))
    return found


def least_regret(comparison: Comparison) -> str:
    """The rule that loses least on average among those that every method has a value for, in a sentence."""
    every = {rule: list(_regrets(comparison, rule)) for rule in comparison.rules}
    whole = {rule: own for rule, own in every.items() if len(own) == len(comparison.rows)}
    if not whole:
        return ""
    best = min(whole, key=lambda rule: (sum(whole[rule]), comparison.rules.index(rule)))
    unit = "points" if comparison.measure == "accuracy" else "nats"
    mean, worst = (_points(comparison, value) for value in (sum(whole[best]) / len(whole[best]), max(whole[best])))
    return (
        f"Without labels, {best} loses least against the validated scale: {mean} {unit} on average, {worst} at worst."
    )


def cell(comparison: Comparison, own: RuleFigures) -> str:
    """The regret with its spread, and the scale behind it: the median of those that lie apart."""
    if own.regret is None or own.regret_spread is None or own.scale is None:
        return "–"
    scale = f"{own.scale:.3g}"
    if own.least is not None and own.largest is not None and own.largest > own.least:
        scale = f"{own.least:.2g} to {own.largest:.2g}"
    return f"{_points(comparison, own.regret)} ± {_points(comparison, own.regret_spread)} at {scale}"


def _regrets(comparison: Comparison, rule: str) -> Iterator[float]:
    return (own.regret for own in _figures(comparison, rule) if own.regret is not None)


def _figures(comparison: Comparison, rule: str) -> list[RuleFigures]:
    return [row.rules[rule] for row in comparison.rows]


def _points(comparison: Comparison, value: float) -> str:
    return f"{100 * value:.1f}" if comparison.measure == "accuracy" else f"{value:.3f}"
