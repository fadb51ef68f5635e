"""``python -m benchmarks.pages.chart_examples`` writes what each chart shows of a real good and a real bad merge."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.speed.measure import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "reading-the-report.md"
NAME, COMMAND = "chart examples", "python -m benchmarks.pages.chart_examples"
BOARD = "text-8-adapters"
GOOD, BAD = ("tsv_m", 0.5), ("task_arithmetic", 1.0)
TASK = "newsgroups"
"""The task that the bad merge harms most."""

Row = tuple[str, str, str]


def main() -> None:
    """Write the table."""
    PAGE.write_text(between(PAGE.read_text("utf-8"), NAME, written(), COMMAND), "utf-8")


def written() -> str:
    """A row per chart."""
    rows = [*_of_weights(), *_of_scores(), *_of_inputs(), _learning()]
    lines = ["| chart | a good merge | a bad one |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def read(name: str) -> Any:
    """A kept result."""
    return json.loads(Path(RESULTS / f"{name}.json").read_text("utf-8"))


def _of_weights() -> Iterator[Row]:
    board = read(f"calibration/{BOARD}")
    held = {merge: [row["figures"]["share_held"] for row in _rows(board, merge)] for merge in (GOOD, BAD)}
    yield (
        "Models, held in the merge",
        f"bars of one length below 1: {_range(held[GOOD])}",
        f"bars above 1: {_range(held[BAD])}; what the models share is counted several times",
    )
    pairs = read(f"calibration/{BOARD}-pairs")
    by_loss = sorted(pairs["rows"], key=lambda row: _lost(row["scores"], pairs["experts"]))
    yield "Pairs", _pair(by_loss[0], pairs["experts"]), _pair(by_loss[-1], pairs["experts"])
    layers = read(f"calibration/{BOARD}-layers")
    scores = {
        layer: fmean(row["score"] - layers["experts"][row["task"]] for row in layers["rows"] if row["layer"] == layer)
        for layer in {row["layer"] for row in layers["rows"]}
    }
    best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    yield "Layers", _layer(layers, best, scores[best]), _layer(layers, worst, scores[worst])
    two = read("two_merges")
    yield "One tensor, spectrum", _spectrum(two, "good"), _spectrum(two, "bad")
    rows = {row["name"]: row for row in read("leaderboards/text-8-full")["comparison"]["rows"]}
    yield (
        "Rows of tables",
        f"`dc_merge` of full fine-tunes keeps {_gain(rows['dc_merge rows'])} % with `other: rows`: each row goes to "
        "the model that moved it",
        f"{_gain(rows['dc_merge'])} % with the average, which divides rows that one model alone moved by the number of "
        "models",
    )


def _of_scores() -> Iterator[Row]:
    comparison = read(f"leaderboards/{BOARD}")["comparison"]
    rows = {row["name"]: row for row in comparison["rows"]}
    good, bad = rows[GOOD[0]], rows[BAD[0]]
    yield (
        "Leaderboard",
        f"`{GOOD[0]}` keeps {_gain(good)} % at scale {good['best_scale']:g}",
        f"`{BAD[0]}` keeps {100 * bad['at_one']['gain_kept']:.0f} % at scale 1: worse than the base",
    )
    flat = rows["dc_merge"]["validation"]
    yield (
        "Scale curves",
        f"flat: `dc_merge` has {100 * flat['0.5']:.1f} % at 0.5 and {100 * flat['1']:.1f} at 1, so the scale "
        "matters little",
        f"steep: `{BAD[0]}` falls from {100 * bad['validation']['0.5']:.1f} % to {100 * bad['validation']['1']:.1f}",
    )
    worst, value = bad["at_one"]["worst"], bad["at_one"]["worst_normalised"]
    yield (
        "Every task",
        f"no task lags: the worst, {good['at_best']['worst']}, keeps {100 * good['at_best']['worst_normalised']:.0f} % "
        "of its expert",
        f"{worst} keeps {100 * value:.0f} % at scale 1",
    )


def _of_inputs() -> Iterator[Row]:
    board = read(f"calibration/{BOARD}-inputs")
    good, bad = (_figures(board, merge) for merge in (GOOD, BAD))
    base = board["before"][TASK]
    yield (
        "Agreement",
        f"{TASK}: {_agreement(good)} % of the expert's predictions, where the base has {_agreement(base)}",
        f"{_agreement(bad)} %: the merge undoes more than it brings",
    )
    yield (
        "Similarity to the expert, layer by layer",
        f"{TASK}: {1 - good['cka_missing_least_layer']:.2f} in the layer where it is least",
        f"{1 - bad['cka_missing_least_layer']:.2f}; the base has {1 - base['cka_missing_least_layer']:.2f}",
    )
    yield (
        "Neural collapse",
        f"{TASK}: NC3 {good['nc3']:.2f}, NC4 {good['nc4']:.2f}",
        f"NC3 {bad['nc3']:.2f}, NC4 {bad['nc4']:.2f}: the head and the class means have come apart",
    )


def _learning() -> Row:
    rows = {row["name"]: row for row in read("learning_ablations")["rows"]}
    names = ("Algorithm 2", next(name for name in rows if name.startswith("rank 0.01")))
    ends = [rows[name]["runs"][0]["held_out"] for name in names]
    first, last = (f"held-out objective from {own[0][1]:.2f} to {own[-1][1]:.2f}" for own in ends)
    return (
        "Learning",
        f"{first}: it falls to the end",
        f"{last} with three directions per task: the curve looks alike, the merge keeps less. A curve tells whether "
        "learning worked, not whether the merge is good",
    )


def _rows(board: Mapping[str, Any], merge: tuple[str, float]) -> list[Mapping[str, Any]]:
    return [row for row in board["rows"] if (row["method"], row["scale"]) == merge]


def _figures(board: Mapping[str, Any], merge: tuple[str, float]) -> Mapping[str, float]:
    return next(row["figures"] for row in _rows(board, merge) if row["task"] == TASK)


def _agreement(figures: Mapping[str, float]) -> str:
    return f"{100 * (1 - figures['disagreement']):.0f}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _lost(scores: Mapping[str, float], experts: Mapping[str, float]) -> float:
    return fmean(experts[task] - score for task, score in scores.items())


def _pair(row: Mapping[str, Any], experts: Mapping[str, float]) -> str:
    lost, own = 100 * _lost(row["scores"], experts), row["figures"]
    words = f"loses {lost:.1f} points" if lost > 0 else f"gains {-lost:.1f} points"
    return (
        f"the sum of {row['pair'][0]} and {row['pair'][1]} {words}: cosine {own['cosine']:.2f}, interference "
        f"{own['interference']:.2f}"
    )


def _layer(layers: Mapping[str, Any], layer: int, change: float) -> str:
    own = [row["figures"] for row in layers["rows"] if row["layer"] == layer]
    words = f"costs {-100 * change:.1f} points" if change < 0 else f"costs nothing ({100 * change:+.1f} points)"
    return (
        f"layer {layer} of the plain sum of all, in each expert, {words}: "
        f"held {fmean(one['share_held'] for one in own):.2f}, "
        f"over-accumulation {fmean(one['accumulated'] for one in own):.1f}"
    )


def _spectrum(two: Mapping[str, Any], name: str) -> str:
    method, scale = two["merges"][name]
    merged = two[name]
    return (
        f"`{method}` at {scale:g}: effective rank {merged['effective_rank']:.0f}, over-accumulation "
        f"{merged['accumulated']:.1f}" + (f", in `{two['tensor']}`" if name == "good" else "")
    )


def _gain(row: Mapping[str, Any]) -> str:
    return f"{100 * row['at_best']['gain_kept']:.0f}"


if __name__ == "__main__":
    main()
