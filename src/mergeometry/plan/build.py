"""Builds the plan: opens headers, matches names, refuses what does not fit, lays out the output."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mergeometry.conventions.experts import Stack, stacked
from mergeometry.conventions.kinds import is_matrix, is_transposed
from mergeometry.dtypes import MERGEABLE
from mergeometry.errors import MismatchError, RecipeError, SourceError
from mergeometry.methods import registry
from mergeometry.plan.companions import compare_companions
from mergeometry.plan.compare import carried_by, mismatches, names_of, notes, source_of
from mergeometry.plan.heads import plain_heads
from mergeometry.plan.matching import match_names
from mergeometry.plan.outputs import adapter_outputs, adapter_rank, lay_out_plan, output_code
from mergeometry.plan.slices import can_slice, note_on_whole, slices_of
from mergeometry.plan.stacks import settle_stacks
from mergeometry.plan.tasks import Plan, Source, TensorTask
from mergeometry.recipe import AUTO_HEADS, MethodChoice, Recipe
from mergeometry.recipe.scale import Scale, ScaleRule
from mergeometry.refinements import registry as refinement_registry
from mergeometry.sink import OutputTensor
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo, open_model
from mergeometry.sources.updates import DoraUpdate

if TYPE_CHECKING:
    from mergeometry.methods.base import Method
    from mergeometry.refinements.base import Refinement


def make_plan(recipe: Recipe) -> Plan:
    """Plan a merge from headers and configuration files alone.

    Raises:
        RecipeError: a method or parameter is unknown, or fits no tensor of these models.
        SourceError: an input is missing, malformed or hostile.
        MismatchError: the inputs do not fit together; it lists every reason.
    """
    methods = _Methods(recipe)
    base = open_model(Path(recipe.base), "base")
    if isinstance(base, Adapter):
        raise SourceError("the base is an adapter", file=base.path, hint="give the full model it was trained on")
    models = tuple(open_model(Path(entry.path), entry.name) for entry in recipe.models)
    return _plan(recipe, methods, base, models, ())


def plan_of(
    recipe: Recipe,
    base: Checkpoint,
    models: tuple[Checkpoint | Adapter, ...],
    tables: Collection[str] = (),
) -> Plan:
    """Plan a merge of models that are open already; ``tables`` names weights that are known not to be linear maps.

    Raises:
        RecipeError: an unknown method or parameter, or one that fits no tensor of these models.
        MismatchError: the inputs do not fit together; every reason is listed.
    """
    return _plan(recipe, _Methods(recipe), base, models, tables)


def _plan(
    recipe: Recipe,
    methods: _Methods,
    base: Checkpoint,
    models: tuple[Checkpoint | Adapter, ...],
    tables: Collection[str],
) -> Plan:
    if isinstance(recipe.scale, ScaleRule):
        recipe = recipe.model_copy(update={"scale": recipe.scale.settled(methods.main[1].scale_rule)})
    told: tuple[str, ...] = ()
    if recipe.heads == AUTO_HEADS:
        bare = [match_names(base.tensors, names_of(model), ()) for model in models]
        recipe = recipe.model_copy(update={"heads": plain_heads(base, models, bare)})
        if recipe.heads:
            told = (f"heads: {', '.join(recipe.heads)}, which only the fine-tunes have; kept per model, not merged",)
    matches = tuple(match_names(base.tensors, names_of(model), recipe.heads) for model in models)
    models, unsettled = settle_stacks(models, matches, base)
    unfit, remarks = compare_companions(recipe, base, models, matches)
    if reasons := [*unsettled, *mismatches(recipe, base, models, matches), *unfit]:
        raise MismatchError(
            f"the inputs do not fit together ({len(reasons)} mismatch{'es' if len(reasons) > 1 else ''})",
            reasons,
            hint="nothing was read or written; `mergeometry plan --json`, with the same options, lists every one",
        )
    tasks, refused, whole = [], [], []
    shapes = {name: info.shape for name, info in base.tensors.items()}
    for name, info in base.tensors.items():
        sources = tuple(
            _oriented(source_of(model, match.pairs.get(name)), name, base.config)
            for model, match in zip(models, matches, strict=True)
        )
        carried = tuple(
            (model.label, copy)
            for model, match in zip(models, matches, strict=True)
            if (copy := carried_by(model, match.pairs.get(name)))
        )
        try:
            matrix = is_matrix(name, info.shape) and name not in tables
            stack = stacked(name, shapes, base.config)
            sliced = stack if can_slice(recipe, sources) else None
            task = _task(recipe, methods, info, sources, carried, matrix, is_transposed(name, base.config), sliced)
            tasks.append(task)
            whole += [task] if stack and not task.slices else []
        except ValueError as error:
            refused.append(f"tensor {name!r}: {error}")
    if refused:
        raise MismatchError("the method cannot merge these tensors", refused, hint="`tensors:` rules give them another")
    if recipe.refine and not any(task.refinements for task in tasks):
        raise RecipeError("refine: no tensor is a merged matrix, so there is nothing to refine", hint="leave it out")
    heads = {
        model.label: tuple(_info(source_of(model, name), name) for name in match.heads)
        for model, match in zip(models, matches, strict=True)
        if match.heads
    }
    layout = lay_out_plan(recipe, base, tasks)
    messages = (*notes(base, models, matches), *told, *remarks, *note_on_whole(recipe, whole))
    return Plan(recipe, base, models, matches, tuple(tasks), heads, layout, messages)


def other_of(recipe: Recipe) -> MethodChoice:
    """The method for tensors that are not matrices: the recipe's `other`, or else the default of its method."""
    return recipe.other or MethodChoice(name=registry.find(recipe.method.name).others)


