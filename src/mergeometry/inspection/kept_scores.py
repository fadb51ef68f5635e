"""The scores that lie beside a merge's output: of `mergeometry evaluate --save` and `mergeometry report --data`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mergeometry.sink.page import EVALUATION, FIGURES, page_folder, read_object

SCHEMA = 1


def kept_evaluation(evaluation: Mapping[str, Any], digest: str, tasks: str) -> dict[str, Any]:
    """What is kept of an evaluation: its scores, the file of tasks, and the weights that they are of."""
    return {"schema": SCHEMA, "digest": digest, "tasks": tasks, "evaluation": dict(evaluation)}


def evaluation_of(output: Path, digest: str) -> dict[str, Any] | None:
    """The scores that were kept of these weights; None where there are none, or they are of other weights."""
    content = read_object(page_folder(output) / EVALUATION)
    if content is None or content.get("schema") != SCHEMA or content.get("digest") != digest:
        return None
    evaluation = content.get("evaluation")
    if not isinstance(evaluation, dict) or not _is_whole(evaluation):
        return None
    return {**evaluation, "file": str(content.get("tasks", ""))}


def scores_of(output: Path, digest: str) -> dict[str, float]:
    """Every score that lies beside an output and is of its weights, by task and figure."""
    return {**dict(_evaluated(evaluation_of(output, digest))), **dict(_on_inputs(output, digest))}


def _evaluated(evaluation: Mapping[str, Any] | None) -> Iterator[tuple[str, float]]:
    if evaluation is None:
        return
    measure = evaluation["measure"]
    for task, value in evaluation["tasks"].items():
        yield f"{task}: {measure}", value
    yield f"mean {measure}", evaluation["mean"]


def _on_inputs(output: Path, digest: str) -> Iterator[tuple[str, float]]:
    """Accuracy and agreement with the expert, from the page's figures on inputs."""
    figures = read_object(page_folder(output) / FIGURES) or {}
    record = figures.get("record")
    if not isinstance(record, dict) or record.get("digest") != digest:
        return
    tasks = figures.get("on_inputs")
    for task in tasks.get("tasks", ()) if isinstance(tasks, dict) else ():
        merged = task.get("merged") or {}
        of = f"{task.get('inputs')} inputs of {task.get('source')}"
        if isinstance(value := merged.get("accuracy"), int | float):
            yield f"{task.get('name')}: accuracy on {of}", value
        if isinstance(agreement := merged.get("agreement"), dict):
            yield f"{task.get('name')}: agreement with the expert on {of}", agreement["value"]


def _is_whole(evaluation: Mapping[str, Any]) -> bool:
    """Whether every field that is shown is there and a number where it must be one."""
    tasks = evaluation.get("tasks")
    if evaluation.get("measure") not in ("accuracy", "perplexity") or not isinstance(tasks, dict) or not tasks:
        return False
    sizes = (evaluation.get("spread"), evaluation.get("inputs"))
    numbers = [evaluation.get("mean"), *tasks.values()]
    for own in sizes:
        if not isinstance(own, dict) or own.keys() != tasks.keys():
            return False
        numbers += own.values()
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
