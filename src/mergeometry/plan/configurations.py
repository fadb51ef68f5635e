"""Compares the inputs' configurations: the same weights compute something else under other settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mergeometry.conventions.configurations import differences, labels, plain_configuration
from mergeometry.plan.choices import Choice
from mergeometry.plan.matching import Match
from mergeometry.sources import Adapter, Checkpoint

_CLASSIFIERS = frozenset({"classifier", "score", "cls_head", "out_proj", "classification_head", "head", "logits_proj"})
"""Modules whose rows are classes. Source: the `For...Classification` classes of transformers and timm."""
_SHOWN = 12


def changed_settings(choice: Choice, base: Checkpoint, model: Checkpoint | Adapter) -> Iterator[str]:
    """One sentence on each setting that changes what a model computes and differs from the base's."""
    forward, _ = _compared(base, model)
    for key, (value, expected) in forward.items():
        yield f"{model.label}: config.json has {key}: {value}, the base's {expected}; {choice.ways(model.label)}"


def other_settings(base: Checkpoint, model: Checkpoint | Adapter) -> Iterator[str]:
    """One sentence on the settings that differ and change no merged weight's meaning, as far as is known."""
    _, others = _compared(base, model)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        yield f"{model.label}: config.json also differs from the base's in {', '.join(others[:_SHOWN])}{more}"


def mixed_labels(
    choice: Choice, base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]
) -> Iterator[str]:
    """One sentence on each model whose merged classifier has other classes in its rows than the first named ones."""
    first: tuple[str, tuple[str, ...]] | None = None
    for model, match in [(base, None), *zip(models, matches, strict=True)]:
        own = labels(model.config) if isinstance(model, Checkpoint) else ()
        if not own or not _merges_classes(base, match, len(own)):
            continue
        if first is None:
            first = model.label, own
        elif own != first[1]:
            order = "in another order than" if sorted(own) == sorted(first[1]) else "where there are other ones in"
            yield (
                f"{model.label}: its classes are {', '.join(own[:_SHOWN])}, {order} {first[0]}: "
                f"{', '.join(first[1][:_SHOWN])}; `heads` keeps each model's classifier, or {choice.ways(model.label)}"
            )


def unnamed_labels(choice: Choice, base: Checkpoint, models: Sequence[Checkpoint | Adapter]) -> Iterator[str]:
    """A note where the models name their classes and the configuration of the output does not."""
    if choice.name is None and base.config is not None and "id2label" in base.config and not labels(base.config):
        named = next((one.label for one in models if isinstance(one, Checkpoint) and labels(one.config)), None)
        if named:
            yield f"the base does not name its classes, {named} does: `config: {named}` keeps the names"


def _compared(base: Checkpoint, model: Checkpoint | Adapter) -> tuple[dict[str, tuple[object, object]], list[str]]:
    if isinstance(model, Adapter) or not _is_of_transformers(model.config) or not _is_of_transformers(base.config):
        return {}, []
    own, expected = plain_configuration(model.config or {}), plain_configuration(base.config or {})
    if own.get("model_type") != expected.get("model_type"):
        return {"model_type": (own.get("model_type"), expected.get("model_type"))}, []
    return differences(own, expected)


def _is_of_transformers(config: Mapping[str, object] | None) -> bool:
    return config is not None and "model_type" in config


def _merges_classes(base: Checkpoint, match: Match | None, classes: int) -> bool:
    """Whether a classifier of so many classes is among the tensors that are merged."""
    names = base.tensors if match is None else match.pairs
    return any(
        base.tensors[name].shape[:1] == (classes,) and _CLASSIFIERS & set(name.split(".")[:-1]) for name in names
    )
