"""From the measured boards to what is published: the table of correlations, and the model with its error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.speed.measure import ROOT
from benchmarks.studies.calibration.boards import MODELS, RESULTS, modality
from benchmarks.studies.calibration.correlation import (
    Correlation,
    against_controls,
    over_columns,
    over_pairs_of,
    over_rows,
    within_rows,
)
from benchmarks.studies.calibration.experience import experience, kept_by_auto
from benchmarks.studies.calibration.fit import (
    CANDIDATES,
    COVERAGE,
    LEAST,
    SQUARED,
    Families,
    Model,
    Rows,
    chosen,
    error_on,
)
from benchmarks.studies.calibration.levels import (
    BEFORE,
    Board,
    layers_of,
    lost,
    pairs_of,
    tables_of,
)
from benchmarks.studies.calibration.scored import read_parts

COMMAND = "python -m benchmarks.studies.calibration"
CONSTANTS = ROOT / "src" / "mergeometry" / "inspection" / "prediction.json"
RESULT = ROOT / "benchmarks" / "results" / "calibration.json"
ON_INPUTS = ROOT / "benchmarks" / "results" / "calibration_on_inputs.json"

WORTH_PRINTING = 0.8
"""The least share of an unseen family's rows inside a 90 % interval with which an estimate is printed at all."""

AFTER_FIGURES = (
    "share_held", "distance", "distance_of_base", "foreign", "alignment", "consistency", "disturbance", "accumulated",
    "deviation", "residual",
)  # fmt: skip
BEFORE_FIGURES = ("effective_rank", "cosine", "conflict", "overlap_left", "overlap_right", "interference")
CONTROLS = ("merged_norm", "merged_of_base", "relative_norm", "random_alignment")
"""What a figure has to beat: how long the merged and the task's own updates are, and a random subspace's alignment."""


def boards() -> dict[str, Board]:
    """The boards that have been measured."""
    kept = {name: RESULTS / f"{name}.json" for name in MODELS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in kept.items() if file.exists()}


def family(name: str) -> str:
    """The kind of models of a board: what a model of the loss must carry over to."""
    return f"{modality(name)}, {'full fine-tunes' if MODELS[name][1] else 'adapters'}"


def families(found: Mapping[str, Board]) -> dict[str, Rows]:
    """The rows of all boards by their kind of models."""
    kinds: dict[str, list[str]] = {}
    for name in found:
        kinds.setdefault(family(name), []).append(name)
    return {kind: _rows(found[name] for name in names) for kind, names in kinds.items()}


def _rows(own: Iterable[Board]) -> Rows:
    rows = [(row, board["experts"][row["task"]]) for board in own for row in board["rows"]]
    figures = {name: _candidate(name, [row for row, _ in rows]) for name in CANDIDATES}
    return Rows(
        figures,
        np.array([lost(row["score"], expert) for row, expert in rows]),
        np.array([row["task"] for row, _ in rows]),
    )


