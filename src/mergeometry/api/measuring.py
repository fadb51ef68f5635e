"""Look at models from Python: before a merge, by many merges, and by a score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from mergeometry.api.keys import RecipeKeys, with_keys
from mergeometry.execution.executor import chosen_executor
from mergeometry.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from mergeometry.comparison.evaluate import Evaluation
    from mergeometry.comparison.result import Comparison
    from mergeometry.comparison.run import Say
    from mergeometry.comparison.tasks_file import TasksFile
    from mergeometry.execution.cluster import Ray
    from mergeometry.feature_figures.tasks_file import FigureTasks
    from mergeometry.results import Inspection


def inspect(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    tasks: FigureTasks | TasksFile | str | Path | Mapping[str, Any] | None = None,
    limit: int = 256,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    offline: bool = False,
    allow_pickle: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Inspection:
    """Measure how the updates of a recipe's models lie to each other, before they are merged.

    ``keys`` override the recipe's, or stand for one; the method may be left out. Every tensor is read once. The result
    shows itself in a notebook, and ``save`` writes its page and its figures (docs/reading-the-report.md). With
    ``tasks``, a TASKS.yaml or its content, base and experts also run on at most ``limit`` inputs of each task.
    ``offline`` and ``allow_pickle`` are those of `merge`.

    Raises:
        MergeometryError: the recipe or an input is not usable; all mismatches are listed at once.
    """
    from mergeometry.inspection.run import inspect_plan  # noqa: PLC0415  (needs torch)
    from mergeometry.plan.prepared import prepared_plan  # noqa: PLC0415
    from mergeometry.results import Inspection  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    if recipe is None and "method" not in keys:
        keys = {"heads": "auto", **keys, "method": "average"}
    plan = prepared_plan(with_keys(recipe, keys, offline=offline), Access(offline, allow_pickle))
    figures = None
    if tasks is not None:
        from mergeometry.feature_figures.report import figures_of_plan  # noqa: PLC0415

        figures = figures_of_plan(plan, tasks, limit=limit, memory_limit=memory_limit)
    with chosen_executor(executor).opened() as opened:
        inspection = inspect_plan(plan, workers=workers, memory_limit=memory_limit, executor=opened)
    return Inspection.of(inspection, figures)


def compare(
    recipe: Recipe | str | Path | Mapping[str, Any],
    methods: str | Path | Sequence[Any],
    tasks: TasksFile | str | Path | Mapping[str, Any],
    *,
    output: str | Path = "comparison",
    scales: str | Sequence[float] | None = None,
    rules: str | Sequence[Any] = (),
    leave_out: Collection[str] = (),
    leave_one_out: bool = False,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    device: str = "auto",
    directions: str | Path | None = None,
    directions_limit: int | str | None = None,
    executor: Ray | Literal["local", "ray"] = "local",
    offline: bool = False,
    allow_pickle: bool = False,
    say: Say | None = None,
) -> Comparison:
    """Merge the models of a recipe by many methods, score each at every scale, and say what each keeps.

    ``methods`` is ``"all"``, comma-separated names (``"tsv_m, ties(density=0.1)"``), a list or a YAML file;
    ``tasks`` a TASKS.yaml (docs/comparing.md) or its content. Validation inputs choose each method's scale, test
    inputs are reported. ``rules``, named as methods are or ``"all"``, choose scales without labels and are scored too
    (docs/scales.md). Models named in ``leave_out`` are not merged, and their tasks count as unseen. With
    ``leave_one_out``, every method also merges without each model in turn, and the result's ``left_out`` holds what the
    others gain. No merged model is written. Scores are kept in ``output`` as soon as they are known, and a second run
    continues from them. ``device`` is cpu, cuda, cuda:1, or auto: a GPU where there is one. ``directions`` and
    ``directions_limit`` are those of `merge`. ``say`` is called with the step that finished, the number of steps done,
    and the total.

    Raises:
        MergeometryError: recipe, methods, tasks, heads and inputs do not fit together, with every reason; or a merge
            or the disk failed.
    """
    from mergeometry.comparison.entries import read_entries  # noqa: PLC0415  (needs torch)
    from mergeometry.comparison.leave_one_out import check_enough_models, with_models_left_out  # noqa: PLC0415
    from mergeometry.comparison.rules import read_rules  # noqa: PLC0415
    from mergeometry.comparison.run import run_comparison  # noqa: PLC0415
    from mergeometry.comparison.scales import read_scales  # noqa: PLC0415
    from mergeometry.comparison.setup import set_up  # noqa: PLC0415
    from mergeometry.comparison.tasks_file import load_tasks  # noqa: PLC0415
    from mergeometry.execution.directions_folder import directions_folder  # noqa: PLC0415
    from mergeometry.plan.prepared import local_recipe  # noqa: PLC0415
    from mergeometry.sources.access import Access  # noqa: PLC0415

    entries, everything = read_entries(methods)
    scale_values, scale_rules, scored_tasks = read_scales(scales), read_rules(rules), load_tasks(tasks)
    common = local_recipe(
        recipe if isinstance(recipe, Recipe) else load_recipe(recipe), Access(offline, allow_pickle)
    ).recipe
    folder = directions_folder(directions, directions_limit)
    setup = set_up(common, entries, scored_tasks, leave_out, everything=everything, device=device, directions=folder)
    if leave_one_out:
        check_enough_models(setup)
    with chosen_executor(executor).opened() as opened:
        comparison = run_comparison(
            setup, Path(output), scale_values, rules=scale_rules, workers=workers, memory_limit=memory_limit, say=say,
            executor=opened,
        )  # fmt: skip
        if not leave_one_out:
            return comparison
        return with_models_left_out(
            comparison, setup,
            lambda name: set_up(
                common, entries, scored_tasks, [*leave_out, name], everything=everything, device=device,
                directions=folder,
            ),
            Path(output), scale_values, workers=workers, memory_limit=memory_limit, say=say, executor=opened,
        )  # fmt: skip


def evaluate(
    model: str | Path,
    tasks: TasksFile | str | Path | Mapping[str, Any],
    *,
    base: str | Path | None = None,
    generate: bool = False,
    device: str = "auto",
    offline: bool = False,
    allow_pickle: bool = False,
) -> Evaluation:
    """Score the model in the folder ``model``, merged or not, on every task's test inputs.

    ``tasks`` is a TASKS.yaml (docs/comparing.md) or its content. An adapter needs the ``base`` that it belongs to, and
    so does a model without configuration or tokenizer of its own. With ``generate`` a causal language model also writes
    continuations, which are measured (docs/comparing.md). ``device`` is that of `compare`.

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
        local_model(model, "the model", access), load_tasks(tasks), base_folder, generate=generate, device=device
    )
