"""Writes what goes next to the merged weights: heads, sidecars, adapter settings, run record, model card."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

from torch import Tensor

from mergeometry.dtypes import CODES
from mergeometry.execution.adapter_settings import write_adapter_config
from mergeometry.execution.compute import TRUNCATED, Outcome, process_usage
from mergeometry.execution.extras import Extras
from mergeometry.execution.input_records import input_records, stacked_names
from mergeometry.execution.measuring import NO_SCALE
from mergeometry.execution.task_reader import TaskReader
from mergeometry.hub_names import is_hub_name
from mergeometry.plan.adapter_contents import adapter_contents
from mergeometry.plan.shares import shares_of
from mergeometry.plan.tasks import Plan, TensorTask
from mergeometry.plan.values import parameters_shown
from mergeometry.recipe.scale import ScaleRule
from mergeometry.sink import (
    MethodRecord,
    OutputTensor,
    RunRecord,
    SidecarPlan,
    Staging,
    TensorRecord,
    Totals,
    copy_sidecars,
    is_single_file,
    model_card,
    safetensors_pieces,
    versions,
    weights_digest,
    write_record,
)
from mergeometry.sink.target import record_path
from mergeometry.sources import Adapter, Checkpoint, TensorInfo, TensorReader

_CARD = "README.md"


def write_metadata(
    plan: Plan,
    staging: Staging,
    outcomes: Mapping[str, Outcome],
    sidecars: SidecarPlan,
    fingerprint: str,
    started: float,
    extras: Extras,
) -> RunRecord:
    """Write every file except the weights into the staging folder, and return the run record.

    Raises:
        NumericalError: a head holds NaN or Inf.
        OutputError: a file cannot be written.
    """
    heads, head_digests = _write_heads(plan, staging, extras)
    for name, data in extras.files.items():
        staging.write_file(name, data)
    if plan.recipe.output.adapter:
        copied = write_adapter_config(plan, staging)
        library = "diffusers" if plan.form is not None and plan.form.layout != "peft" else "peft"
    else:
        copied, library = (
            copy_sidecars(
                sidecars, staging, code=plan.output_code, keys={**extras.configuration, **plan.configuration}
            ),
            _library(plan, sidecars),
        )
    read = {(label, name): digest for outcome in outcomes.values() for label, name, digest in outcome.read}
    cards = () if is_single_file(staging.target) else (_CARD,)
    record = RunRecord(
        recipe=plan.recipe.canonical(),
        fingerprint=fingerprint,
        sha256=weights_digest(_written(plan, outcomes)),
        versions=versions(),
        inputs=tuple(input_records(plan, {**read, **head_digests})),
        methods=tuple(_methods(plan)),
        refinements=tuple(_refinements(plan)),
        scaling=_scaling(plan, outcomes),
        tensors=tuple(_tensors(plan, outcomes)),
        totals=_totals(plan, outcomes, started),
        sidecars=copied,
        warnings=(*plan.notes, *extras.notes, *heads, *_fallbacks(outcomes)),
        adapt=extras.summary,
        data=extras.data,
        files=tuple(sorted({*staging.names, record_path(staging.target).name, *cards})),
        parameters=shares_of(plan).to_json(),
        adapter=adapter_contents(plan, {name: outcome.energies for name, outcome in outcomes.items()}),
    )
    write_record(staging, record)
    if not cards:
        return record
    architecture = str(next(iter((plan.output_config or {}).get("architectures") or ()), ""))
    card = model_card(
        record, library=library, architecture=architecture, names={**_declared_names(plan), **stacked_names(plan)}
    )
    staging.write_file(_CARD, card.encode())
    return record


def safe_name(name: str) -> str:
    """A file name for a model or task of any name; different names never share a file name."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip("._")[:80]
    return plain if plain and plain == name else f"{plain or 'model'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _write_heads(plan: Plan, staging: Staging, extras: Extras) -> tuple[list[str], dict[tuple[str, str], str]]:
    notes, digests = [], {}
    # The class says which feature a head takes: what reads the head later does not have the model's configuration.
    architectures = {
        model.label: {"architecture": str(named[0])}
        for model in plan.models
        if isinstance(model, Checkpoint) and (named := (model.config or {}).get("architectures"))
    }
    with TensorReader() as reader:
        inputs = TaskReader(reader, [model.label for model in plan.models])
        names = {model.label: match.heads for model, match in zip(plan.models, plan.matches, strict=True)}
        for label in dict.fromkeys([*plan.heads, *extras.heads]):
            if label in extras.heads:
                # A learned head replaces the one it came from, which no longer fits the features.
                learned = extras.heads[label]
                planned = [OutputTensor(name, CODES[one.dtype], tuple(one.shape)) for name, one in learned.items()]
                value = learned.__getitem__
            else:
                # Under the model's own names, which have a prefix in an adapter's file.
                infos = dict(zip(names[label], plan.heads[label], strict=True))
                planned = [OutputTensor(name, info.code, info.shape) for name, info in infos.items()]
                value = partial(_kept, inputs, label, infos)
            place = f"heads/{safe_name(label)}.safetensors"
            size, pieces = safetensors_pieces(planned, value, {"model": label, **architectures.get(label, {})})
            staging.write_pieces(place, pieces, size)
            notes.append(f"{label}: {len(planned)} head tensors kept in {place}")
        digests.update(inputs.digests)
    return notes, digests


