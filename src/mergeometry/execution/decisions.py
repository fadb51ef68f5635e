"""What a run decided by itself, for its record: a reader can see each choice and what it followed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mergeometry.conventions.folders import Kind
from mergeometry.plan import machine
from mergeometry.plan.matching import Match
from mergeometry.plan.placement import CPU, Placement
from mergeometry.plan.plan import Plan

_FILES = {Kind.TOKENIZER: "tokenizer", Kind.TEMPLATE: "chat_template", Kind.CONFIGURATION: "config"}


def decisions(
    plan: Plan, asked: int | None, workers: int, memory_limit: int | None = None, placement: Placement = CPU
) -> dict[str, Any]:
    """Every choice as plain JSON values; ``asked`` and ``memory_limit`` are what the caller wanted."""
    chosen = {
        "workers": _workers(plan, asked, workers, machine.available_memory(memory_limit)),
        "device": placement.to_json(plan.tasks),
        "routes": dict(sorted(Counter(task.route for task in plan.tasks if task.outputs).items())),
        "names": {model.label: _names(match) for model, match in zip(plan.models, plan.matches, strict=True)},
        "files": {name: _giver(plan, kind) for kind, name in _FILES.items()},
    }
    ties = {"copies": dict(plan.tied), "untied": plan.configuration.get("tie_word_embeddings") is False}
    if ties["copies"] or ties["untied"]:
        chosen["ties"] = ties
    if plan.vocabulary is not None:
        chosen["tokens"] = {
            "digest": plan.vocabulary.digest,
            "files": sorted(name for name, data in plan.vocabulary.files.items() if data is not None),
            "keys": {name: sorted(keys) for name, keys in plan.vocabulary.keys.items() if keys},
        }
    return chosen


def _workers(plan: Plan, asked: int | None, workers: int, memory: int) -> dict[str, Any]:
    cores, seconds = machine.cores(), plan.seconds(1)
    if asked is not None:
        reason = "asked for"
    elif workers == cores:
        reason = "one per core"
    elif workers == 1:
        reason = "one core" if cores == 1 else "starting processes costs more than it saves, or memory holds one"
    else:
        reason = "as many as the memory holds"
    return {
        "chosen": workers,
        "reason": reason,
        "cores": cores,
        "memory_bytes": memory,
        "estimated_peak_bytes": plan.peak_memory(workers),
        "estimated_seconds": round(seconds, 3),
    }


def _names(match: Match) -> Mapping[str, Any]:
    """How a model's names were paired with the base's; what is equal is not listed."""
    by = "transformers' renames" if match.renamed else "a prefix" if match.prefix.describe() else "equal names"
    found: dict[str, Any] = {"paired": len(match.pairs), "by": by}
    if match.prefix.describe():
        found["prefix"] = {"model": match.prefix.model, "base": match.prefix.base}
    if match.renamed:
        found["renamed"] = dict(match.renamed)
    if match.wrapped:
        found["without_wrappers"] = match.wrapped
    for key, names in (("heads", match.heads), ("missing", match.missing), ("extra", match.extra)):
        if names:
            found[key] = list(names)
    return found


def _giver(plan: Plan, kind: Kind) -> str:
    """The label of the model whose files of a kind the output gets."""
    folder = plan.chosen.get(kind)
    return next((model.label for model in plan.models if model.path == folder), "base" if folder is None else "donor")
