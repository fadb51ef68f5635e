"""What scales without labels lose against the validated one: tables of regret, a row per method, a column per rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergeometry.comparison.result import Comparison, RuleFigures

KINDS = (
    ("model", "One scale for the model"),
    ("layer", "A scale for each layer"),
    ("tensor", "A scale for each tensor"),
)


@dataclass(frozen=True, slots=True)
class RegretTable:
    """One table as text: a row per method and a column per rule, with the rules' mean and worst regret."""

    title: str
    rules: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    mean: tuple[str, ...]
    worst: tuple[str, ...]


def regret_tables(comparison: Comparison) -> list[RegretTable]:
    """A table for rules that give the model one scale, and one each for those by layer and by tensor."""
    tables = []
    for per, title in KINDS:
        rules = [rule for rule in comparison.rules if _figures(comparison, rule)[0].per == per]
        if not rules:
            continue
        rows = tuple((row.name, tuple(cell(comparison, row.rules[rule]) for rule in rules)) for row in comparison.rows)
        regrets = [list(_regrets(comparison, rule)) for rule in rules]
        mean = tuple(_points(comparison, sum(column) / len(column)) if column else "–" for column in regrets)
        worst = tuple(_points(comparison, max(column)) if column else "–" for column in regrets)
        tables.append(RegretTable(title, tuple(rules), rows, mean, worst))
    return tables


def least_regret(comparison: Comparison) -> str:
    """A sentence on the rule that loses least on average, among those with a value for every method."""
    every = {rule: list(_regrets(comparison, rule)) for rule in comparison.rules}
    whole = {rule: regrets for rule, regrets in every.items() if len(regrets) == len(comparison.rows)}
    if not whole:
        return ""
    best = min(whole, key=lambda rule: (sum(whole[rule]), comparison.rules.index(rule)))
    unit = "points" if comparison.measure == "accuracy" else "nats"
    mean, worst = (_points(comparison, value) for value in (sum(whole[best]) / len(whole[best]), max(whole[best])))
    return (
        f"Without labels, {best} loses least against the validated scale: {mean} {unit} on average, {worst} at worst."
    )


def cell(comparison: Comparison, figures: RuleFigures) -> str:
    """The regret with its spread, and the scale: a range where the tensors' scales differ."""
    if figures.regret is None or figures.regret_spread is None or figures.scale is None:
        return "–"
    scale = f"{figures.scale:.3g}"
    if figures.least is not None and figures.largest is not None and figures.largest > figures.least:
        scale = f"{figures.least:.2g} to {figures.largest:.2g}"
    return f"{_points(comparison, figures.regret)} ± {_points(comparison, figures.regret_spread)} at {scale}"


def _regrets(comparison: Comparison, rule: str) -> Iterator[float]:
    return (figures.regret for figures in _figures(comparison, rule) if figures.regret is not None)


def _figures(comparison: Comparison, rule: str) -> list[RuleFigures]:
    return [row.rules[rule] for row in comparison.rows]


def _points(comparison: Comparison, value: float) -> str:
    return f"{100 * value:.1f}" if comparison.measure == "accuracy" else f"{value:.3f}"
