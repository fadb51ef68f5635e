"""Which figures on inputs go with what a task loses: rank correlations as for the figures of weights, with controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.studies.calibration.correlation import against_controls, over_columns, over_rows
from benchmarks.studies.calibration.levels import Board, Table, lost, merges_of

LEAST_TASKS = 4
"""Tasks on which a figure must be defined for a board to count: NC2 is not, of two classes."""

LEAST_MERGES = 10
"""Merges that a board needs to rank merges: of fewer, any figure ranks some by chance."""

FIGURES = {
    "disagreement": "disagreement with the expert",
    "cka_missing": "1 - CKA with the expert",
    "cka_missing_least_layer": "1 - CKA of the layer where it is least",
    "entropy": "entropy",
    "entropy_more": "entropy, above the expert's",
    "nc1": "NC1",
    "nc1_more": "NC1, above the expert's",
    "nc2_lengths": "NC2, lengths",
    "nc2_lengths_more": "NC2, lengths, above the expert's",
    "nc2_angles": "NC2, angles",
    "nc2_angles_more": "NC2, angles, above the expert's",
    "nc3": "NC3",
    "nc3_more": "NC3, above the expert's",
    "nc4": "NC4",
    "nc4_more": "NC4, above the expert's",
}
CONTROLS = {
    "random_disagreement": "control: disagreement by random heads",
    "feature_distance": "control: distance of the features, of the expert's",
    "feature_length": "control: length of the features, of the expert's",
    "merged_norm": "control: norm of the merged update, of the task's own",
}
LABELLED = {"labelled": "with labels: accuracy lost on the same inputs"}
ROWS = {**FIGURES, **CONTROLS, **LABELLED}
LEVELS = {"merges": over_rows, "tasks": over_columns}


def table_of(board: Board, weights: Board, figure: str) -> Table | None:
    """A figure and the loss on test inputs, one row per merge and one column per task on which it is defined."""
    norms = {(row["method"], row["scale"], row["task"]): row["figures"]["merged_norm"] for row in weights["rows"]}
    merges, tasks = merges_of(board), list(board["experts"])
    values = np.full((len(merges), len(tasks)), np.nan)
    losses = np.zeros(values.shape)
    for row in board["rows"]:
        place = merges.index((row["method"], row["scale"])), tasks.index(row["task"])
        own = norms.get((row["method"], row["scale"], row["task"])) if figure == "merged_norm" else None
        value = own if figure == "merged_norm" else row["figures"][figure]
        values[place] = np.nan if value is None else value
        losses[place] = lost(row["score"], board["experts"][row["task"]])
    known = ~np.isnan(values).any(axis=0)
    return (values[:, known], losses[:, known]) if known.sum() >= LEAST_TASKS else None


def correlations_on_inputs(boards: Mapping[str, Board], weights: Mapping[str, Board]) -> dict[str, dict[str, Any]]:
    """Every figure and control, over merges and over the tasks of a merge."""
    result: dict[str, dict[str, Any]] = {}
    for figure in ROWS:
        tables = {name: table_of(board, weights[name], figure) for name, board in boards.items()}
        known = {name: table for name, table in tables.items() if table is not None}
        many = {name: table for name, table in known.items() if len(table[0]) >= LEAST_MERGES}
        result[figure] = {}
        for (level, over), used in zip(LEVELS.items(), (many, known), strict=True):
            if used and (own := over(list(used.values()))).rho is not None:
                boards_of = dict(zip(used, own.boards, strict=True))
                result[figure][level] = {**asdict(own), "boards": boards_of, "agrees": own.agrees}
    return against_controls(result, CONTROLS)


def inputs_result(boards: Mapping[str, Board], weights: Mapping[str, Board]) -> dict[str, Any]:
    """What is kept: every correlation, and of what boards."""
    return {
        "boards": {
            name: {
                "tasks": len(board["experts"]), "merges": len(merges_of(board)), "inputs": board["inputs"],
                "commit": board["commit"], "date": board["date"],
            }
            for name, board in boards.items()
        },
        "correlations": correlations_on_inputs(boards, weights),
    }  # fmt: skip


TWO_MERGES = {"`tsv_m`": ("tsv_m", 0.5), "`task_arithmetic`": ("task_arithmetic", 1.0), "base": None}
"""The good and the bad merge of docs/reading-the-report.md, and what both started from."""


def two_merges_table(board: Board) -> str:
    """Agreement, CKA and the accuracy lost of a good and a bad merge and of the base, task by task."""
    rows = {(row["method"], row["scale"], row["task"]): row["figures"] for row in board["rows"]}
    columns = [f"{what} ({name})" for what in ("agreement, %", "CKA", "accuracy lost, points") for name in TWO_MERGES]
    lines = [f"| task | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for task in board["experts"]:
        own = [rows[*merge, task] if merge else board["before"][task] for merge in TWO_MERGES.values()]
        cells = [f"{100 * (1 - figures['disagreement']):.0f}" for figures in own]
        cells += [f"{1 - figures['cka_missing']:.2f}" for figures in own]
        cells += [f"{100 * figures['labelled']:.0f}" for figures in own]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{board['inputs']} validation texts per task.\n"


def inputs_table(result: Mapping[str, Any]) -> str:
    """The table of docs/reading-the-report.md."""
    lines = ["| figure | over merges | over tasks of a merge |", "| --- | ---: | ---: |"]
    for figure, words in ROWS.items():
        own = result["correlations"][figure]
        cells = [cell(own.get(level)) for level in LEVELS]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    listed = "; ".join(
        f"{name}: {own['merges']} merges, {own['tasks']} tasks, {own['inputs']} inputs each"
        for name, own in result["boards"].items()
    )
    return "\n".join(lines) + f"\n\n{listed}. A board with fewer than {LEAST_MERGES} merges counts over tasks alone.\n"


def cell(own: Mapping[str, Any] | None) -> str:
    """A correlation with its interval, bold where it holds."""
    if own is None:
        return "–"
    text = f"{own['rho']:+.2f} ({own['low']:+.2f} to {own['high']:+.2f})"
    return f"**{text}**" if own["holds"] else text
