"""Comparisons made up of a few numbers, with any names, for the tables and pages that show them."""

from __future__ import annotations

from typing import Any

from mergeometry.comparison.figures import Ends, figures_of
from mergeometry.comparison.result import CompareRow, Comparison


def ends(measure: Any = "accuracy", weights: Any = None) -> Ends:
    base = {"a": [1, 0, 0, 0], "b": [1, 1, 0, 0], "new": [0, 0, 1, 1]}
    return Ends(measure, ("a", "b"), ("new",), base, {"a": [1, 1, 1, 1], "b": [1, 1, 1, 0]}, weights)


def comparison(*names: str, measure: Any = "accuracy") -> Comparison:
    found = figures_of({"a": [1, 1, 0, 0], "b": [1, 1, 1, 0], "new": [1, 1, 1, 0]}, ends())
    rows = tuple(
        CompareRow(
            name, {"name": "ties"}, [], {"0.5": 0.6 + 0.01 * n, "1": 0.7, "2": 0.5}, 1.0, found, found,
            0.02 * n, 0.005, 0.01, 0.01, 1.5, 300_000_000,
        )
        for n, name in enumerate(names)
    )  # fmt: skip
    counts = {"validation": {"a": 4, "b": 4}, "test": {"a": 4, "b": 4, "new": 4}}
    base, experts = {"a": 0.25, "b": 0.5, "new": 0.5}, {"a": 1.0, "b": 0.75}
    return Comparison(
        measure,
        ("a", "b"),
        ("new",),
        counts,
        (0.5, 1.0, 2.0),
        base,
        experts,
        0.4,
        0.9,
        rows,
        ("a note",),
        0,
        3.0,
        10**9,
    )
