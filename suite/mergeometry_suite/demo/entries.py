"""What the demo compares, at which scales, and on how many texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCALES = (0.25, 0.5, 1.0, 2.0)
"""Scales that validation chooses from: powers of two, from 2, where the mean of eight is a quarter of their sum."""

ALL_SCALES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""A finer choice, for all methods."""

VALIDATION_TEXTS = 30
"""Texts per task that the scale is chosen on."""

TEST_TEXTS = 100
"""Texts per task that the reported accuracy is measured on."""

ALL_TEXTS = 1 << 30
"""As many texts as a task has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the leaderboard: a method with its parameters."""

    name: str
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def recipe(self, base: str, models: list[dict[str, Any]], scale: float) -> dict[str, Any]:
        """The recipe that merges the experts this way."""
        return {"base": base, "models": models, "method": {"name": self.method, **self.parameters}, "scale": scale}


# One of each family: the mean, the sum, the trimmed sum, and three that work on directions: decorrelated, with masked
# blocks of a shared basis, and with each task's own block of it. They are chosen by what they do, not by their scores.
ENTRIES = (
    Entry("average", "average"),
    Entry("task_arithmetic", "task_arithmetic"),
    Entry("ties", "ties"),
    Entry("tsv_m", "tsv_m"),
    Entry("dc_merge", "dc_merge"),
    Entry("own_blocks", "own_blocks"),
)

ALL_ENTRIES = (
    *ENTRIES,
    Entry("model_stock", "model_stock"),
    Entry("dare", "dare"),
    Entry("dare_ties", "dare_ties"),
    Entry("knots", "knots"),
    Entry("wudi", "wudi"),
    Entry("iso_c", "iso_c"),
    Entry("iso_cts", "iso_cts"),
    Entry("mda directions", "mda", {"simplex": "directions"}),
    Entry("mda tasks", "mda", {"simplex": "tasks"}),
    Entry("dc_merge linear", "dc_merge", {"smoothing": "linear"}),
    Entry("core_space", "core_space"),
    Entry("ct_merging", "ct_merging"),
)
