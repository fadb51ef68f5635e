"""Inspections made up of drawn numbers, of any size and with any names, for the page that shows them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mergeometry.diagnostics.collapse import Collapse
from mergeometry.inspection.on_inputs import ModelOnInputs, OnInputs, Share, TaskOnInputs
from mergeometry.inspection.result import (
    Inspection,
    MatrixFigures,
    MergedFigures,
    Model,
    Sentence,
    TensorFigures,
    pairs_of,
)
from mergeometry.inspection.totals import totals_of
from mergeometry.inspection.verdict import verdict_on
from mergeometry.sink import (
    CopiedFile,
    InputRecord,
    LeftOut,
    MethodRecord,
    RunRecord,
    SidecarRecord,
    TensorRecord,
    Totals,
)

HOSTILE = "</script><script>alert(1)</script>'\"<img src=x onerror=alert(2)>\u202egnp.exe\x1b[31m&amp;"


def drawn(labels: list[str], tensors: int = 14, *, after: bool = False, layers: int = 2) -> Inspection:
    """An inspection of models of these names."""
    draw = np.random.default_rng(0)
    figures = tuple(_tensor(draw, place, len(labels), layers, after=after) for place in range(tensors))
    inspection = Inspection(
        version="0.1.0", recipe={"base": "base", "method": {"name": "tsv_m"}}, base=Model("base", "base", "checkpoint"),
        models=tuple(Model(label, label, "checkpoint", "ab" * 32) for label in labels),
        totals=totals_of(figures, labels), tensors=figures, problems=(), notes=(f"note on {labels[0]}",), seconds=1.5,
        output=Model("merged", "merged", "checkpoint") if after else None,
    )  # fmt: skip
    return replace(inspection, verdict=(*verdict_on(inspection), Sentence("attention", f"look at {labels[0]}")))


def recorded(inspection: Inspection) -> Inspection:
    """The same with the record and the curves of a merge that learned, all names in them those of the models."""
    labels, digest = inspection.labels, "blake3:" + "ab" * 32
    names = {
        label: {
            "paired": 14,
            "by": "a prefix",
            "prefix": {"model": f"{label}.", "base": ""},
            "heads": [f"{label}.head"],
        }
        for label in labels
    }
    record = RunRecord(
        recipe=inspection.recipe,
        fingerprint=digest,
        digest=digest,
        versions={"mergeometry": "0.1.0", "torch": "2.13.0"},
        inputs=tuple(InputRecord(label, "model", label, "checkpoint", digest) for label in labels),
        methods=(MethodRecord("tsv_m", {"rank": "auto"}, "arXiv 2412.00081", len(inspection.tensors)),),
        tensors=tuple(
            TensorRecord(one.name, "tsv_m", 1.0, 0.25, "float32", one.shape, digest, (f"note of {labels[0]}",))
            for one in inspection.tensors
        ),
        totals=Totals(12.5, 700_000_000, 9_000_000_000, 91_000_000),
        sidecars=SidecarRecord((CopiedFile("config.json", digest, ("tie",)),), (LeftOut("x.py", "code"),), ()),
        adapt={
            "objective": "distill", "coefficients": "tensor", "learned_numbers": 112, "rotation": "none", "steps": 60,
            "kept_step": 50, "held_out": {"start": 0.31, "kept": 0.12}, "data": [{"items": 500}], "seconds": 95.0,
        },
        refinements=(MethodRecord("svc", {}, "arXiv 2602.05536", 12),),
        scaling={"rule": "projection", "per": "tensor", "least": 0.4, "median": 0.5, "largest": 0.9},
        parameters={"method": 12_000_000, "copied": 0},
        timings={"stages": {"plan": {"seconds": 0.5, "processor_seconds": 0.5}, "merge": {"seconds": 12.0}}},
        decisions={
            "workers": {"chosen": 2, "reason": "one per core"}, "routes": {"whole": 12, "chunks": 2}, "names": names,
            "ties": {"copies": {"lm_head.weight": "embed.weight"}, "untied": True}, "files": {"tokenizer": labels[0]},
        },
    )  # fmt: skip
    curves = tuple(
        {"step": step, "loss": 0.1 + 0.3 / (1 + step), "held_out": 0.12 + 0.2 / (1 + step) if step % 10 == 0 else None}
        for step in range(61)
    )
    return replace(inspection, record=record.to_json(), curves=curves)


def _tensor(draw: np.random.Generator, place: int, count: int, layers: int, *, after: bool) -> TensorFigures:
    layer, number = place % layers, place // layers
    table, pairs = number == 6, len(pairs_of(count))
    module = f"block.part{number}" if number else "block.<b>bold</b>"

    def numbers(size: int, low: float = 0.0, high: float = 1.0) -> tuple[float, ...]:
        return tuple(float(value) for value in draw.uniform(low, high, size))

    ranks = tuple(1 << power for power in range(11))
    kept = tuple(tuple(np.sort(draw.uniform(0, 1, len(ranks))).tolist()) for _ in range(count))
    matrix = MatrixFigures(
        (16,) * count, numbers(count, 5, 9), numbers(count, 2, 40), numbers(count, 1, 9), ranks, kept, numbers(pairs),
        numbers(pairs), numbers(pairs), numbers(pairs, 0, 2), 1.5,
    )  # fmt: skip
    merged = MergedFigures(
        1.0, numbers(count), numbers(count), numbers(count), 20.0, 5.0, kept[0], numbers(32, 0.5, 2), 1.2, 0.4, 0.3
    )
    return TensorFigures(
        f"model.layers.{layer}.{module}.weight", "other" if table else "matrix", (1024, 1024), "model.layers", layer,
        module, 30.0, numbers(count, 0.5, 2), numbers(count, -0.1, 0.1), numbers(count, 90, 110),
        numbers(pairs, -0.2, 0.4), numbers(pairs, 0, 0.5), 0.3, 0.01, None if table else matrix,
        (10, *(1,) * count) if table else (), (1,) * count if table else (),
        merged=replace(merged, alignment=(), consistency=()) if after and table else merged if after else None,
    )  # fmt: skip


def on_inputs(names: list[str], *, after: bool, layers: int = 6) -> OnInputs:
    """Figures on inputs of tasks of these names; the last is a language model's, which has no classes."""
    draw = np.random.default_rng(1)

    def model(place: int, *, expert: bool) -> ModelOnInputs:
        low, value, high = sorted(float(value) for value in draw.uniform(0.3, 0.99, 3))
        collapsed = Collapse(3, 60, 0.4, 0.2, None, 1.1, 0.05) if place < len(names) - 1 else None
        similar = () if expert else (None, *(float(value) for value in draw.uniform(-0.1, 1, layers - 1)))
        return ModelOnInputs(
            None if expert else Share(value, low, high), float(draw.uniform(0, 2)),
            None if expert else 0.9, None if expert else 0.8, similar, collapsed, 0.75 if collapsed else None,
        )  # fmt: skip

    tasks = tuple(
        TaskOnInputs(
            name, "validation", "classes" if place < len(names) - 1 else "tokens", 64,
            64 if place < len(names) - 1 else 900, 64, 3 if place < len(names) - 1 else None,
            "labels" if place < len(names) - 1 else None, model(place, expert=True), model(place, expert=False),
            model(place, expert=False) if after else None,
        )
        for place, name in enumerate(names)
    )  # fmt: skip
    return OnInputs(64, tasks, tuple(f"{name}: 64 of 300 are used, evenly spread" for name in names), 3.0)
