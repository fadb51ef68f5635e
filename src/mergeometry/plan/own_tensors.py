"""The base of an adapter that is taken out of a fine-tune, with what only the fine-tune has: heads and grown tables.

PEFT stores such tensors whole, and loads them into a model of the fine-tune's class and vocabulary. So the base gets
the fine-tune's names and, where it has no tensor of the fine-tune's name and shape, the fine-tune's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mergeometry.conventions.buffers import is_computed
from mergeometry.conventions.kinds import is_vocabulary
from mergeometry.conventions.ties import hidden_output, is_output
from mergeometry.plan.matching import Match, match_names
from mergeometry.recipe import AdapterOutput, Recipe
from mergeometry.sources import Adapter, Checkpoint

_SHOWN = 4


def with_own_tensors(
    recipe: Recipe,
    base: Checkpoint,
    models: Sequence[Checkpoint | Adapter],
    newest: Callable[[str], str],
) -> tuple[Checkpoint, frozenset[str], list[str]]:
    """The base to take an adapter of one full model from, the names of what is the model's own, and notes.

    The base stays as it is where several models are merged, where heads are named, and where the adapter holds nothing
    whole.
    """
    wanted = recipe.output.adapter
    if not isinstance(wanted, AdapterOutput) or wanted.other != "changed" or recipe.heads or len(models) != 1:
        return base, frozenset(), []
    (model,) = models
    if not isinstance(model, Checkpoint):
        return base, frozenset(), []
    match = match_names(base.tensors, model.tensors, (), newest)
    grown = {
        name: own
        for name, own in match.pairs.items()
        if is_vocabulary(name) and _grown(base.tensors[name].shape, model.tensors[own].shape)
    }
    heads = _heads(base, model, match)
    if not grown and not heads:
        return base, frozenset(), []
    if not heads:
        tensors = {**base.tensors, **{name: model.tensors[own] for name, own in grown.items()}}
        return replace(base, tensors=tensors), frozenset(grown), [_note_on_rows(base, model, grown)]
    kept = {own: base.tensors[name] for name, own in match.pairs.items() if name not in grown}
    own_names = {*heads, *grown.values()}
    tensors = dict(sorted({**kept, **{name: model.tensors[name] for name in own_names}}.items()))
    notes = [f"{model.label}: {_listed(heads)}, which the base does not have, is written whole"]
    if match.missing:
        notes.append(f"{model.label}: has no {_listed(match.missing)}; the adapter is for a model without it")
    notes += [_note_on_rows(base, model, grown)] if grown else []
    return replace(base, tensors=tensors), frozenset(own_names), notes


def _grown(one: Sequence[int], other: Sequence[int]) -> bool:
    return tuple(one) != tuple(other) and len(one) == len(other) and tuple(one[1:]) == tuple(other[1:])


def _heads(base: Checkpoint, model: Checkpoint, match: Match) -> list[str]:
    """Names that only the model has, without a stored copy of the table that the base ties to its output layer."""
    hidden = hidden_output(base.tensors, base.config)
    return [
        name
        for name in match.extra
        if not is_computed(name, model.tensors[name].shape) and not (hidden is not None and is_output(name))
    ]


def _note_on_rows(base: Checkpoint, model: Checkpoint, grown: dict[str, str]) -> str:
    name, own = next(iter(grown.items()))
    old, new = base.tensors[name].shape[0], model.tensors[own].shape[0]
    return (
        f"{model.label}: has {new:,} rows in {name}, the base {old:,}, so that it is written whole: call "
        f"resize_token_embeddings({new}) on the base before the adapter is loaded"
    )


def _listed(names: Sequence[str]) -> str:
    modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(modules[:_SHOWN]) + (", ..." if len(modules) > _SHOWN else "")
