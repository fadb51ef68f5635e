"""The Python calls behind the command line: load a recipe, plan it, merge it, compare methods on it, score a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from mergeometry.errors import RecipeError
from mergeometry.execution.executor import chosen_executor
from mergeometry.in_stages import holds_stages, merge_in_stages
from mergeometry.notebook import in_notebook, merging
from mergeometry.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from mergeometry.comparison.evaluate import Evaluation
    from mergeometry.comparison.result import Comparison
    from mergeometry.comparison.run import Say
    from mergeometry.comparison.tasks_file import TasksFile
    from mergeometry.execution.cluster import Ray
    from mergeometry.execution.run import Progress
    from mergeometry.learning.train import Report
    from mergeometry.methods.base import Method
    from mergeometry.plan import Plan
    from mergeometry.refinements.base import Refinement
    from mergeometry.results import Inspection, Run
    from mergeometry.sink import RunRecord


class RecipeKeys(TypedDict, total=False):
    """A recipe's keys as keyword arguments (docs/recipes.md); ``dtype`` is that of its `output` section."""

    base: str | Path
    models: Sequence[str | Path | Mapping[str, Any]]
    method: Method | str | Mapping[str, Any]
    scale: float | str | Mapping[str, Any]
    other: Method | str | Mapping[str, Any]
    refine: Sequence[Refinement | str | Mapping[str, Any]]
    tensors: Sequence[Mapping[str, Any]]
    heads: Sequence[str]
    adapt: Mapping[str, Any]
    data: Mapping[str, Any]
    tokenizer: str | Mapping[str, Any]
    chat_template: str
    config: str
    dequantise: bool
    dtype: str
    seed: int


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

    return prepared_plan(_recipe(recipe, keys), Access(offline, allow_pickle), weights=False)


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
    on theirs first. ``workers`` is the number of processes (by default one per core, or none for small merges); it does
    not change the result. ``device`` is cpu, cuda, cuda:1, or auto: a GPU where there is one and it saves time
    (docs/gpu.md). ``memory_limit``, such as ``"8GB"``, is what all processes may take together; by default it
    is all memory that there is. ``executor="ray"``, or ``mg.Ray("ray://head:10001")``, computes on a Ray cluster
    (docs/cluster.md). Models on the hub are fetched once their headers fit together; with ``offline`` its
    cache is all there is; ``allow_pickle`` converts pickled weights of people whom you trust (docs/sources.md).
    ``progress`` is called with each finished `TensorTask` (in a notebook, where none is given, a bar shows them),
    ``report`` with each `Point` of learning. A file with several stages is merged stage by stage, and the record is the
    last one's. The record's ``report()`` says what became of every model.

    Raises:
        MergeometryError: something is wrong with the recipe, an input, a value or the output; nothing was published.
    """
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.results import Run  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    if output is None:
        raise RecipeError("`output` says where to write; there is no default", hint='merge(..., output="merged")')
    access = Access(offline, allow_pickle)
    shared: dict[str, Any] = {"workers": workers, "memory_limit": memory_limit, "device": device}
    shared |= {"overwrite": overwrite, "resume": resume, "progress": progress}
    if holds_stages(recipe):
        with chosen_executor(executor).opened() as shared["executor"]:  # once for all stages
            one = partial(merge, report=report, offline=offline, allow_pickle=allow_pickle, **shared)
            return merge_in_stages(Path(recipe), Path(output), keys, access, one, overwrite=overwrite, resume=resume)
    plan = prepared_plan(_recipe(recipe, keys), access)
    if progress is None and in_notebook():
        shared["progress"] = merging(plan)
    with chosen_executor(executor).opened() as shared["executor"]:
        if plan.recipe.data is not None:
            from mergeometry.activations.run import merge_on_data  # noqa: PLC0415  (needs transformers)

            record = merge_on_data(plan, output, **shared)
        elif plan.recipe.adapt is None:
            record = execute(plan, output, **shared)
        else:
            from mergeometry.learning.run import adapt  # noqa: PLC0415  (needs transformers)

            record = adapt(plan, output, report=report, **shared)
    return Run.of(record, output)


def extract(
    base: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    rank: int | float | Literal["auto"],
    energy: float | None = None,
    other: Literal["all", "changed", "none"] = "changed",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dtype: str = "base",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Write the LoRA adapter that leads from ``base`` to ``model`` into the folder ``output``, whole or not at all.

    Matrices are truncated to ``rank``: a number, a share of the full rank, or "auto", which keeps the share ``energy``
    (0.95) of each squared norm. ``other`` says what becomes of norms, tables, heads and biases: what "changed" is
    written whole, or "all", or "none". ``include`` and ``exclude`` are globs over modules. The record's ``adapter``
    says what each module keeps.

    Raises:
        MergeometryError: the models do not fit together, or a value or the output does not; nothing was published.
    """
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.recipe.extraction import extraction_recipe  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    recipe = extraction_recipe(
        base, model, rank, energy=energy, other=other, include=include, exclude=exclude, dtype=dtype
    )
    plan = prepared_plan(recipe, Access(offline=offline))
    with chosen_executor(executor).opened() as opened:
        return execute(
            plan, output, workers=workers, memory_limit=memory_limit, overwrite=overwrite, resume=resume,
            progress=progress, executor=opened,
        )  # fmt: skip