def _kept(inputs: TaskReader, label: str, infos: Mapping[str, TensorInfo], name: str) -> Tensor:
    tensor = inputs.raw(label, infos[name])
    inputs.finite(label, infos[name], tensor)
    return tensor


def _declared_names(plan: Plan) -> dict[str, str]:
    """What adapters call their base, where they agree; a base's own file may name the model that it came from."""
    declared = {model.base_name for model in plan.models if isinstance(model, Adapter) and model.base_name}
    name = declared.pop() if len(declared) == 1 else ""
    return {plan.base.label: name} if is_hub_name(name) else {}


def _library(plan: Plan, sidecars: SidecarPlan) -> str | None:
    if any(file.name == "modules.json" for file in sidecars.files):
        return "sentence-transformers"
    return "transformers" if plan.base.config and "model_type" in plan.base.config else None


def _written(plan: Plan, outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, str, tuple[int, ...], str]]:
    for task in plan.tasks:
        if task.outputs:
            for output, digest in zip(task.outputs, outcomes[task.name].written, strict=True):
                yield output.name, output.code, output.shape, digest


def _methods(plan: Plan) -> Iterator[MethodRecord]:
    used: dict[str, list[TensorTask]] = {}
    for task in plan.tasks:
        if task.method is not None:
            used.setdefault(f"{task.method_name} {parameters_shown(task)}", []).append(task)
    for tasks in used.values():
        method = tasks[0].method
        assert method is not None
        yield MethodRecord(tasks[0].method_name, parameters_shown(tasks[0]), method.source, len(tasks))


def _refinements(plan: Plan) -> Iterator[MethodRecord]:
    refined = [task.refinements for task in plan.tasks if task.refinements]
    for name, refinement in refined[0] if refined else ():
        yield MethodRecord(name, refinement.described(), refinement.source, len(refined))


def _scaling(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, Any] | None:
    """The rule that computed the scales, and the range of its results."""
    tasks = [task for task in plan.tasks if task.scaling is not None and task.outputs]
    scales = [scale for task in tasks for scale in outcomes[task.name].scales]
    if not scales or not isinstance(plan.recipe.scale, ScaleRule):
        return None
    return {
        **plan.recipe.scale.model_dump(),
        "tensors": len(scales),
        "least": min(scales),
        "median": median(scales),
        "largest": max(scales),
    }


def _tensors(plan: Plan, outcomes: Mapping[str, Outcome]) -> Iterator[TensorRecord]:
    for task in plan.tasks:
        if not task.outputs:
            continue
        outcome = outcomes[task.name]
        for output, digest in zip(task.outputs, outcome.written, strict=True):
            yield TensorRecord(
                output.name, task.steps, outcome.scale, outcome.seconds, output.code, output.shape, digest,
                (*outcome.notes, *_range(outcome)), dict(task.values),
            )  # fmt: skip


def _range(outcome: Outcome) -> Iterator[str]:
    if outcome.scales and outcome.scale is None:
        least, largest = min(outcome.scales), max(outcome.scales)
        yield f"each of its {len(outcome.scales)} matrices has a scale of its own, from {least:.4g} to {largest:.4g}"


def _totals(plan: Plan, outcomes: Mapping[str, Outcome], started: float) -> Totals:
    peak, process = process_usage()
    peaks = {process: peak}
    for outcome in outcomes.values():
        peaks[outcome.process] = max(peaks.get(outcome.process, 0), outcome.peak_memory)
    return Totals(time.perf_counter() - started, sum(peaks.values()), plan.bytes_read, plan.bytes_written)


def _fallbacks(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    notes = [note for outcome in outcomes.values() for note in outcome.notes]
    unscaled = sum(note.startswith(NO_SCALE) for note in notes)
    truncated = sorted(float(note.rpartition(" ")[2]) for note in notes if note.startswith(TRUNCATED))
    if truncated:
        yield (
            f"{len(truncated)} tensors were truncated to the adapter's rank: they keep {truncated[0]:.3f} to "
            f"{truncated[-1]:.3f} of the squared norm of their updates; their notes say how much"
        )
    fallbacks = len(notes) - unscaled - len(truncated)
    if fallbacks:
        yield f"{fallbacks} decompositions fell back to another driver; the tensors' notes say which"
    if unscaled:
        yield f"{unscaled} tensors keep the scale 1, since the rule has no value for them; their notes say which"
