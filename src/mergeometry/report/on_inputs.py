"""The figures on inputs as rows of an inspection's page: tables, and one list of everything for a CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mergeometry.errors import printable
from mergeometry.grouping import grouped
from mergeometry.report.definitions import definitions_on_inputs

_COLLAPSE = ("nc1", "nc2_lengths", "nc2_angles", "nc3", "nc4")
_MOST_LAYERS = 64
"""Layers of the table of similarities: of more, every second or third is shown."""


def inputs_section(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the section's template shows; None where no model ran on inputs."""
    figures = document.get("on_inputs")
    if figures is None:
        return None
    tasks = figures["tasks"]
    shown = [{"task": task, "own": task["merged"] or task["base"], "base": task["base"]} for task in tasks]
    return {
        "rows": shown,
        "after": any(task["merged"] for task in tasks),
        "limit": figures["limit"],
        "seconds": figures["seconds"],
        "notes": grouped(figures["notes"]),
        "tokens": any(task["kind"] == "tokens" for task in tasks),
        "labels": any(task["expert"]["accuracy"] is not None for task in tasks),
        "collapse": [row for row in shown if row["own"]["collapse"] and row["task"]["expert"]["collapse"]],
        "by_layer": _by_layer(shown),
        "definitions": list(definitions_on_inputs()),
    }


def _by_layer(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The layers that are shown, and each task's figures of them."""
    count = max((len(row["own"]["layers"]) for row in rows), default=0)
    if not count:
        return None
    places = range(0, count, -(-count // _MOST_LAYERS))
    return {
        "layers": list(places),
        "rows": [
            {"name": row["task"]["name"], "values": [_at(row["own"]["layers"], place) for place in places]}
            for row in rows
        ],
    }


def _at(values: Sequence[float | None], place: int) -> float | None:
    return values[place] if place < len(values) else None


def inputs_csv(document: Mapping[str, Any]) -> list[list[Any]]:
    """A row per task and model, below the names of the columns; empty where no model ran on inputs."""
    figures = document.get("on_inputs")
    if figures is None:
        return []
    head = ["task", "model", "source", "inputs", "predictions", "agreement", "low", "high", "entropy", "cka",
            "cka_unbiased", "accuracy", "grouped_by", *_COLLAPSE]  # fmt: skip
    layers = max((len(task["base"]["layers"]) for task in figures["tasks"]), default=0)
    head += [f"cka_unbiased (layer {layer})" for layer in range(layers)]
    return [head, *(_row(task, model, layers) for task in figures["tasks"] for model in _models(task))]


def _models(task: Mapping[str, Any]) -> Iterator[str]:
    yield from (model for model in ("merged", "expert", "base") if task[model] is not None)


def _row(task: Mapping[str, Any], model: str, layers: int) -> list[Any]:
    own = task[model]
    share, collapse = own["agreement"] or {}, own["collapse"] or {}
    row = [printable(task["name"]), model, task["source"], task["inputs"], task["rows"]]
    row += [share.get(key) for key in ("value", "low", "high")]
    row += [own[key] for key in ("entropy", "cka", "cka_unbiased", "accuracy")]
    row += [task["grouped_by"], *(collapse.get(key) for key in _COLLAPSE)]
    return row + [_at(own["layers"], layer) for layer in range(layers)]
