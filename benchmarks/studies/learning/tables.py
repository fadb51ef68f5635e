"""Writes the figures of learning into docs/learning.md, between its marks, from the JSON of the runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages.marks import between
from mergeometry_suite.demo.leaderboard import Leaderboard, gain_shares

COMMAND = "python -m benchmarks.studies.learning"

DATA_FREE = ("dc_merge linear", "tsv_m", "mda directions", "task_arithmetic")
"""Rows of the leaderboard without data that are listed with the learned ones, at the scale validation chose."""


def packed(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run with its answers as texts of ones and zeros, one text per task."""
    return {**run, "correct": {task: "".join(map(str, right)) for task, right in run["correct"].items()}}


def read(file: Path) -> dict[str, Any]:
    """The results saved in a file, with the answers of each run as lists again."""
    found = json.loads(file.read_text("utf-8"))
    for row in found["rows"]:
        for run in row["runs"]:
            run["correct"] = {task: [int(one) for one in right] for task, right in run["correct"].items()}
    return found


def write_tables(results: Path, page: Path) -> None:
    """Rewrite every table of the page for which there are results."""
    text = page.read_text("utf-8")
    place = results / "learning_ends.json"
    ends = json.loads(place.read_text("utf-8")) if place.is_file() else {}
    for kind, lines in (("rows", _rows), ("ablations", _ablations)):
        file = results / f"learning_{kind}.json"
        if file.is_file():
            found = read(file)
            table = "\n".join([*lines(found, ends, results), "", _where(found)])
            text = between(text, kind, f"{table}\n", COMMAND)
    page.write_text(text, "utf-8")


def write_line(results: Path, readme: Path) -> None:
    """Rewrite the README's sentence on what learning gains."""
    file = results / "learning_rows.json"
    if not file.is_file():
        return
    found, ends = read(file), json.loads((results / "learning_ends.json").read_text("utf-8"))
    best = max(found["rows"], key=lambda row: summary(row, ends)["kept"])
    figures = summary(best, ends)
    board = Leaderboard.from_json(json.loads((results / "leaderboard.json").read_text("utf-8")))
    line = (
        f"On the demo's suite this keeps **{figures['kept']:.0f} ± {figures['seeds']:.0f} %** of the experts' gain; "
        f"the best merge without data keeps {100 * board.rows[0].at_best.gain_kept:.0f} %. Settings: {best['name']}; "
        f"{figures['runs']} seeds; the suite's training texts without their labels."
    )
    readme.write_text(between(readme.read_text("utf-8"), "learning", f"{line}\n", COMMAND), "utf-8")


def summary(row: Mapping[str, Any], ends: Mapping[str, Any]) -> dict[str, float]:
    """Gain kept in % with its spread over seeds and over texts, accuracy, worst task, minutes and peak of a row."""
    shares = [gain_shares(run["correct"], ends["base"], ends["experts"]) for run in row["runs"]]
    accuracy = [{task: float(np.mean(right)) for task, right in run["correct"].items()} for run in row["runs"]]
    experts = {task: float(np.mean(right)) for task, right in ends["experts"].items()}
    tasks = [np.mean([run[task] - experts[task] for run in accuracy]) for task in experts]
    return {
        "kept": 100 * float(np.mean([share[0] for share in shares])),
        "seeds": 100 * float(np.std([share[0] for share in shares], ddof=1)) if len(shares) > 1 else float("nan"),
        "texts": 100 * float(np.mean([share[1:].std() for share in shares])),
        "accuracy": 100 * float(np.mean([list(run.values()) for run in accuracy])),
        "worst": 100 * float(min(tasks)),
        "minutes": min(run["seconds"] for run in row["runs"]) / 60,
        "peak": row["runs"][0]["peak_memory"] / 1e9,
        "numbers": row["runs"][0]["learned_numbers"],
        "runs": len(row["runs"]),
    }


def _rows(found: Mapping[str, Any], ends: Mapping[str, Any], results: Path) -> Iterator[str]:
    board = Leaderboard.from_json(json.loads((results / "leaderboard.json").read_text("utf-8")))
    yield "| merge | learned numbers | seeds | gain kept, % | accuracy, % | worst task, points | minutes | peak GB |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in board.rows:
        if row.name in DATA_FREE:
            worst = min(row.at_best.accuracy[task] - board.experts[task] for task in board.tasks)
            yield (
                f"| {row.name}, scale {row.best_scale:g} | 0 | | {100 * row.at_best.gain_kept:.0f} "
                f"| {100 * row.at_best.mean:.1f} | {100 * worst:+.1f} | {row.seconds / 60:.2f} "
                f"| {row.peak_memory / 1e9:.1f} |"
            )
    for row in found["rows"]:
        of_row = summary(row, ends)
        yield (
            f"| {row['name']} | {of_row['numbers']:,} | {of_row['runs']} "
            f"| **{of_row['kept']:.0f}** ± {of_row['seeds']:.0f} "
            f"| {of_row['accuracy']:.1f} | {of_row['worst']:+.1f} | {of_row['minutes']:.1f} | {of_row['peak']:.1f} |"
        )


def _ablations(found: Mapping[str, Any], ends: Mapping[str, Any], _results: Path) -> Iterator[str]:
    yield "| Algorithm 2 with | seeds | gain kept, % | against the first |"
    yield "| --- | ---: | ---: | ---: |"
    first = [run["correct"] for run in found["rows"][0]["runs"]]
    for row in found["rows"]:
        of_row = summary(row, ends)
        pairs = zip((run["correct"] for run in row["runs"]), first, strict=False)
        apart = [
            gain_shares(right, ends["base"], ends["experts"]) - gain_shares(base, ends["base"], ends["experts"])
            for right, base in pairs
        ]
        change = "" if row is found["rows"][0] else f"{100 * _mean(apart):+.1f} ± {100 * _spread(apart):.1f}"
        yield f"| {row['name']} | {of_row['runs']} | {of_row['kept']:.1f} ± {of_row['seeds']:.1f} | {change} |"


def _mean(shares: Sequence[np.ndarray]) -> float:
    return float(np.mean([share[0] for share in shares]))


def _spread(shares: Sequence[np.ndarray]) -> float:
    """Standard deviation of the mean over seeds when test texts are resampled: the same draws for every seed."""
    return float(np.mean([share[1:] for share in shares], axis=0).std())


def _where(found: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("python", "torch", "mergeometry"))
    return (
        "Test texts; minutes of the fastest seed, one thread (distillation two), the others with other work running; "
        f"`{found['command']}`, {found['date']}; {found['machine']['cpu']}, {found['machine']['cores']} cores; "
        f"{versions}."
    )
