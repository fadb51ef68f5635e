"""A plan on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mergeometry.cli.show import console, plain, size
from mergeometry.grouping import grouped
from mergeometry.progress import about
from mergeometry.words import counted

if TYPE_CHECKING:
    from mergeometry.plan import Plan, TensorTask
    from mergeometry.plan.placement import Placement
    from mergeometry.sources import Checkpoint


def print_plan(
    made: Plan,
    workers: int,
    tensors: bool,
    memory_limit: str | None = None,
    device: str = "auto",
    saved: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Print what a merge would read, compute and write."""
    from rich.table import Table

    from mergeometry.execution.workers import limit_in_bytes
    from mergeometry.plan.machine import available_memory
    from mergeometry.plan.paces import paces
    from mergeometry.plan.shares import shares_of
    from mergeometry.sink.shares import shares_in_words

    known = paces(device)
    target, memory = console(), available_memory(limit_in_bytes(memory_limit))
    table = Table(title=f"{counted(len(made.models), 'model')} onto {plain(_named(made.base))}", title_justify="left")
    for column in ("tensors", "what", "method", "scale", "read", "write", "seconds"):
        table.add_column(column, justify="left" if column in {"what", "method"} else "right")
    for (kind, method, scale), tasks in _groups(made).items():
        costs = [task.cost for task in tasks]
        table.add_row(
            str(len(tasks)), kind, plain(method), scale, size(sum(cost.read for cost in costs)),
            size(sum(cost.written for cost in costs)),
            f"{sum((one.cost.seconds - saved.get(one.name, 0.0)) * known.get(one.route, 1.0) for one in tasks):.1f}",
        )  # fmt: skip
    target.print(table)
    target.print(shares_in_words(shares_of(made).to_json(), made.recipe.method.name))
    for label, infos in made.heads.items():
        target.print(f"head of {plain(label)}, kept next to the weights: {len(infos)} tensors")
    for note in grouped([*made.notes, *made.sidecar_notes()]):
        target.print(f"note: {plain(note)}")
    target.print(
        f"reads {size(made.bytes_read)}, writes {size(made.bytes_written)} "
        f"in {counted(len(made.layout.files), 'file')}; "
        f"with {counted(workers, 'worker')} {about(made.seconds(workers, known, saved))} "
        f"and at most {size(made.peak_memory(workers))} of the {size(memory)} of memory"
    )
    if any(task.route in known for task in made.tasks):
        target.print("seconds as earlier merges on this machine took them")
    if tensors:
        listing = Table("tensor", "shape", "what", "method", "scale", "memory")
        for task in made.tasks:
            shape = " x ".join(str(side) for side in task.base.shape) or "scalar"
            listing.add_row(
                plain(task.name), shape, kind_of(task), plain(task.steps), task.scale_in_words, size(task.cost.memory)
            )
        target.print(listing)


def _named(base: Checkpoint) -> str:
    """What the base is, in words: a model of the hub by its repository, not by where its files lie."""
    from mergeometry.hub_names import cached_name

    plain_path = base.stack is None and base.adapter is None
    return (cached_name(str(base.path)) if plain_path else None) or base.described


def print_directions(estimates: Mapping[str, Any]) -> None:
    """Print how many tensors' directions are known, where there is a folder of them."""
    if (found := estimates.get("directions")) is not None:
        console().print(
            f"directions are known of {found['known']} of {counted(found['of'], 'tensor')} that take them, in "
            f"{plain(found['folder'])}"
        )


def print_device(made: Plan, placement: Placement, asked: str) -> None:
    """Print where the tensors are merged, unless that is the CPU for want of anything else."""
    if asked != "auto" or placement.device != "cpu":
        console().print(plain(placement.in_words(made)))


def _print_tasks(estimate: dict[str, Any]) -> None:
    for task in estimate["tasks"]:
        console().print(f"task {plain(task['name'])}: {task['items']:,} unlabelled {task['kind']}")
        for note in task["notes"]:
            console().print(f"  note: {plain(note)}")


def print_collecting(estimates: dict[str, Any]) -> None:
    """Print what running the models on inputs will take, where the recipe asks for it."""
    if "data" not in estimates:
        return
    estimate = estimates["data"]
    _print_tasks(estimate)
    for label, place in estimate["fishers"].items():
        console().print(f"task {plain(label)}: Fisher information from {plain(place)}")
    if not estimate["tasks"]:
        return
    console().print(
        f"runs the models on their inputs before the merge: {about(estimate['seconds'])}, "
        f"{size(estimate['memory_bytes'])} of memory and {size(estimate['scratch_bytes'])} of scratch space next to "
        f"the output; matrices that no model runs are merged by `other`, and to the plain mean by `fisher`"
    )


def print_learning(estimates: dict[str, Any]) -> None:
    """Print what learning will take, where the recipe asks for it."""
    if "learning" not in estimates:
        return
    estimate, target = estimates["learning"], console()
    _print_tasks(estimate)
    for note in estimate["notes"]:
        target.print(f"note: {plain(note)}")
    per = estimate["coefficients"]
    numbers = "coefficients as fine as held-out inputs allow" if per == "auto" else f"one coefficient per {per}"
    target.print(
        f"learns by {estimate['objective']} for at most {estimate['steps']} steps, with {numbers}: "
        f"{about(estimate['seconds'])} on two cores and {size(estimate['memory_bytes'])} of memory"
    )


def _groups(made: Plan) -> dict[tuple[str, str, str], list[TensorTask]]:
    groups: dict[tuple[str, str, str], list[TensorTask]] = {}
    for task in made.tasks:
        groups.setdefault((kind_of(task), task.steps, task.scale_in_words), []).append(task)
    return groups


def kind_of(task: TensorTask) -> str:
    """What a tensor is, in one word."""
    return "experts" if task.slices else task.kind
