"""Writes what goes next to the merged weights: heads, sidecars, adapter settings, run record, model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from mergeometry.execution.adapter_settings import write_adapter_config
from mergeometry.execution.compute import TRUNCATED, Outcome
from mergeometry.execution.extras import Extras
from mergeometry.execution.head_files import write_heads
from mergeometry.execution.input_records import input_records, stacked_names, unread
from mergeometry.execution.measuring import NO_SCALE
from mergeometry.execution.timings import Timings
from mergeometry.execution.usage import process_usage
from mergeometry.hub_names import is_hub_name
from mergeometry.linalg.tolerances import FELL_BACK
from mergeometry.plan.adapter_contents import adapter_contents
from mergeometry.plan.plan import Plan
from mergeometry.plan.shares import shares_of
from mergeometry.plan.tasks import TensorTask
from mergeometry.plan.values import parameters_shown
from mergeometry.recipe.scale import ScaleRule
from mergeometry.sink import (
    MethodRecord,
    RunRecord,
    SidecarPlan,
    SidecarRecord,
    Staging,
    TensorRecord,
    Totals,
    copy_sidecars,
    is_single_file,
    model_card,
    versions,
    weights_digest,
    write_record,
)
from mergeometry.sink.target import record_path
from mergeometry.sources import Adapter

_CARD = "README.md"


def write_metadata(
    plan: Plan,
    staging: Staging,
    outcomes: Mapping[str, Outcome],
    sidecars: SidecarPlan,
    fingerprint: str,
    timings: Timings,
    extras: Extras,
    chosen: Mapping[str, Any],
) -> RunRecord:
    """Write every file except the weights into the staging folder, and return the run record.

    ``chosen`` is what the run decided by itself.

    Raises:
        NumericalError: a head holds NaN or Inf.
        OutputError: a file cannot be written.
    """
    with timings.stage("metadata"):
        heads, head_digests = write_heads(plan, staging, extras)
        for name, data in extras.files.items():
            staging.write_file(name, data)
        copied, library = _write_settings(plan, staging, sidecars, extras)
    read = {(label, name): digest for outcome in outcomes.values() for label, name, digest in outcome.read}
    read |= head_digests
    cards = () if is_single_file(staging.target) else (_CARD,)
    record = RunRecord(
        recipe=plan.recipe.canonical(),
        fingerprint=fingerprint,
        digest=weights_digest(_written(plan, outcomes), plan.recipe.output.digest),
        versions=versions(),
        inputs=tuple(input_records(plan, read, plan.recipe.output.digest)),
        methods=tuple(_methods(plan)),
        refinements=tuple(_refinements(plan)),
        scaling=_scaling(plan, outcomes),
        tensors=tuple(_tensors(plan, outcomes)),
        totals=_totals(plan, outcomes, timings),
        sidecars=copied,
        warnings=(*plan.notes, *extras.notes, *heads, *_fallbacks(outcomes)),
        adapt=extras.summary,
        data=extras.data,
        search=plan.search,
        files=tuple(sorted({*staging.names, record_path(staging.target).name, *cards})),
        parameters=shares_of(plan).to_json(),
        adapter=adapter_contents(plan, {name: outcome.energies for name, outcome in outcomes.items()}),
        timings=timings.to_json(sum(bool(task.outputs) for task in plan.tasks)),
        decisions=chosen,
        unread=unread(plan, read),
        residuals=extras.residuals,
    )
    if cards:
        architecture = str(next(iter((plan.output_config or {}).get("architectures") or ()), ""))
        card = model_card(
            record, library=library, architecture=architecture, names={**_declared_names(plan), **stacked_names(plan)}
        )
        staging.write_file(_CARD, card.encode())
    record = replace(record, contents=staging.contents)
    write_record(staging, record)
    return record


def _write_settings(
    plan: Plan, staging: Staging, sidecars: SidecarPlan, extras: Extras
) -> tuple[SidecarRecord, str | None]:
    """Write the base's files, or an adapter's settings; what became of them, and the library that loads the output."""
    if plan.recipe.output.adapter:
        library = "diffusers" if plan.form is not None and plan.form.layout != "peft" else "peft"
        return write_adapter_config(plan, staging), library
    keys = {**extras.configuration, **plan.configuration}
    return copy_sidecars(sidecars, staging, code=plan.output_code, keys=keys), _library(plan, sidecars)


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


def _totals(plan: Plan, outcomes: Mapping[str, Outcome], timings: Timings) -> Totals:
    peak, process = process_usage()
    peaks = {process: peak}
    for outcome in outcomes.values():
        peaks[outcome.process] = max(peaks.get(outcome.process, 0), outcome.peak_memory)
    return Totals(timings.seconds, sum(peaks.values()), plan.bytes_read, plan.bytes_written)


def _fallbacks(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    notes = [note for outcome in outcomes.values() for note in outcome.notes]
    unscaled = sum(note.startswith(NO_SCALE) for note in notes)
    truncated = sorted(float(note.rpartition(" ")[2]) for note in notes if note.startswith(TRUNCATED))
    if truncated:
        yield (
            f"{len(truncated)} tensors were truncated to the adapter's rank: they keep {truncated[0]:.3f} to "
            f"{truncated[-1]:.3f} of the squared norm of their updates; their notes say how much"
        )
    fallbacks = sum(note.endswith(FELL_BACK) for note in notes)
    if fallbacks:
        yield f"{fallbacks} decompositions fell back to another driver; the tensors' notes say which"
    if unscaled:
        yield f"{unscaled} tensors keep the scale 1, since the rule has no value for them; their notes say which"
