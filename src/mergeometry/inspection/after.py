"""Looks at a merge that is done: its run record, and the weights of its inputs and its output where they are there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.digests import DEFAULT, Algorithm, algorithm_of
from mergeometry.errors import MergeometryError, SourceError
from mergeometry.execution.executor import LOCAL, Executor
from mergeometry.execution.workers import MemoryLimit
from mergeometry.inspection.budget import Budget
from mergeometry.inspection.curves import curves_of
from mergeometry.inspection.result import Inspection, Model, Sentence
from mergeometry.inspection.run import Progress, measure_all
from mergeometry.inspection.totals import totals_of
from mergeometry.plan.plan import Plan
from mergeometry.plan.prepared import prepared_plan
from mergeometry.recipe import load_recipe
from mergeometry.regular_files import read_regular
from mergeometry.sink import RunRecord, read_record, versions
from mergeometry.sink.target import record_path
from mergeometry.sources.access import Access

_OF_THE_MERGE = frozenset(
    {"method", "scale", "other", "refine", "tensors", "adapt", "data", "search", "output", "seed"}
)
"""Keys of a recipe that say how its models are merged, and nothing of which they are."""
_OF_A_MODEL = frozenset({"path", "stack", "name"})
_MERGED = "merged"


def report_on(
    output: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    memory_limit: MemoryLimit = None,
    budget: Budget | None = None,
    executor: Executor = LOCAL,
) -> Inspection:
    """Measure what became of every model in a merge, from the output's run record and the weights.

    Where an input is gone, or the record is of another version, the result stands on what is left and says so. With a
    ``budget`` only those tensors are measured that fit into it.

    Raises:
        SourceError: there is no run record, or it is malformed.
        RecipeError: fewer than one worker is asked for, or it needs more memory than there is.
        ExecutionError: a worker dies.
    """
    record, plain, doubt = _record_of(output)
    try:
        plan = _plan(plain["recipe"], output, (record and algorithm_of(record.digest)) or DEFAULT)
    except (MergeometryError, KeyError, TypeError, AttributeError) as error:
        gone = Sentence(
            "attention", f"The weights cannot be compared: {_why(error)}. This page stands on the run record."
        )
        return _from_record_alone(output, record, plain, [*doubt, gone])
    measured, read = measure_all(
        plan,
        workers=workers,
        progress=progress,
        merged=True,
        memory_limit=memory_limit,
        budget=budget,
        executor=executor,
    )
    merged = measured.output
    assert merged is not None
    if measured.left_out and record is not None:
        sentence = _left_out(measured, output)
        if not measured.tensors and not measured.problems:
            return replace(_from_record_alone(output, record, plain, [sentence]), left_out=measured.left_out)
        doubt = [*doubt, sentence]
        measured = _with_digests_of(record, measured)
    changed = [] if record is None else _changed(record, merged.label, read)
    notes = record.sidecars.notes if record else ()
    return replace(
        measured,
        recipe=plain["recipe"],
        notes=notes,
        record=None if record is None else record.to_json(),
        curves=curves_of(output),
        output=Model(_MERGED, str(output), merged.kind, record.digest if record else ""),
        verdict=(*doubt, *changed, *measured.verdict),
    )


def recipe_of_merge(output: Path) -> Mapping[str, Any]:
    """The recipe of a merge, from its run record.

    Raises:
        SourceError: there is no run record, or it is malformed.
    """
    return _record_of(output)[1]["recipe"]


def plan_of_merge(output: Path) -> Plan:
    """The models that went into a merge, with the merged one as the last of them.

    Raises:
        MergeometryError: there is no run record, or a model is gone or does not fit the others.
    """
    record, plain, _ = _record_of(output)
    return _plan(plain["recipe"], output, (record and algorithm_of(record.digest)) or DEFAULT)


def _record_of(output: Path) -> tuple[RunRecord | None, Mapping[str, Any], list[Sentence]]:
    """The record, its plain values, and what to say where it is of another version."""
    try:
        record = read_record(output)
    except SourceError as error:
        try:
            plain = json.loads(read_regular(record_path(output), limits.SIDECAR_BYTES))
        except (OSError, ValueError, RecursionError):
            raise error from None
        if not isinstance(plain, dict) or "recipe" not in plain or "schema" not in plain:
            raise
        return None, plain, [Sentence("attention", f"Of the run record only its recipe could be used: {error.what}.")]
    return record, record.to_json(), []


def _plan(recipe: Mapping[str, Any], output: Path, algorithm: Algorithm) -> Plan:
    """The recipe's models with the merged one as the last of them."""
    kept = {key: value for key, value in recipe.items() if key not in _OF_THE_MERGE}
    models = [{key: value for key, value in entry.items() if key in _OF_A_MODEL} for entry in recipe["models"]]
    label = _MERGED
    while label in {entry.get("name") for entry in models}:
        label += "'"
    merged = {"path": str(output.resolve()), "name": label}
    given = {**kept, "models": [*models, merged], "method": "average"}
    given["output"] = {"dtype": "float32", "digest": algorithm}
    # Nothing is fetched: what is gone is gone.
    return prepared_plan(load_recipe(given), Access(offline=True))


