"""How residuals hold what a merge lost: the form of every merged tensor in an adapter per model, and what that takes.

| tensor | in `residuals/NAME` |
| --- | --- |
| the weight of a linear layer | `lora_A`, `lora_B`, of a rank of its own |
| the bias of such a layer | `lora_B.bias`, whole, where all of the layers have one: PEFT's `bias` allows one adapter |
| a table of tokens or positions | rows, as `trainable_tokens_delta` |
| a table that an output layer with a bias shares | nothing: PEFT would leave out that bias |
| a module of vectors, such as a norm | the module, whole |
| a module of larger tensors, such as a convolution | the module, whole, where that keeps enough for its bytes |
| all else | nothing; the plan names it, and the record says how much of what was lost it is |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mergeometry.conventions.experts import alone, stacked
from mergeometry.conventions.kinds import is_matrix
from mergeometry.conventions.renames import Renames
from mergeometry.conventions.ties import is_output, is_output_bias, is_table
from mergeometry.errors import MismatchError, RecipeError
from mergeometry.plan.plan import Plan
from mergeometry.plan.residual_cost import ResidualKind, least_bytes, most_bytes
from mergeometry.plan.tasks import TensorTask
from mergeometry.sink.failures import readable_bytes
from mergeometry.words import counted

_EMBEDDINGS = ("position_embeddings.weight", "token_type_embeddings.weight", "wpe.weight")
"""Tables that are modules of embeddings beside those of words."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*")
"""A module's name that PEFT does not read as a pattern."""

_NAMED = 6
"""How many of the tensors that are not kept a note names."""


@dataclass(frozen=True, slots=True)
class ResidualForm:
    """The form of every merged tensor in the residuals, by its name."""

    stored: Mapping[str, ResidualKind]
    names: Mapping[str, str]
    """Their names in the model that PEFT is given: as the newest Transformers has them in memory."""
    biases: bool
    """Whether factors come with a bias."""

    def of_kind(self, *kinds: ResidualKind) -> list[str]:
        """The tensors of these kinds, in their order."""
        return [name for name, kind in self.stored.items() if kind in kinds]

    def modules(self, *kinds: ResidualKind) -> list[str]:
        """The modules of these tensors, once each."""
        return list(dict.fromkeys(self.module(name) for name in self.of_kind(*kinds)))

    def module(self, name: str) -> str:
        """The module of a tensor, in the model that PEFT is given."""
        return module_of(self.names[name])


def module_of(name: str) -> str:
    """The module that a tensor belongs to."""
    return name.rpartition(".")[0]


def with_residuals(plan: Plan) -> Plan:
    """The plan with the form of its residuals and notes on them, where its recipe wants them.

    Raises:
        RecipeError: the merge is one on top of which no adapter can lie, or no tensor can be kept.
        MismatchError: tensors are in a form that PEFT has no adapters for.
    """
    form = residual_form(plan)
    if form is None:
        return plan
    formed = replace(plan, residuals=form)
    wanted = plan.recipe.output.residuals
    budget = None if wanted is None else wanted.budget(plan.layout.nbytes)
    if budget is not None and (least := least_bytes(formed)) > budget:
        raise RecipeError(
            f"output.residuals.size: {readable_bytes(budget)} is less than the {readable_bytes(least)} of norms, "
            "biases and one direction or row of each layer and table",
            hint="give more, or `other: none`, which keeps factors alone",
        )
    return replace(formed, notes=(*plan.notes, *residual_notes(formed)))


def residual_form(plan: Plan) -> ResidualForm | None:
    """Decide how the residuals of a plan hold what the merge loses; None where none are wanted.

    Raises:
        RecipeError: the merge is one on top of which no adapter can lie, or no tensor can be kept.
        MismatchError: tensors are in a form that PEFT has no adapters for.
    """
    wanted = plan.recipe.output.residuals
    if wanted is None:
        return None
    _refuse(plan)
    merged = {task.name: task for task in plan.tasks if task.method is not None and task.name not in plan.tied}
    newest = Renames(plan.base.config).newest
    live = {name: newest(name) for name in plan.base.tensors}
    inside = _Inside(live, merged)
    stored: dict[str, ResidualKind] = {name: _kind(name, live[name], merged, plan, inside) for name in merged}
    if wanted.other == "none":
        stored = {name: kind if kind == "factors" else "nothing" for name, kind in stored.items()}
    for name in (*_ambiguous(stored, live), *_shared_with_bias(merged)):
        stored[name] = "nothing"
    linear = {module_of(live[name]) for name, kind in stored.items() if kind == "factors"}
    if not linear:
        raise RecipeError("output.residuals: the merge changes no linear layer, and only such layers have factors")
    # One setting gives all of an adapter's factors a bias, which a layer without one cannot take in.
    biased = {module_of(live[name]) for name, kind in stored.items() if kind == "bias"}
    if not linear <= biased:
        stored = {name: "nothing" if kind == "bias" else kind for name, kind in stored.items()}
    return ResidualForm(stored, {name: live[name] for name in stored}, linear <= biased)


