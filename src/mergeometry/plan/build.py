"""Builds the plan: opens headers, matches names, refuses what does not fit, lays out the output."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from mergeometry.conventions.experts import stacked
from mergeometry.conventions.kinds import is_matrix
from mergeometry.conventions.layer_names import LayerNames
from mergeometry.conventions.layouts import Layouts
from mergeometry.conventions.renames import Renames
from mergeometry.errors import MismatchError, RecipeError
from mergeometry.garbage import uncollected
from mergeometry.grouping import grouped
from mergeometry.plan.adapter_form import adapter_form
from mergeometry.plan.alignment import aligned
from mergeometry.plan.auto import Sample, refuse_auto, with_choice
from mergeometry.plan.choice import RecipeMethods
from mergeometry.plan.companions import compare_companions
from mergeometry.plan.compare import carried_by, mismatches, names_of, notes, source_of
from mergeometry.plan.fishers import ready_made
from mergeometry.plan.heads import plain_heads
from mergeometry.plan.layer_scales import refuse_without_layers
from mergeometry.plan.layer_stacks import compare_stacks
from mergeometry.plan.likeness import sample
from mergeometry.plan.matching import match_names
from mergeometry.plan.opening import open_base, open_models, refuse_stacked
from mergeometry.plan.outputs import lay_out_plan
from mergeometry.plan.own_tensors import with_own_tensors
from mergeometry.plan.part import Alike, Part, task_of
from mergeometry.plan.plan import Plan
from mergeometry.plan.residual_form import with_residuals
from mergeometry.plan.slices import can_slice, note_on_whole
from mergeometry.plan.stacks import settle_stacks
from mergeometry.plan.tasks import Source, TensorTask
from mergeometry.plan.templates import with_template_settled
from mergeometry.plan.ties import Equal, Ties, changes_tables_whole, settled
from mergeometry.plan.unstacked import spread_experts
from mergeometry.plan.values import unused_values
from mergeometry.recipe import AUTO_HEADS, AUTO_METHOD, Recipe
from mergeometry.recipe.scale import ScaleRule
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, TensorInfo
from mergeometry.sources.equality import same_values
from mergeometry.sources.updates import DoraUpdate

_ALL_LISTED = "; `mergeometry plan --json`, with the same options, lists every one"


@uncollected()
def make_plan(recipe: Recipe, equal: Equal = same_values, look: Sample = sample) -> Plan:
    """Plan a merge from headers and configuration files alone; ``equal`` compares halves of tied tables.

    With `method: auto`, ``look`` reads a few weights.

    Raises:
        RecipeError: a method or parameter is unknown, or fits no tensor of these models.
        SourceError: an input is missing, malformed or hostile.
        MismatchError: the inputs do not fit together; it lists every reason.
    """
    methods = None if recipe.method.name == AUTO_METHOD else RecipeMethods(recipe)
    base = open_base(recipe, make_plan)
    refuse_stacked(recipe, base)
    models, of_files = open_models(recipe, base, make_plan)
    recipe, reasons = with_choice(recipe, base, models, look)
    methods = methods or RecipeMethods(recipe)
    recipe = with_template_settled(recipe, base, models)
    heads = () if recipe.heads == AUTO_HEADS else recipe.heads
    base, own, remarks = with_own_tensors(recipe, base, models, Renames(base.config).newest)
    ties = settled(base, models, heads, equal, both=changes_tables_whole(recipe, models))
    if ties.configuration and recipe.adapt is not None:
        raise RecipeError(
            f"adapt: {ties.notes[0]}; what is run while learning has them as one",
            hint="leave `adapt` out, or train the adapters on neither half",
        )
    own |= {copy for copy, original in ties.copies.items() if original in own}
    made = _plan(recipe, methods, ties, (), own)
    _refuse(ready_made(made)[1])
    return replace(made, notes=(*reasons, *of_files, *remarks, *made.notes))


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
    refuse_auto(recipe)
    return _plan(recipe, RecipeMethods(recipe), Ties(base, models), tables)


def _plan(
    recipe: Recipe,
    methods: RecipeMethods,
    ties: Ties,
    tables: Collection[str],
    own: frozenset[str] = frozenset(),
) -> Plan:
    base, models = ties.base, ties.models
    renames = Renames(base.config)
    if isinstance(recipe.scale, ScaleRule):
        recipe = recipe.model_copy(update={"scale": recipe.scale.settled(methods.main[1].scale_rule)})
    told: tuple[str, ...] = ()
    if recipe.heads == AUTO_HEADS:
        bare = [match_names(base.tensors, names_of(model), (), renames.newest) for model in models]
        recipe = recipe.model_copy(update={"heads": plain_heads(base, models, bare)})
        if recipe.heads:
            told = (f"heads: {', '.join(recipe.heads)}, which only the fine-tunes have; kept per model, not merged",)
    models = spread_experts(models, base, renames)
    matches = tuple(match_names(base.tensors, names_of(model), recipe.heads, renames.newest) for model in models)
    models, unsettled = settle_stacks(models, matches, base)
    base, models, vocabulary, unaligned, told_of_tokens = aligned(recipe, base, models, matches)
    unfit, remarks = compare_companions(recipe, base, models, matches)
    layers = LayerNames(base.tensors, base.config)
    unfit += unused_values(recipe, methods.all, layers)
    misfits, stacked_notes = compare_stacks(recipe, base, models)
    _refuse([*unsettled, *misfits, *unaligned, *mismatches(recipe, base, models, matches), *unfit])
    _refuse_half_rules(recipe, ties.copies)
    shapes = {name: info.shape for name, info in base.tensors.items()}
    layouts = Layouts(shapes, base.config)
    form = adapter_form(recipe.output.adapter, base, models, matches, tables, own)
    tasks, refused, unplaced, whole, alike = [], [], [], [], Alike()
    for name, info in base.tensors.items():
        sources = tuple(
            _oriented(source_of(model, match.pairs.get(name)), transposed=layouts.is_transposed(name))
            for model, match in zip(models, matches, strict=True)
        )
        carried = tuple(
            (model.label, copy)
            for model, match in zip(models, matches, strict=True)
            if (copy := carried_by(model, match.pairs.get(name)))
        )
        matrix = is_matrix(name, info.shape) and name not in tables
        oriented = (matrix and methods.main[1].matrices_only) or any(isinstance(s, AdapterDelta) for s in sources)
        if oriented and not layouts.is_known(name):
            unplaced.append(f"tensor {name!r}: GPT-2 stores it as (inputs, outputs), others as (outputs, inputs)")
            continue
        try:
            stack = stacked(name, shapes, base.config)
            part = Part(
                name, ties.copies.get(name, name), info, sources, carried, matrix, layouts.is_transposed(name),
                stack if can_slice(recipe, sources) else None, form, layers.place(name),
            )  # fmt: skip
            task = task_of(recipe, methods, part, alike)
            tasks.append(task)
            whole += [task] if stack and not task.slices else []
        except ValueError as error:
            refused.append(f"tensor {name!r}: {error}")
    if unplaced:
        raise MismatchError(
            "nothing says how these matrices are stored",
            unplaced,
            hint="put the model's config.json next to its weights",
        )
    if refused:
        raise MismatchError("the method cannot merge these tensors", refused, hint="`tensors:` rules give them another")
    _refuse_what_does_nothing(recipe, tasks)
    heads = {
        model.label: tuple(_info(source_of(model, name), name) for name in match.heads)
        for model, match in zip(models, matches, strict=True)
        if match.heads
    }
    layout = lay_out_plan(recipe, base, tasks)
    described = next((model for model in models if model.label == recipe.config), base)
    configuration = {**(described.changed if isinstance(described, Checkpoint) else {}), **ties.configuration}
    messages = (
        *recipe.notes, *stacked_notes, *notes(recipe, base, models, matches), *ties.notes, *told, *told_of_tokens,
        *remarks, *note_on_whole(recipe, whole),
    )  # fmt: skip
    return with_residuals(Plan(
        recipe, base, models, matches, tuple(tasks), heads, layout, messages, configuration, form,
        own, ties.copies, vocabulary,
    ))  # fmt: skip


def _refuse(reasons: list[str]) -> None:
    """Refuse inputs that do not fit together, with every reason."""
    if reasons:
        raise MismatchError(
            f"the inputs do not fit together ({len(reasons)} mismatch{'es' if len(reasons) > 1 else ''})",
            reasons,
            hint="nothing was read or written" + ("" if grouped(reasons) == reasons else _ALL_LISTED),
        )


def _refuse_what_does_nothing(recipe: Recipe, tasks: Sequence[TensorTask]) -> None:
    if recipe.refine and not any(task.refinements for task in tasks):
        raise RecipeError("refine: no tensor is a merged matrix, so there is nothing to refine", hint="leave it out")
    refuse_without_layers(recipe, tasks)


def _refuse_half_rules(recipe: Recipe, copies: Mapping[str, str]) -> None:
    """Refuse a rule for a copy that its original does not fall under: the two are one tensor."""
    for index, rule in enumerate(recipe.tensors):
        for copy, original in copies.items():
            if fnmatchcase(copy, rule.match) and not fnmatchcase(original, rule.match):
                raise RecipeError(
                    f"tensors.{index}: {rule.match!r} matches {copy!r}, which is one tensor with {original!r}",
                    hint=f"give the rule for {original!r}; it holds for both",
                )


def _oriented(source: Source, *, transposed: bool) -> Source:
    """Turn a low-rank update to the layout of the base: adapters record one flag for modules of both layouts."""
    if not isinstance(source, AdapterDelta | DoraUpdate):
        return source
    factors = source if isinstance(source, AdapterDelta) else source.factors
    if not isinstance(factors, AdapterDelta) or factors.embedding or factors.transposed == transposed:
        return source
    return source.flipped()


def _info(source: Source, name: str) -> TensorInfo:
    if not isinstance(source, TensorInfo):
        raise MismatchError("a head cannot be a low-rank update", [f"{name!r} is adapted, not replaced"])
    return source