def mixture(
    recipe: str | Path | Mapping[str, Any],
    *,
    output: str | Path,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    offline: bool = False,
    allow_pickle: bool = False,
) -> Run:
    """Put dense models together to a mixture of experts in the folder ``output`` (docs/mixtures.md).

    ``recipe`` is ours or mergekit-moe's. Gates from prompts run the base, which needs the extra `adapt`. Models on the
    hub are fetched as in `merge`.

    Raises:
        MergeometryError: something is wrong with the recipe, a model or the output; nothing was published.
    """
    from mergeometry.encoders.mixtures import open_models, write_mixture  # noqa: PLC0415  (needs torch)
    from mergeometry.recipe.mixture import load_mixture  # noqa: PLC0415
    from mergeometry.results import Run  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    models = open_models(load_mixture(recipe), Access(offline, allow_pickle))
    with chosen_executor(executor).opened() as opened:
        _, record = write_mixture(
            models, output, workers=workers, memory_limit=memory_limit, overwrite=overwrite, resume=resume,
            executor=opened,
        )  # fmt: skip
    return Run.of(record, output)


def transplant(
    model: str | Path,
    donor: str | Path,
    output: str | Path,
    *,
    rule: Literal["nearest", "omp", "mean"] = "nearest",
    neighbours: int | None = None,
    pad_to_multiple_of: int | None = None,
    dtype: str = "base",
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Write ``model`` with the tokenizer of ``donor`` into the folder ``output``, whole or not at all.

    Rows of tokens that both have are copied. The others are made by the ``rule`` from the model's own rows: from the 8
    ``neighbours`` that are "nearest" in the donor's table, by orthogonal matching pursuit there ("omp"), or as the
    "mean" of the model's own tokens for the same text.

    Raises:
        MergeometryError: an input or a value is not usable, or the output is not; nothing was published.
    """
    from mergeometry.execution.run import execute  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.recipe.transplanting import transplant_recipe  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    recipe = transplant_recipe(
        model, donor, rule=rule, neighbours=neighbours, pad_to_multiple_of=pad_to_multiple_of, dtype=dtype
    )
    plan = prepared_plan(recipe, Access(offline=offline))
    with chosen_executor(executor).opened() as opened:
        return execute(
            plan, output, workers=workers, memory_limit=memory_limit, overwrite=overwrite, resume=resume,
            progress=progress, executor=opened,
        )  # fmt: skip


def compare(
    recipe: Recipe | str | Path | Mapping[str, Any],
    methods: str | Path | Sequence[Any],
    tasks: TasksFile | str | Path | Mapping[str, Any],
    *,
    output: str | Path = "comparison",
    scales: str | Sequence[float] | None = None,
    rules: str | Sequence[Any] = (),
    leave_out: Collection[str] = (),
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    offline: bool = False,
    allow_pickle: bool = False,
    say: Say | None = None,
) -> Comparison:
    """Merge the models of a recipe by many methods, score each at every scale, and say what each keeps.

    ``methods`` is ``"all"``, comma-separated names (``"tsv_m, ties(density=0.1)"``), a list or a YAML file;
    ``tasks`` a TASKS.yaml (docs/comparing.md) or its content. Validation inputs choose each method's scale, test
    inputs are reported. ``rules``, named as methods are or ``"all"``, choose scales without labels and are scored too
    (docs/scales.md). Models named in ``leave_out`` are not merged, and their tasks count as unseen. No merged model is
    written. Scores are kept in ``output`` as soon as they are known, and a second run continues from them. ``say`` is
    called with the step that finished, the number of steps done, and the total.

    Raises:
        MergeometryError: recipe, methods, tasks, heads and inputs do not fit together, with every reason; or a merge
            or the disk failed.
    """
    from mergeometry.comparison.entries import read_entries  # noqa: PLC0415  (needs torch)
    from mergeometry.comparison.rules import read_rules  # noqa: PLC0415
    from mergeometry.comparison.run import run_comparison  # noqa: PLC0415
    from mergeometry.comparison.scales import read_scales  # noqa: PLC0415
    from mergeometry.comparison.setup import set_up  # noqa: PLC0415
    from mergeometry.comparison.tasks_file import load_tasks  # noqa: PLC0415
    from mergeometry.plan.prepared import local_recipe  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    entries, everything = read_entries(methods)
    scale_values, scale_rules, scored_tasks = read_scales(scales), read_rules(rules), load_tasks(tasks)
    common = local_recipe(
        recipe if isinstance(recipe, Recipe) else load_recipe(recipe), Access(offline, allow_pickle)
    ).recipe
    setup = set_up(common, entries, scored_tasks, leave_out, everything=everything)
    with chosen_executor(executor).opened() as opened:
        return run_comparison(
            setup, Path(output), scale_values, rules=scale_rules, workers=workers, memory_limit=memory_limit, say=say,
            executor=opened,
        )  # fmt: skip


def inspect(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    offline: bool = False,
    allow_pickle: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Inspection:
    """Measure how the updates of a recipe's models lie to each other, before they are merged.

    ``keys`` override the recipe's, or stand for one; the method may be left out. Every tensor is read once. The result
    shows itself in a notebook, and ``save`` writes its page and its figures (docs/reading-the-report.md). ``offline``
    and ``allow_pickle`` are those of `merge`.

    Raises:
        MergeometryError: the recipe or an input is not usable; all mismatches are listed at once.
    """
    from mergeometry.inspection.run import inspect_plan  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.results import Inspection  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    if recipe is None and "method" not in keys:
        keys["method"] = "average"
    plan = prepared_plan(_recipe(recipe, keys), Access(offline, allow_pickle))
    with chosen_executor(executor).opened() as opened:
        inspection = inspect_plan(plan, workers=workers, memory_limit=memory_limit, executor=opened)
    return Inspection.of(inspection)


def evaluate(
    model: str | Path,
    tasks: TasksFile | str | Path | Mapping[str, Any],
    *,
    base: str | Path | None = None,
    generate: bool = False,
    offline: bool = False,
    allow_pickle: bool = False,
) -> Evaluation:
    """Score the model in the folder ``model``, merged or not, on every task's test inputs.

    ``tasks`` is a TASKS.yaml (docs/comparing.md) or its content. An adapter needs the ``base`` that it belongs to, and
    so does a model without configuration or tokenizer of its own. With ``generate`` a causal language model also writes
    continuations, which are measured (docs/comparing.md).

    Raises:
        MergeometryError: there is no model, an adapter comes without its base, or tasks, heads and inputs do not fit
            the model, with every reason.
    """
    from mergeometry.comparison import evaluate as evaluation  # noqa: PLC0415  (needs torch)
    from mergeometry.comparison.tasks_file import load_tasks  # noqa: PLC0415
    from mergeometry.plan.prepared import local_model  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    access = Access(offline, allow_pickle)
    base_folder = None if base is None else local_model(base, "base", access)
    return evaluation.evaluate(
        local_model(model, "the model", access), load_tasks(tasks), base_folder, generate=generate
    )


def _recipe(recipe: Recipe | str | Path | Mapping[str, Any] | None, keys: RecipeKeys) -> Recipe:
    """The recipe with keys of it replaced."""
    given: dict[str, Any] = {**keys}
    if recipe is None and not given:
        raise RecipeError("there is no recipe", hint='give one, or base="...", models=["...", "..."], method="..."')
    if not given:
        return recipe if isinstance(recipe, Recipe) else load_recipe(recipe or {})
    if recipe is not None:
        given = {**(recipe if isinstance(recipe, Recipe) else load_recipe(recipe)).as_given(), **given}
    if "dtype" in given:
        given["output"] = {**given.get("output", {}), "dtype": given.pop("dtype")}
    return load_recipe(given)
