"""Settles tables that inputs share with their output layers: which are one tensor, and which a merge must part.

A table of word embeddings and an output layer over the same words may be one tensor, stored once or twice. Before names
are matched, every input is brought to the form in which the merge sees it: with one half or with both, whatever its
files hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from mergeometry.conventions.ties import Halves, halves, hidden_output, is_output, is_table, scales_where_tied, tying
from mergeometry.errors import MismatchError
from mergeometry.recipe import Recipe
from mergeometry.sources import Adapter, Checkpoint, TensorInfo
from mergeometry.sources.updates import TokenRows

Equal: TypeAlias = Callable[[TensorInfo, TensorInfo], bool]
"""Whether two tensors hold the same values."""
Model: TypeAlias = Checkpoint | Adapter


@dataclass(frozen=True)
class Ties:
    """The inputs in one form, and what follows for the output."""

    base: Checkpoint
    models: tuple[Model, ...]
    copies: Mapping[str, str] = field(default_factory=dict)
    """Tensors that the base stores twice: each copy's name, and the name of what it is a copy of."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the output's config.json that are no longer the base's."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Input:
    """A full model and its halves."""

    model: Checkpoint
    halves: Halves
    declared: bool | None
    """What its configuration says of tying."""
    apart: bool
    """Whether it stores two halves that are different tensors, or declared to be."""

    def half(self, own: str | None, other: str | None) -> TensorInfo | None:
        """The tensor that a half is: its own, or the other half where the two are one."""
        if own is not None:
            return self.model.tensors[own]
        return self.model.tensors[other] if other is not None and self.declared is not False else None


def changes_tables_whole(recipe: Recipe, models: Sequence[Model]) -> bool:
    """Whether the output is an adapter that may hold a table whole, of which PEFT replaces the one half that is named.

    So an adapter of a tied model has to hold both.
    """
    rows = (isinstance(u, TokenRows) for m in models if isinstance(m, Adapter) for u in m.updates.values())
    return bool(recipe.output.adapter) and (any(isinstance(model, Checkpoint) for model in models) or any(rows))


def settled(
    base: Checkpoint, models: Sequence[Model], heads: Sequence[str], equal: Equal, *, both: bool = False
) -> Ties:
    """Bring the tables of all inputs to one form; ``equal`` reads two tensors of one input and compares them.

    With ``both`` the halves of a tied pair are two tensors, which are merged alike.

    Raises:
        MismatchError: a model is declared tied and stores two different halves; or the output would have to be untied,
            and its configuration cannot say so.
    """
    full = {each.label: _input(each, heads, base, equal) for each in (base, *models) if isinstance(each, Checkpoint)}
    own = full[base.label]
    table, output = own.halves.table, own.halves.output
    tied_to = output or _hidden_output(own, models)
    parted = (
        [] if own.apart or tied_to is None else [m.label for m in models if _parts(m, full.get(m.label), own, equal)]
    )
    if parted:
        if table is None or scales_where_tied(base.config):
            raise _cannot_be_untied(parted)
        output = tied_to
    copies = dict(own.halves.copies)
    form = _Form(table, output, copies, both=tied_to is None)
    changed = tuple(
        form.of(model, full[model.label]) if isinstance(model, Checkpoint) else form.of_adapter(model)
        for model in models
    )
    if not parted and both and table is not None and output is None and tied_to is not None:
        form, output = replace(form, output=tied_to, both=False), tied_to
        base = form.of(base, own)
        changed = tuple(
            form.of(model, full[model.label]) if isinstance(model, Checkpoint) else _rows_of_both(model, table, output)
            for model in changed
        )
    if not parted:
        if table is not None and output is not None and not own.apart:
            copies[output] = table
        return Ties(base, changed, copies)
    changed = tuple(_rows_of_both(model, table, output) for model in changed)
    labels = ", ".join(parted)
    note = f"{output} is untied from {table}: {labels} change{'s' * (len(parted) == 1)} one half and not the other"
    return Ties(form.of(base, own), changed, copies, {"tie_word_embeddings": False}, (note,))