def _candidate(name: str, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
    values = np.array([row["figures"][name.removeprefix(SQUARED)] for row in rows], dtype=float)
    return values**2 if name.startswith(SQUARED) else values


SHOWN_CONTROLS = ("relative_norm",)
"""What others have to beat, and what a page shows as a figure of its own."""

LEVELS: Mapping[str, tuple[Callable[..., dict[str, Any]], Callable[..., Correlation]]] = {
    "merges": (tables_of, over_rows),
    "tasks": (tables_of, over_columns),
    "pairs": (pairs_of, over_pairs_of),
    "layers": (layers_of, within_rows),
}
"""Level to what is read of each board, and the correlation that is taken of it."""


def correlations(found: Mapping[str, Board]) -> dict[str, dict[str, Any]]:
    """Every figure on every level on which it is defined."""
    pairs = {name: {**part, "before": found[name]["before"]} for name, part in read_parts("pairs").items()}
    scored = {"merges": found, "tasks": found, "pairs": pairs, "layers": read_parts("layers")}
    result: dict[str, dict[str, Any]] = {}
    for name in [*AFTER_FIGURES, *CONTROLS, *(BEFORE + name for name in BEFORE_FIGURES)]:
        result[name] = {}
        for level, (gather, over) in LEVELS.items():
            # Models are the same in all merges and all layers of a board: only their pairs differ before a merge.
            own = name.removeprefix(BEFORE) if level == "pairs" else name
            if name.startswith(BEFORE) and level == "merges":
                continue
            if (boards := gather(scored[level], own)) and (one := over(list(boards.values()))).rho is not None:
                boards_of = dict(zip(boards, one.boards, strict=True))
                result[name][level] = {**asdict(one), "boards": boards_of, "agrees": one.agrees}
    return against_controls(result, CONTROLS)


def tests(kinds: Families) -> list[dict[str, Any]]:
    """Every family held out in turn; and every modality by models that only saw the other."""
    cases = [([other for other in kinds if other != name], name) for name in kinds]
    for name in kinds:
        others = [other for other in kinds if other.split(",")[0] != name.split(",")[0]]
        cases += [(others, name)]
    unique = [case for place, case in enumerate(cases) if case[0] and case not in cases[:place]]
    return [asdict(error_on(kinds, fitted, unseen)) for fitted, unseen in unique]


def summarise() -> dict[str, Any]:
    """Everything that the page shows, and the model that the library uses."""
    found = boards()
    kinds = families(found)
    result: dict[str, Any] = {
        "boards": {
            name: {
                "family": family(name), "tasks": board["tasks"], "rows": len(board["rows"]),
                "inputs": sum(board["inputs"].values()), "commit": board["commit"], "date": board["date"],
            }
            for name, board in found.items()
        },
        "parts": {
            level: {name: len(part["rows"]) for name, part in read_parts(level).items()}
            for level in ("pairs", "layers")
        },
        "correlations": correlations(found),
    }  # fmt: skip
    if len(kinds) > 1:
        result |= {"tests": (found_errors := tests(kinds)), "model": plain_model(chosen(kinds))}
        result["model"]["deserved"] = all(
            own["error"] < own["constant_error"] and own["coverage"] >= WORTH_PRINTING for own in found_errors
        )
    return result


SHOWN_ON_INPUTS = {
    "agreement": ("disagreement", -1), "cka": ("cka_missing", -1), "entropy": ("entropy_more", 1),
    **{name: (name, 1) for name in ("nc1", "nc2_lengths", "nc2_angles", "nc3", "nc4")},
}  # fmt: skip
"""Figures as the page of a merge shows them, to those of the study and the sign between the two."""


def of_inputs(on_inputs: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The figures on inputs that go with a loss on every board."""
    found = {}
    for name, (studied, sign) in SHOWN_ON_INPUTS.items():
        levels = []
        for level, own in on_inputs["correlations"].get(studied, {}).items():
            if own["holds"]:
                rho, *ends = (round(sign * own[key], 3) for key in ("rho", "low", "high"))
                levels.append({"level": level, "rho": rho, "low": min(ends), "high": max(ends)})
        if levels:
            found[f"on inputs: {name}"] = levels
    return found


def constants(result: Mapping[str, Any], on_inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the library knows of all this: the figures that go with a loss, and what methods kept."""
    figures = {
        name: [
            {"level": level, **{key: round(own[key], 3) for key in ("rho", "low", "high")}}
            for level, own in levels.items() if own["holds"]
        ]
        for name, levels in result["correlations"].items() if name not in CONTROLS or name in SHOWN_CONTROLS
    }  # fmt: skip
    return {
        "written_by": COMMAND,
        "figures": {**{name: levels for name, levels in figures.items() if levels}, **of_inputs(on_inputs)},
        "kinds": experience(),
        "auto": kept_by_auto(),
        "model": model if (model := result.get("model")) and model["deserved"] else None,
    }


def plain_model(model: Model) -> dict[str, Any]:
    """The constants of a model."""
    return {
        "figures": list(model.names), "centre": model.centre.tolist(), "size": model.size.tolist(),
        "weights": model.weights.tolist(), "intercept": model.intercept, "penalty": model.penalty,
        "below": model.below, "above": model.above, "coverage": COVERAGE, "least": LEAST,
    }  # fmt: skip
