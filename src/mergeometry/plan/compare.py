"""Compares the inputs with each other and lists everything that does not fit, before any weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mergeometry.conventions.adapters import quantised_base
from mergeometry.conventions.buffers import is_computed
from mergeometry.conventions.kinds import is_vocabulary
from mergeometry.dtypes import MERGEABLE, NAMED_CODES
from mergeometry.plan.folders import passed_over, unread_weights
from mergeometry.plan.heads import OFTEN_TIED, keeping, suggestion
from mergeometry.plan.matching import Match, Nearest
from mergeometry.plan.tasks import Source
from mergeometry.recipe import Recipe
from mergeometry.recipe.passthrough import PASSTHROUGH
from mergeometry.sources import Adapter, AdapterDelta, Checkpoint, DenseUpdate, TensorInfo
from mergeometry.sources.updates import BiasUpdate, DoraUpdate


def mismatches(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]
) -> list[str]:
    """Every reason, one sentence each, why these inputs cannot be merged; empty when they can."""
    nearest = Nearest()
    precision = _precision_of(base)
    reasons = [reason for model in (base, *models) for reason in unread_weights(model)]
    cure, keep = suggestion(recipe.heads, matches), keeping(recipe.heads, matches)
    for model, match in zip(models, matches, strict=True):
        reasons.extend(_names(model, match, base, nearest, cure, keep))
        for name, own in match.pairs.items():
            reasons.extend(_tensor(recipe, model, name, own, base.tensors[name], precision))
    reasons.extend(_unused(recipe, base, matches))
    return reasons


def notes(
    recipe: Recipe, base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]
) -> list[str]:
    """What a user should know although nothing is wrong."""
    messages = [note for model in (base, *models) for note in passed_over(model)]
    messages += [
        f"{model.label}: {model.dequantised}"
        for model in (base, *models)
        if isinstance(model, Checkpoint) and model.dequantised
    ]
    for model, match in zip(models, matches, strict=True):
        messages.extend(f"{model.label}: {text}" for text in match.describe())
        for name in match.missing:
            if isinstance(model, Checkpoint) and _is_buffer(base.tensors[name]):
                messages.append(f"{model.label}: has no {name}; the base's integers are kept")
            elif isinstance(model, Checkpoint) and is_computed(name, base.tensors[name].shape):
                messages.append(f"{model.label}: has no {name}, which models compute; the base's is kept")
        for name in match.extra:
            if isinstance(model, Checkpoint) and is_computed(name, model.tensors[name].shape):
                messages.append(f"{model.label}: {name} is left out, since models compute it and the base has none")
        if isinstance(model, Adapter) and (why := quantised_base(model.config)):
            messages.append(
                f"{model.label}: trained on a quantised base ({why}); its update is exact, and the sum with this base "
                "differs from what was trained by the rounding of that base"
            )
        if is_base(model, base) and recipe.method.name != PASSTHROUGH:
            messages.append(f"{model.label}: is the base itself, so its task vector is zero")
    messages.extend(_other_bases(base, models))
    return messages


def is_base(model: Checkpoint | Adapter, base: Checkpoint) -> bool:
    """Whether a model is the base's own files, stacked alike and with the same adapter in them, if any."""
    if isinstance(model, Adapter) or model.adapter != base.adapter:
        return False
    stacks = [one.stack.ranges if one.stack else () for one in (model, base)]
    return stacks[0] == stacks[1] and model.path.resolve() == base.path.resolve()


def source_of(model: Checkpoint | Adapter, own: str | None) -> Source:
    """Where a model's update of a tensor is stored, given the model's own name for the tensor."""
    if own is None:
        return None
    if isinstance(model, Adapter):
        return model.deltas.get(own) or model.updates.get(own) or model.replaced.get(own)
    return model.tensors[own]


def carried_by(model: Checkpoint | Adapter, own: str | None) -> TensorInfo | None:
    """The copy of the base's tensor that an adapter stores along with its update, if any."""
    return model.carried.get(own) if isinstance(model, Adapter) and own is not None else None


def names_of(model: Checkpoint | Adapter) -> list[str]:
    """All names that have to be accounted for."""
    return list(model.tensors) if isinstance(model, Checkpoint) else model.names()