def _refuse(plan: Plan) -> None:
    recipe, where = plan.recipe, "output.residuals"
    if recipe.adapt is not None and recipe.adapt.resolved_rotation != "none":
        raise RecipeError(
            f"{where}: `adapt` turns the features for heads of its own, which a model's own features do not fit",
            hint="write adapt: {rotation: none}, or leave residuals out",
        )
    if plan.vocabulary is not None:
        raise RecipeError(
            f"{where}: the output has a vocabulary of its own, and the models' tables have other rows",
            hint="leave out `tokenizer`, or residuals",
        )
    shapes = {name: info.shape for name, info in plan.base.tensors.items()}
    experts = [
        f"tensor {task.name!r}: the weights of a mixture's experts, which transformers holds in one parameter"
        for task in plan.tasks
        if task.method is not None and (task.slices or stacked(task.name, shapes, plan.base.config) or alone(task.name))
    ]
    if experts:
        raise MismatchError(
            f"{where}: PEFT has no factors of a rank of their own for these", experts, hint="leave residuals out"
        )


class _Inside:
    """What lies in each module: its own tensors, and whether there are modules or unmerged tensors too."""

    def __init__(self, live: Mapping[str, str], merged: Mapping[str, TensorTask]) -> None:
        self._own: dict[str, list[TensorTask]] = {}
        self._mixed = set[str]()
        for name, new in live.items():
            module = module_of(new)
            if name in merged:
                self._own.setdefault(module, []).append(merged[name])
            else:
                self._mixed.add(module)
            while module := module_of(module):
                self._mixed.add(module)

    def kind(self, module: str) -> ResidualKind:
        """How a module without factors or rows can be kept: whole, if nothing else lies in it."""
        if module in self._mixed:
            return "nothing"
        return "vectors" if all(len(task.base.shape) <= 1 for task in self._own[module]) else "whole"

    def linear(self, module: str) -> bool:
        """Whether factors hold the weight of a module."""
        return any(_is_linear(task) for task in self._own.get(module, ()))


def _is_linear(task: TensorTask) -> bool:
    name, shape = task.name, task.base.shape
    return len(shape) == 2 and name.endswith(".weight") and (is_matrix(name, shape) or is_output(name))


def _kind(name: str, live: str, merged: Mapping[str, TensorTask], plan: Plan, inside: _Inside) -> ResidualKind:
    task, module = merged[name], module_of(live)
    in_a_part = any(part.prefix and name.startswith(part.prefix) for part in plan.base.parts)
    if in_a_part or not PLAIN_NAME.fullmatch(module):
        return "nothing"
    if len(task.base.shape) == 2 and (is_table(name) or name.endswith(_EMBEDDINGS)):
        return "rows"
    if _is_linear(task):
        return "nothing" if name in plan.tied.values() else "factors"
    if live.endswith(".bias") and inside.linear(module):
        return "bias"
    if is_output_bias(name):  # its layer's weight is the table, so that PEFT would copy that along
        return "nothing"
    return inside.kind(module)


def _shared_with_bias(merged: Mapping[str, TensorTask]) -> list[str]:
    """Tables of words that an output layer shares which has a bias and no weight of its own.

    Where rows of such a table are trained, PEFT 0.21 computes the output layer without its bias, also that of the
    merged model: https://github.com/huggingface/peft/issues/3649
    """
    biased = {task.base.shape[0] for name, task in merged.items() if is_output_bias(name)}
    own = {task.base.shape[0] for name, task in merged.items() if is_output(name)}
    return [name for name, task in merged.items() if is_table(name) and task.base.shape[0] in biased - own]


def _ambiguous(stored: Mapping[str, ResidualKind], live: Mapping[str, str]) -> list[str]:
    """Tensors whose module's name ends that of another kind's module: PEFT goes by the ends of names."""
    kinds: dict[str, set[ResidualKind]] = {}
    for name, new in live.items():
        kind = stored.get(name, "nothing")
        kinds.setdefault(module_of(new), set()).add("factors" if kind == "bias" else kind)
    alike = []
    for name, kind in stored.items():
        if kind in ("nothing", "bias"):
            continue
        module, known = module_of(live[name]), {"vectors", "whole"} if kind in ("vectors", "whole") else set()
        # Whole modules and tables are found by any end of a name, linear layers by whole parts of it.
        end = f".{module}" if kind == "factors" else module
        if any(not kinds[other] <= known for other in kinds if other != module and other.endswith(end)):
            alike.append(name)
    return alike


def residual_notes(plan: Plan) -> tuple[str, ...]:
    """What the residuals will hold and how much they take at most, and what they cannot hold."""
    wanted, form = plan.recipe.output.residuals, plan.residuals
    if wanted is None or form is None:
        return ()
    parts = [counted(len(form.modules("factors")), "linear layer")]
    parts += [f"rows of {counted(len(tables), 'table')}"] if (tables := form.modules("rows")) else []
    parts += [f"{counted(len(whole), 'module')} whole"] if (whole := form.modules("vectors", "whole")) else []
    asked = f"the fewest bytes that keep {wanted.keep:g} of what the merge loses, " if wanted.keep is not None else ""
    notes = [
        f"residuals: an adapter for each of {counted(len(plan.models), 'model')}, of {', '.join(parts)}; {asked}"
        f"at most {readable_bytes(most_bytes(plan))} each"
    ]
    shared = _shared_with_bias({name: plan.by_name[name] for name in form.stored}) if wanted.other == "changed" else []
    notes += [
        f"residuals: {name} is left out: with rows of it in an adapter, PEFT forgets the bias of the output layer that "
        "shares it"
        for name in shared
    ]
    if lost := form.of_kind("nothing"):
        names = ", ".join(lost[:_NAMED]) + (", ..." if len(lost) > _NAMED else "")
        notes.append(
            f"residuals: {counted(len(lost), 'merged tensor')} cannot be kept, and the record says their share of what "
            f"was lost: {names}"
        )
    return tuple(notes)
