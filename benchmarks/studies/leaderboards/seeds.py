"""What other training seeds change: one suite's boards side by side, and how far their rows agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import mean, stdev
from typing import Any

from scipy.stats import spearmanr

from benchmarks.studies.leaderboards.boards import BOARDS
from benchmarks.studies.leaderboards.page import rows_of
from mergeometry.comparison.result import Figures

FIRST = "text-8-full"
REPEATED = (FIRST, "text-14-full", "text-20-full", "vision-6-full", "vision-full")
"""Boards that were measured again with experts of other training seeds, where these have been run."""

TABLES = (*REPEATED, "text-8-adapters")
"""Boards with a table by seed. Of adapters a second seed has few of the rows: elsewhere its figures stay its own."""

NOTHING = "No board has been measured with other seeds yet.\n"

Shares = Mapping[int, float]
"""Training seed to the share of the gain kept."""


def boards_of(found: Mapping[str, dict[str, Any]], first: str = FIRST) -> dict[int, str]:
    """Training seed to its board: the first one, and those named after it."""
    return {
        board.seed: name for name, board in BOARDS.items()
        if name in found and (name == first or name.startswith(f"{first}-seed-"))
    }  # fmt: skip


def shares(found: Mapping[str, dict[str, Any]], first: str = FIRST) -> dict[str, tuple[Shares, Shares]]:
    """Method to its gain kept at the validated scale and at scale 1, of methods that every seed has."""
    rows = {seed: rows_of(name, found) for seed, name in boards_of(found, first).items()}
    common = [name for name in next(iter(rows.values()), {}) if all(name in own for own in rows.values())]
    return {
        name: (_kept({seed: own[name].at_best for seed, own in rows.items()}),
               _kept({seed: own[name].at_one for seed, own in rows.items()}))
        for name in common
    }  # fmt: skip


def all_written(found: Mapping[str, dict[str, Any]]) -> str:
    """A table for each board that has several seeds, under the title of its first."""
    parts = [
        f"### {BOARDS[first].title}\n\n{written(found, first)}" for first in TABLES if len(boards_of(found, first)) > 1
    ]
    return "\n".join(parts) or NOTHING


def written(found: Mapping[str, dict[str, Any]], first: str = FIRST) -> str:
    """Gain kept by every method with each seed's experts, with mean and spread, the best mean at scale 1 first."""
    told = shares(found, first)
    seeds = sorted(next(iter(told.values()))[0]) if told else []
    if len(seeds) < 2:
        return NOTHING
    names = sorted(told, key=lambda name: -mean(told[name][1].values()))
    head = ["gain kept, %, at scale", *(f"1: seed {seed}" for seed in seeds), "1: mean", "validated: mean"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for name in names:
        best, one = told[name]
        cells = [f"`{name}`", *(f"{100 * one[seed]:.0f}" for seed in seeds), spread(one), spread(best)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + _agreement(seeds, told)


def spread(share: Shares) -> str:
    """Mean over the seeds and standard deviation between them, in per cent."""
    values = [100 * value for value in share.values()]
    return f"{mean(values):.0f} ± {stdev(values):.0f}" if len(values) > 1 else f"{values[0]:.0f}"


def _agreement(seeds: Sequence[int], told: Mapping[str, tuple[Shares, Shares]]) -> str:
    agreed = []
    for which in (0, 1):
        columns = [[own[which][seed] for own in told.values()] for seed in seeds]
        agreed.append(mean(float(spearmanr(one, other)[0]) for one, other in combinations(columns, 2)))
    return (
        f"± is the standard deviation between {len(seeds)} training seeds, of the experts and not of the test texts, "
        f"which are the same. The order of the {len(told)} methods agrees between seeds to a rank correlation of "
        f"{agreed[0]:.2f} at the validated scale and {agreed[1]:.2f} at scale 1, on average over pairs of seeds.\n"
    )


def _kept(figures: Mapping[int, Figures]) -> Shares:
    return {seed: own.gain_kept for seed, own in figures.items() if own.gain_kept is not None}