def _changed(record: RunRecord, label: str, read: Mapping[tuple[str, str], str]) -> list[Sentence]:
    """What to say where the output's tensors are not those that the merge wrote."""
    written = {tensor.name: tensor.digest for tensor in record.tensors}
    other = [name for (model, name), digest in read.items() if model == label and written.get(name, digest) != digest]
    if not other:
        return []
    more = f" and {len(other) - 1} more tensors" if len(other) > 1 else ""
    return [Sentence("warning", f"The output changed since the merge: {other[0]!r}{more} differ from the run record.")]


def _why(error: Exception) -> str:
    if not isinstance(error, MergeometryError):
        return "its recipe cannot be read"
    file = str(error.file or "")
    if file.startswith("hf://"):  # a relative path of a folder that is gone reads as a name on the hub
        return f"{file.removeprefix('hf://')!r} is neither a folder here nor a model in the hub's cache"
    return f"{error.what} ({file})" if file else error.what


def _left_out(measured: Inspection, output: Path) -> Sentence:
    count = len(measured.tensors) + len(measured.problems)
    every = count + measured.left_out
    spread = f"{count:,} of {every:,} tensors were measured, spread over the model" if count else (
        f"None of {every:,} tensors was measured"
    )  # fmt: skip
    command = f"mergeometry report {shlex.quote(str(output))}"
    return Sentence(
        "attention", f"{spread}: the page beside a merge adds little to its time. `{command}` measures all."
    )


def _with_digests_of(record: RunRecord, measured: Inspection) -> Inspection:
    """The same with the models' digests of the record, which cover all of their tensors."""
    digests = {one.label if one.role != "base" else "base": one.digest for one in record.inputs}
    base, *models = (
        replace(model, digest=digests.get(label, ""))
        for label, model in [("base", measured.base), *((model.label, model) for model in measured.models)]
    )
    return replace(measured, base=base, models=tuple(models))


def _from_record_alone(
    output: Path, record: RunRecord | None, plain: Mapping[str, Any], said: list[Sentence]
) -> Inspection:
    inputs = record.inputs if record else ()
    bases = [one for one in inputs if one.role == "base"]
    models = tuple(
        Model(one.label, one.path, "adapter" if one.kind == "adapter" else "checkpoint", one.digest)
        for one in inputs
        if one.role != "base"
    )
    base = Model("base", bases[0].path, "checkpoint", bases[0].digest) if bases else Model("base", "", "checkpoint")
    return Inspection(
        version=versions()["mergeometry"],
        recipe=plain["recipe"] if isinstance(plain["recipe"], dict) else {},
        base=base,
        models=models,
        totals=totals_of((), [model.label for model in models]),
        tensors=(),
        problems=(),
        notes=record.sidecars.notes if record else (),
        seconds=0.0,
        verdict=tuple(said),
        output=Model(_MERGED, str(output), "checkpoint", record.digest if record else ""),
        record=None if record is None else record.to_json(),
        curves=curves_of(output),
    )