class _Methods:
    """The recipe's methods, each built and checked once."""

    def __init__(self, recipe: Recipe) -> None:
        self.main = self._build(recipe.method)
        self.other = self._build(other_of(recipe))
        if self.main[1].needs_learning and recipe.adapt is None:
            raise RecipeError(
                f"{recipe.method.name} learns its coefficients on unlabelled data, and there is no `adapt:` section",
                hint="see docs/learning.md; without data, task_arithmetic adds the same task vectors at one scale",
            )
        self.refinements: tuple[tuple[str, Refinement], ...] = tuple(
            (choice.name, refinement_registry.build(choice.name, choice.given)) for choice in recipe.refine
        )
        self.rules = [rule and self._build(rule) for rule in (rule.method for rule in recipe.tensors)]
        _refuse_data(recipe, [self.main, *(rule for rule in self.rules if rule is not None)])
        if self.other[1].matrices_only:
            raise RecipeError(
                f"`other` is {self.other[0]!r}, which merges matrices only",
                hint="`other` is for tensors that are not matrices: average, task_arithmetic, ties, ...",
            )

    def _build(self, choice: MethodChoice) -> tuple[str, Method]:
        return choice.name, registry.build(choice.name, choice.given)


def _refuse_data(recipe: Recipe, methods: Sequence[tuple[str, Method]]) -> None:
    """Refuse a method without the data that it needs, and data that no method needs."""
    needing = [name for name, method in methods if method.needs_activations]
    if needing and recipe.data is None:
        raise RecipeError(
            f"{needing[0]} merges by activations, and there is no `data:` section with unlabelled inputs of each task",
            hint="see docs/recipes.md; without data, average and tsv_m merge the same models",
        )
    if recipe.data is not None and not needing:
        raise RecipeError(
            "`data:` gives unlabelled inputs, and no method of the recipe needs them",
            hint="leave it out, or merge by a method that does, such as regmean or esm",
        )


def _task(
    recipe: Recipe,
    methods: _Methods,
    info: TensorInfo,
    sources: tuple[Source, ...],
    carried: tuple[tuple[str, TensorInfo], ...],
    matrix: bool,
    transposed: bool,
    stack: Stack | None,
) -> TensorTask:
    code = output_code(recipe, info)
    weights = tuple(entry.weight for entry in recipe.models)
    if info.code not in MERGEABLE:
        labels = [entry.name for entry in recipe.models]
        whole = [(label, copy) for label, copy in zip(labels, sources, strict=True) if isinstance(copy, TensorInfo)]
        return _copy_task(recipe, info, (*whole, *carried), weights, info.code)
    if all(source is None for source in sources):
        return _copy_task(recipe, info, carried, weights, code)
    (method_name, method), chosen = _choose(recipe, methods, info.name, matrix or stack is not None)
    if stack is not None and method.needs_activations:
        stack = None
        (method_name, method), chosen = _choose(recipe, methods, info.name, matrix)
    scale, scaling = (1.0, chosen) if isinstance(chosen, ScaleRule) else (chosen, None)
    shape = tuple(reversed(info.shape)) if transposed else info.shape
    method.check(len(sources), shape if stack is None else stack.shape, weights)
    names, unbound = [entry.name for entry in recipe.models], method
    method = unbound.for_tensor(recipe.seed, info.name, names)
    rank = adapter_rank(recipe, info, sources)
    if recipe.output.adapter:
        outputs = adapter_outputs(info.name, method, sources, shape, rank, code)
    else:
        outputs = (OutputTensor(info.name, code, info.shape),)
    matrix = matrix or stack is not None
    kind: Literal["matrix", "other"] = "matrix" if matrix else "other"
    task = TensorTask(
        info.name, kind, info, sources, method, method_name, weights, scale, transposed, carried, outputs,
        refinements=methods.refinements if matrix else (), scaling=scaling,
    )  # fmt: skip
    if stack is None:
        return task
    return replace(task, slices=slices_of(task, stack, lambda name: unbound.for_tensor(recipe.seed, name, names)))


def _copy_task(
    recipe: Recipe,
    info: TensorInfo,
    equal: tuple[tuple[str, TensorInfo], ...],
    weights: tuple[float, ...],
    code: str,
) -> TensorTask:
    outputs = () if recipe.output.adapter else (OutputTensor(info.name, code, info.shape),)
    return TensorTask(info.name, "copied", info, (), None, "copy", weights, 0.0, False, equal, outputs)


def _choose(recipe: Recipe, methods: _Methods, name: str, matrix: bool) -> tuple[tuple[str, Method], Scale]:
    usual = methods.main if matrix or not methods.main[1].matrices_only else methods.other
    for rule, choice in zip(recipe.tensors, methods.rules, strict=True):
        if fnmatchcase(name, rule.match):
            return choice or usual, recipe.scale if rule.scale is None else rule.scale
    return usual, recipe.scale


def _oriented(source: Source, name: str, config: Mapping[str, Any] | None) -> Source:
    """Turn a low-rank update to the layout of the base: adapters record one flag for modules of both layouts."""
    if not isinstance(source, AdapterDelta | DoraUpdate):
        return source
    factors = source if isinstance(source, AdapterDelta) else source.factors
    if not isinstance(factors, AdapterDelta) or factors.embedding or factors.transposed == is_transposed(name, config):
        return source
    return source.flipped()


def _info(source: Source, name: str) -> TensorInfo:
    if not isinstance(source, TensorInfo):
        raise MismatchError("a head cannot be a low-rank update", [f"{name!r} is adapted, not replaced"])
    return source
