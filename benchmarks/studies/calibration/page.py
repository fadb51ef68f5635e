"""The tables of docs/reading-the-report.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.pages.marks import between
from benchmarks.studies.calibration.experience import experience
from benchmarks.studies.calibration.fit import SQUARED
from benchmarks.studies.calibration.inputs_table import cell, inputs_table, two_merges_table
from benchmarks.studies.calibration.left_out import left_out_tables
from benchmarks.studies.calibration.levels import BEFORE
from benchmarks.studies.calibration.summary import AFTER_FIGURES, BEFORE_FIGURES, COMMAND, CONTROLS, part

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
    without = {"Adapters": part("without"), "Full fine-tunes": part("without-full")}
    parts = {
        "calibration on inputs": inputs_table(on_inputs), "two merges on inputs": two_merges_table(adapters),
        "calibration": calibration_table(result), "prediction": prediction_table(result),
        "experience": experience_table(experience()), "left out": left_out_tables(without),
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
        when = "before a merge: " if name.startswith(BEFORE) else ""
        lines.append(f"| {when}{NAMES[name.removeprefix(BEFORE)]} | {' | '.join(cells)} |")
    boards = result["boards"].values()
    listed = "; ".join(
        f"{name}: {own['tasks']} tasks, {own['rows'] // own['tasks']} merges" for name, own in result["boards"].items()
    )
    rows = sum(own["rows"] for own in boards)
    return "\n".join(lines) + f"\n\nBoards: {listed}. {rows:,} pairs of a merge and a task in all.\n"


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
            f"{own['constant_error']:.3f} | {own['rho']:+.2f} | {100 * own['coverage']:.0f} % | "
            f"{1 + own['below']:.1f} to {1 + own['above']:.1f} times |"
        )


def _named(name: str) -> str:
    return NAMES[name.removeprefix(SQUARED)] + (", squared" if name.startswith(SQUARED) else "")


def experience_table(kinds: Mapping[str, Any]) -> str:
    """What every method kept on the boards of a kind of models."""
    lines = [
        "| share of the experts' scores kept, % | full fine-tunes, scale 1 | validated scale | adapters, scale 1 | "
        "validated scale |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(name for own in kinds.values() for name in own["methods"]):
        cells = [_range(own["methods"].get(name, {}).get(at)) for own in kinds.values() for at in ("at_one", "at_best")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _range(shares: list[float] | None) -> str:
    return "–" if shares is None else f"{100 * shares[0]:.0f} to {100 * shares[1]:.0f}"
