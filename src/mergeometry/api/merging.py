"""Plan and merge from Python."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from mergeometry.api.keys import RecipeKeys, with_keys
from mergeometry.errors import RecipeError
from mergeometry.execution.executor import chosen_executor
from mergeometry.in_stages import holds_stages, merge_in_stages
from mergeometry.notebook import in_notebook, merging
from mergeometry.recipe import Recipe

if TYPE_CHECKING:
    from mergeometry.execution.cluster import Ray
    from mergeometry.execution.run import Progress
    from mergeometry.learning.state import Report
    from mergeometry.plan import Plan
    from mergeometry.results import Run


def make_plan(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    offline: bool = False,
    allow_pickle: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Plan:
    """Match all inputs by their headers and say what a merge would read, compute and write.

    Of models on the hub only headers and small files are fetched; with ``offline``, its cache is all there is.
    ``allow_pickle`` converts pickled weights of people whom you trust (docs/sources.md).

    ``keys`` override the recipe's, or stand for one: ``make_plan(base="b", models=["a", "c"], method="ties")``.

    Raises:
        MergeometryError: the recipe or an input is not usable; all mismatches are listed at once.
    """
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415  (needs torch)
    from mergeometry.sources.access import Access  # noqa: PLC0415

    return prepared_plan(with_keys(recipe, keys, offline=offline), Access(offline, allow_pickle), weights=False)


def merge(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    *,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    device: str = "auto",
    directions: str | Path | None = None,
    directions_limit: int | str | None = None,
    offline: bool = False,
    allow_pickle: bool = False,
    progress: Progress | None = None,
    report: Report | None = None,
    **keys: Unpack[RecipeKeys],
) -> Run:
    """Merge the models of a recipe into the folder ``output``, which appears whole or not at all.

    ``keys`` override the recipe's, or stand for one:
    ``merge(base="b", models=["a", "c"], method=mg.methods.TSVM(rank=8), output="merged")``.

    A recipe with an `adapt:` section learns first, on its unlabelled data; one with a `data:` section runs its models
    on theirs first. A `scale` that is a grid is chosen on labelled validation inputs (docs/scales.md).
    ``workers`` is the number of processes (by default one per core, or none for small merges); it does not change the
    result. ``device`` is cpu, cuda, cuda:1, or auto: a GPU where there is one and it saves time
    (docs/gpu.md). ``memory_limit``, such as ``"8GB"``, is what all processes may take together; by default it
    is all memory that there is. ``executor="ray"``, or ``mg.Ray("ray://head:10001")``, computes on a Ray cluster
    (docs/cluster.md). ``directions`` is a folder that keeps the decompositions of full models for later merges, up to
    ``directions_limit``, by default ``"50GB"``; it does not change the result (docs/known-directions.md). Models on the
    hub are fetched once their headers fit together; with ``offline`` its cache is all there is; ``allow_pickle``
    converts pickled weights of people whom you trust (docs/sources.md).
    ``progress`` is called with each finished `TensorTask` (in a notebook, where none is given, a bar shows them),
    ``report`` with each `Point` of learning. A file with several stages is merged stage by stage, and the record is the
    last one's. The record's ``report()`` says what became of every model.

    Raises:
        MergeometryError: something is wrong with the recipe, an input, a value or the output; nothing was published.
    """
    from mergeometry.execution.directions_folder import directions_folder  # noqa: PLC0415
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.results import Run  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    if output is None:
        raise RecipeError("`output` says where to write; there is no default", hint='merge(..., output="merged")')
    access = Access(offline, allow_pickle)
    shared: dict[str, Any] = {"workers": workers, "memory_limit": memory_limit, "device": device}
    shared |= {"overwrite": overwrite, "resume": resume, "progress": progress}
    folder = {"directions": directions, "directions_limit": directions_limit}
    if holds_stages(recipe):
        with chosen_executor(executor).opened() as shared["executor"]:  # once for all stages
            one = partial(merge, report=report, offline=offline, allow_pickle=allow_pickle, **folder, **shared)
            return merge_in_stages(Path(recipe), Path(output), keys, access, one, overwrite=overwrite, resume=resume)
    shared["directions"] = directions_folder(directions, directions_limit)
    plan = prepared_plan(with_keys(recipe, keys, offline=offline), access)
    if progress is None and in_notebook():
        shared["progress"] = merging(plan)
    with chosen_executor(executor).opened() as shared["executor"], _searched(plan, output, shared) as plan:
        if plan.recipe.data is not None:
            from mergeometry.activations.run import merge_on_data  # noqa: PLC0415  (needs transformers)

            record = merge_on_data(plan, output, **shared)
        elif plan.recipe.adapt is None:
            record = execute(plan, output, **shared)
        else:
            from mergeometry.learning.run import adapt  # noqa: PLC0415  (needs transformers)

            record = adapt(plan, output, report=report, **shared)
    return Run.of(record, output)


def _searched(plan: Plan, output: str | Path, shared: Mapping[str, Any]) -> AbstractContextManager[Plan]:
    """The plan that a search leads to, or the plan itself where its recipe leaves nothing open."""
    if not plan.recipe.is_open:
        return nullcontext(plan)
    from mergeometry.search.run import searched  # noqa: PLC0415  (needs transformers)

    keys = ("workers", "memory_limit", "overwrite", "resume", "executor", "directions")
    return searched(plan, output, **{key: shared[key] for key in keys})