def _names(
    model: Checkpoint | Adapter, match: Match, base: Checkpoint, nearest: Nearest, cure: str, keep: str
) -> Iterator[str]:
    own_names, base_names = names_of(model), list(base.tensors)
    if isinstance(model, Checkpoint):
        for name in match.missing:
            if _is_buffer(base.tensors[name]) or is_computed(name, base.tensors[name].shape):
                continue
            if name.endswith(OFTEN_TIED):
                yield (
                    f"{model.label}: has no tensor {name!r}, which the base stores; if it is tied to the embeddings "
                    "there, save both models the same way"
                )
            else:
                to_keep = f"; to keep the base's own, name it in `heads`{keep}" if keep else ""
                yield f"{model.label}: has no tensor {name!r}{nearest.hint(name, own_names)}{to_keep}"
    for name in match.extra:
        if isinstance(model, Checkpoint) and is_computed(name, model.tensors[name].shape):
            continue
        if isinstance(model, Checkpoint) and name.endswith(OFTEN_TIED):
            yield (
                f"{model.label}: stores {name!r}, which the base does not; if it is tied to the embeddings there, "
                "save both models the same way, else name it in `heads`"
            )
            continue
        if isinstance(model, Adapter) and any(name in stack.weights for stack in model.stacked.values()):
            yield (
                f"{model.label}: changes the stacked experts {name!r}, which the base does not have; "
                "merge it with peft's merge_and_unload, save that, and give that folder as a full model"
            )
            continue
        if isinstance(model, Adapter) and isinstance(model.updates.get(name), BiasUpdate):
            yield (
                f"{model.label}: trains a bias of {name.removesuffix('.bias')!r} (lora_bias), and the base's layer has "
                "none, so that no merged model of this kind can hold it"
            )
            continue
        part = "an adapter of another base? it changes" if isinstance(model, Adapter) else "holds"
        yield (
            f"{model.label}: {part} {name!r}, which the base does not have{nearest.hint(name, base_names)}; "
            f"name a head that only this model has in `heads`{cure}"
        )


def _tensor(
    recipe: Recipe, model: Checkpoint | Adapter, name: str, own: str, expected: TensorInfo, precision: str
) -> Iterator[str]:
    source = source_of(model, own) or carried_by(model, own)
    if source is None:
        return  # a stack of experts that no parameter of the base fits, which is said elsewhere
    if not isinstance(source, TensorInfo):
        yield from _update(model, name, source, expected)
        return
    if source.shape != expected.shape:
        rows_differ = len(source.shape) == len(expected.shape) and source.shape[1:] == expected.shape[1:]
        vocabulary = (
            " (vocabularies of different size: `tokenizer: union`, `tokenizer: base` or "
            f"`tokenizer: {model.label}` brings them to one, by their tokens)"
        )
        yield (
            f"{model.label}: {name!r} has shape {list(source.shape)}, the base {list(expected.shape)}"
            f"{vocabulary if rows_differ and len(source.shape) == 2 and is_vocabulary(name) else ''}"
        )
    if source.code != expected.code:
        both_numbers = source.code in MERGEABLE and expected.code in MERGEABLE
        if not both_numbers:
            yield f"{model.label}: {name!r} is {source.code}, the base's {expected.code}"
        elif "dtype" not in recipe.output.model_fields_set and isinstance(model, Checkpoint):
            # An adapter's whole tensors take the base's precision: PEFT loads them into the base.
            yield (
                f"{model.label}: {name!r} is {source.code}, the base's {expected.code}; "
                f"set `output.dtype` for the result: `output: {{dtype: {precision}}}`, or --dtype {precision}"
            )


def _update(
    model: Checkpoint | Adapter, name: str, update: AdapterDelta | DenseUpdate, expected: TensorInfo
) -> Iterator[str]:
    turned = [update]
    if isinstance(update, AdapterDelta) and not update.embedding:
        turned.append(update.flipped())
    if isinstance(update, DoraUpdate) and isinstance(update.factors, AdapterDelta) and not update.factors.embedding:
        turned.append(update.flipped())
    if not any(each.fits(tuple(expected.shape)) for each in turned):
        yield (
            f"{model.label}: its adapter of {name!r} has shape {list(update.shape)}, "
            f"the base's tensor {list(expected.shape)}; it belongs to another base"
        )
    elif expected.code not in MERGEABLE:
        yield f"{model.label}: adapts {name!r}, whose dtype {expected.code} holds no numbers to merge"


def _unused(recipe: Recipe, base: Checkpoint, matches: Sequence[Match]) -> Iterator[str]:
    from fnmatch import fnmatchcase  # noqa: PLC0415

    nearest = Nearest()
    for index, rule in enumerate(recipe.tensors):
        if not any(fnmatchcase(name, rule.match) for name in base.tensors):
            yield f"tensors.{index}: {rule.match!r} matches no tensor{nearest.hint(rule.match, list(base.tensors))}"
    for pattern in recipe.heads:
        names = [*base.tensors, *(name for match in matches for name in match.heads)]
        if not any(fnmatchcase(name, pattern) for name in names):
            yield f"heads: {pattern!r} matches no tensor of any model"


def _other_bases(base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> Iterator[str]:
    """Adapters name their base in free text, so a different name is reported, not refused."""
    config: Mapping[str, object] = base.config or {}
    known = {base.path.resolve().name.lower(), Path(str(config.get("_name_or_path", ""))).name.lower()}
    declared = {model.base_name for model in models if isinstance(model, Adapter) and model.base_name}
    if len({Path(name).name.lower() for name in declared}) > 1:
        yield f"the adapters name different bases: {', '.join(sorted(declared))}"
    else:
        for name in sorted(declared):
            if Path(name).name.lower() not in known:
                yield f"the adapters were trained on {name!r}; the base here is {str(base.path)!r}"


def _precision_of(base: Checkpoint) -> str:
    """The `output.dtype` that writes what the base holds; `base` where its tensors differ or hold another."""
    codes = {info.code for info in base.tensors.values() if info.code in MERGEABLE}
    return next((name for name, code in NAMED_CODES.items() if codes == {code}), "base")


def _is_buffer(info: TensorInfo) -> bool:
    return info.code not in MERGEABLE