@dataclass(frozen=True)
class _Form:
    """What every input is to hold, by the base's names: its table, its output layer, and copies of other tensors."""

    table: str | None
    output: str | None
    copies: Mapping[str, str]
    both: bool
    """Whether an input may keep an output layer of its own: the base has none, and a head is no half."""

    def of(self, model: Checkpoint, found: _Input) -> Checkpoint:
        """A full model with the halves and the copies that the form asks for, and no others."""
        own = found.halves
        tensors = {name: info for name, info in model.tensors.items() if name not in own.copies}
        if not (found.apart and self.both):
            table, output = found.half(own.table, own.output), found.half(own.output, own.table)
            for name in (own.table, own.output):
                tensors.pop(name or "", None)
            if table is not None and self.table is not None:
                tensors[own.table or self.table] = table
            if output is not None and self.output is not None:
                tensors[own.output or self.output] = output
        for copy, source in self.copies.items():
            if source in tensors:
                tensors.setdefault(copy, tensors[source])
        return replace(model, tensors=dict(sorted(tensors.items())))

    def of_adapter(self, model: Adapter) -> Adapter:
        """An adapter that replaces both halves alike, with the half that the base stores."""
        tables, outputs = ([n for n in model.replaced if kind(n)] for kind in (is_table, is_output))
        if not tables or not outputs or (self.table is not None and self.output is not None):
            return model
        left_out = outputs if self.output is None else tables
        return replace(model, replaced={name: info for name, info in model.replaced.items() if name not in left_out})


def _input(model: Checkpoint, heads: Sequence[str], base: Checkpoint, equal: Equal) -> _Input:
    tensors = {n: info for n, info in model.tensors.items() if not any(fnmatchcase(n, pattern) for pattern in heads)}
    found = halves({name: info.shape for name, info in tensors.items()})
    declared = tying(model.config if model.config is not None else base.config)
    copies = {one: other for one, other in found.copies.items() if _same(tensors[one], tensors[other], equal)}
    apart = False
    if found.table is not None and found.output is not None:
        apart = declared is False or not _same(tensors[found.table], tensors[found.output], equal)
        if apart and declared:
            raise MismatchError(
                "the two halves of a tied table differ",
                [
                    f"{model.label}: its config.json ties {found.output!r} to {found.table!r}, and the two differ; "
                    "versions of transformers disagree about which of them the model uses"
                ],
                hint='write "tie_word_embeddings": false in its config.json if both are meant, or remove one of them',
            )
    return _Input(model, replace(found, copies=copies), declared, apart)


def _hidden_output(base: _Input, models: Sequence[Model]) -> str | None:
    """The output layer that the base ties to its table and does not store; None where it has none."""
    if base.declared is False:
        return None
    hidden = hidden_output(base.model.tensors, base.model.config)
    if hidden is None and not base.declared:
        return None
    # The models may say its name, where a configuration says no more than that there is one.
    named = [name for model in models for name in _names(model) if is_output(name)]
    return next(iter(named), hidden)


def _parts(model: Model, found: _Input | None, base: _Input, equal: Equal) -> bool:
    """Whether a model changes one half of the base's table differently from the other."""
    if found is not None:
        return found.apart
    assert isinstance(model, Adapter)
    # PEFT ties rows of tokens itself: an adapter that trains them changes both halves alike.
    formed = [name for name, update in model.updates.items() if not isinstance(update, TokenRows)]
    changed = [name for name in (*model.deltas, *formed, *model.replaced) if is_output(name) or is_table(name)]
    if len(changed) == 1 and model.config.get("ensure_weight_tying"):
        raise MismatchError(
            "an adapter of both halves of a tied table holds one of them",
            [f"{model.label}: it was trained with ensure_weight_tying, and its file has {changed[0]!r} alone"],
            hint="save the adapter again with peft",
        )
    if len(changed) == 2 and all(name in model.replaced for name in changed):
        return not _same(model.replaced[changed[0]], model.replaced[changed[1]], equal)
    known = {_last(name) for name in (base.halves.table, base.halves.output) if name is not None}
    return any(is_output(name) or _last(name) in known for name in changed)


def _rows_of_both(model: Model, table: str | None, output: str | None) -> Model:
    """An adapter's rows of tokens for both halves of a table that was tied when it was trained."""
    if not isinstance(model, Adapter) or table is None or output is None:
        return model
    updates = dict(model.updates)
    for name, update in model.updates.items():
        # One name may have a prefix that the other lacks.
        if isinstance(update, TokenRows) and f".{name}".endswith(f".{_last(table)}"):
            prefix = name.removesuffix(table) if name.endswith(table) else ""
            updates.setdefault(f"{prefix}{output}", update)
    return replace(model, updates=dict(sorted(updates.items())))


def _cannot_be_untied(parted: Sequence[str]) -> MismatchError:
    return MismatchError(
        "the output cannot be untied",
        [f"{label}: changes one half of the base's tied table and not the other" for label in parted],
        hint="a T5's configuration has one word for tying and for scaling, so no file can say this; train the adapter "
        "on both halves or on neither",
    )


def _same(one: TensorInfo, other: TensorInfo, equal: Equal) -> bool:
    return one.shape == other.shape and one.code == other.code and equal(one, other)


def _last(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _names(model: Model) -> list[str]:
    return list(model.tensors) if isinstance(model, Checkpoint) else [*model.deltas, *model.updates, *model.replaced]
