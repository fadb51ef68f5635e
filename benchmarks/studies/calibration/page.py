"""The tables of docs/reading-the-report.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.calibration.experience import experience
from benchmarks.studies.calibration.fit import SQUARED
from benchmarks.studies.calibration.inputs_table import ROWS, cell, inputs_table, two_merges_table
from benchmarks.studies.calibration.left_out import left_out_tables
from benchmarks.studies.calibration.levels import BEFORE
from benchmarks.studies.calibration.retrained import read_retrained, retrained_table
from benchmarks.studies.calibration.scored import read_parts
from benchmarks.studies.calibration.summary import AFTER_FIGURES, BEFORE_FIGURES, COMMAND, CONTROLS

NAMES = {
    "share_held": "held in the merge",
    "distance": "distance from the expert",
    "distance_of_base": "distance from the expert, of the base",
    "foreign": "moved across the task's own update",
    "alignment": "alignment with the merge",
    "consistency": "directional consistency",
    "disturbance": "disturbance",
    "accumulated": "over-accumulation",
    "deviation": "distance from a simplex",
    "residual": "outside the frame",
    "merged_norm": "control: norm of the merged update, of the task's own",
    "merged_of_base": "control: norm of the merged update, of the base's",
    "relative_norm": "control: norm of the task's own update, of the base's",
    "random_alignment": "control: alignment with a random subspace as large",
    "effective_rank": "effective rank",
    "cosine": "cosine with the others, mean",
    "conflict": "sign conflicts with the others, mean",
    "overlap_left": "overlap of outputs, mean",
    "overlap_right": "overlap of inputs, mean",
    "interference": "interference, mean",
}
LEVELS = ("merges", "tasks", "layers", "pairs")


def on_page(page: str, result: Mapping[str, Any], on_inputs: Mapping[str, Any], adapters: Mapping[str, Any]) -> str:
    """The page with its generated parts."""
    parts = {
        "calibration on inputs": inputs_table(on_inputs), "on inputs by board": inputs_by_board(on_inputs),
        "two merges on inputs": two_merges_table(adapters),
        "calibration": calibration_table(result), "calibration by kind": by_kind(result),
        "retrained": retrained_table(read_retrained()), "prediction": prediction_table(result),
        "experience": experience_table(experience()), "left out": left_out_tables(read_parts("without")),
    }  # fmt: skip
    for name, written in parts.items():
        page = between(page, name, written, COMMAND)
    return page


def calibration_table(result: Mapping[str, Any]) -> str:
    """Rank correlations of every figure with what is lost."""
    lines = [
        "| figure | over merges | over tasks of a merge | over layers of a task | over pairs of models |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in [*AFTER_FIGURES, *CONTROLS, *(BEFORE + one for one in BEFORE_FIGURES)]:
        own = result["correlations"].get(name, {})
        cells = [cell(own.get(level)) for level in LEVELS]
        lines.append(f"| {_with_time(name)} | {' | '.join(cells)} |")
    boards = result["boards"].values()
    listed = "; ".join(
        f"{name}: {own['tasks']} tasks, {own['rows'] // own['tasks']} merges" for name, own in result["boards"].items()
    )
    rows = sum(own["rows"] for own in boards)
    return "\n".join(lines) + (
        f"\n\nBoards: {listed}. {rows:,} pairs of a merge and a task in all. "
        f"Layers: {_parts(result, 'layers')}. Pairs: {_parts(result, 'pairs')}.\n"
    )


def _parts(result: Mapping[str, Any], level: str) -> str:
    return ", ".join(f"{count} of {board}" for board, count in result["parts"][level].items())


KINDS = ("text, adapters", "vision, adapters", "language model, adapters", "text, full fine-tunes",
         "vision, full fine-tunes")  # fmt: skip
OF_KINDS = {"merges": "over merges", "tasks": "over the tasks of a merge"}


def by_kind(result: Mapping[str, Any]) -> str:
    """The coefficients of each kind of models, of which the table of all is the mean over boards."""
    kinds = {kind: [name for name, own in result["boards"].items() if own["family"] == kind] for kind in KINDS}
    known = {kind: names for kind, names in kinds.items() if names}
    return "\n".join(
        _of_columns(result["correlations"], level, words, known, _with_time) for level, words in OF_KINDS.items()
    )


def inputs_by_board(on_inputs: Mapping[str, Any]) -> str:
    """The coefficients of figures on inputs over the merges of each board that counts there."""
    correlations = on_inputs["correlations"]
    names = list(correlations["disagreement"]["merges"]["boards"])
    return _of_columns(correlations, "merges", "over merges", {name: [name] for name in names}, ROWS.__getitem__)


def _of_columns(
    correlations: Mapping[str, Mapping[str, Any]],
    level: str,
    title: str,
    columns: Mapping[str, list[str]],
    words: Callable[[str], str],
) -> str:
    lines = [f"| {title} | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, levels in correlations.items():
        if level in levels:
            boards = levels[level]["boards"]
            own = [[rho for one in names if (rho := boards.get(one)) is not None] for names in columns.values()]
            lines.append(f"| {words(name)} | {' | '.join(map(_ends, own))} |")
    return "\n".join(lines) + "\n"


def _ends(values: list[float]) -> str:
    """The least and the largest, or the only one."""
    if not values:
        return "–"
    low, high = (f"{end(values):+.2f}" for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _with_time(name: str) -> str:
    return f"{'before a merge: ' if name.startswith(BEFORE) else ''}{NAMES[name.removeprefix(BEFORE)]}"


def prediction_table(result: Mapping[str, Any]) -> str:
    """What the model of the loss is worth on models that it never saw."""
    if "tests" not in result:
        return "Too few boards have been measured to fit on some and test on others.\n"
    lines = [
        "| fitted on | tested on | figures chosen | mean error | of a constant | rank correlation | "
        "inside the 90 % interval | interval, of the estimate |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *_tests(result),
    ]
    return "\n".join(lines) + "\n"


def _tests(result: Mapping[str, Any]) -> Iterator[str]:
    for own in result["tests"]:
        names = ", ".join(_named(name) for name in own["names"])
        yield (
            f"| {'; '.join(own['fitted_on'])} | {own['tested_on']} | {names} | {own['error']:.3f} | "
            f"{own['constant_error']:.3f} | {_rho(own['rho'])} | {100 * own['coverage']:.0f} % | "
            f"{1 + own['below']:.1f} to {1 + own['above']:.1f} times |"
        )


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _named(name: str) -> str:
    return NAMES[name.removeprefix(SQUARED)] + (", squared" if name.startswith(SQUARED) else "")


def experience_table(kinds: Mapping[str, Any]) -> str:
    """What every method kept on the boards of a kind of models."""
    lines = [
        "| share of the experts' scores kept, % | full fine-tunes, scale 1 | validated scale | adapters, scale 1 | "
        "validated scale |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(name for own in kinds.values() for name in own):
        cells = [_range(own.get(name, {}).get(at)) for own in kinds.values() for at in ("at_one", "at_best")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _range(shares: list[float] | None) -> str:
    return "–" if shares is None else f"{100 * shares[0]:.0f} to {100 * shares[1]:.0f}"
