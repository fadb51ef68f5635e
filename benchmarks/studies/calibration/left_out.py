"""Whether figures of the weights know which model costs the others most."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.studies.calibration.correlation import spearman
from benchmarks.studies.calibration.levels import lost
from benchmarks.studies.leaderboards.boards import BOARDS

FIGURES = {
    "interference": "interference with the others",
    "overlap_left": "overlap of outputs",
    "cosine": "cosine",
    "conflict": "sign conflicts",
    "relative_norm": "norm of its update (control)",
}


def gains(part: Mapping[str, Any], method: str) -> dict[str, float]:
    """What the others gain without each model, in mean nats of their experts' scores."""
    own, experts = part["methods"][method], part["experts"]
    return {
        name: fmean(
            lost(own["all"][task], experts[task]) - lost(score, experts[task]) for task, score in scores.items()
        )
        for name, scores in own["without"].items()
    }


def agreement(part: Mapping[str, Any], before: Mapping[str, Mapping[str, float]], method: str) -> dict[str, float]:
    """Rank correlation of each figure of a model with what the others gain without it."""
    measured = gains(part, method)
    values = np.array(list(measured.values()))
    return {
        figure: float(spearman(np.array([before[name][figure] for name in measured]), values)) for figure in FIGURES
    }


def left_out_tables(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The measured gains on each board, one table after the other."""
    return "\n".join(f"{BOARDS[board].title}:\n\n{left_out_table(part)}" for board, part in parts.items())


def left_out_table(part: Mapping[str, Any]) -> str:
    """The measured gains, and whether a figure orders the models like them."""
    lines = ["| left out | the others gain, points of their mean accuracy |", "| --- | ---: |"]
    (method,) = part["methods"]
    own = part["methods"][method]
    rows = {
        name: fmean(score - own["all"][task] for task, score in scores.items())
        for name, scores in own["without"].items()
    }
    lines += [f"| {name} | {100 * gain:+.1f} |" for name, gain in sorted(rows.items(), key=lambda row: -row[1])]
    found = agreement(part, part["before"], method)
    words = ", ".join(f"{FIGURES[figure]} {rho:+.2f}" for figure, rho in found.items())
    return "\n".join(lines) + (
        f"\n\n`{method}` at scale {own['scale']:g} on {part['inputs']} validation inputs per task. Rank correlation of "
        f"a model's figures with what the others gain without it: {words}.\n"
    )
