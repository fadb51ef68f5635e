"""Finds heads that only the fine-tunes have: infers those that are plain, and says how to name the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from mergeometry.dtypes import MERGEABLE
from mergeometry.plan.matching import Match, module_ends
from mergeometry.sources import Adapter, Checkpoint

OFTEN_TIED = ("lm_head.weight", "decoder.weight")
"""Output layers that many models tie to their embeddings and store once."""

_MODULES = frozenset({"classifier", "score", "cls_head", "qa_outputs", "pre_classifier"})
"""Top modules that a task adds to an encoder; none is an output layer, which may be tied to the embeddings."""

_MOST_SUGGESTED = 8
"""With more modules than these the models are of another base, and no list of heads mends that."""


def plain_heads(base: Checkpoint, models: Sequence[Checkpoint | Adapter], matches: Sequence[Match]) -> tuple[str, ...]:
    """Globs of the heads that all models have and the base does not; none where anything about them is unusual.

    The models must be full fine-tunes with the same further names, all under modules that are known as heads, and
    nothing else may differ. The base must have no such module and no output layer of its own, stored or tied.
    """
    names = {frozenset(match.extra) for match in matches}
    missing = {name for match in matches for name in match.missing if base.tensors[name].code in MERGEABLE}
    if len(names) != 1 or missing or any(isinstance(model, Adapter) for model in models):
        return ()
    (extra,) = names
    modules = {name.partition(".")[0] for name in extra if "." in name}
    if not modules <= _MODULES or any(name.partition(".")[0] not in modules for name in extra) or _has_output(base):
        return ()
    if any(module in name.split(".") for name in base.tensors for module in modules):
        return ()
    return tuple(f"{module}.*" for module in sorted(modules))


def suggestion(given: Sequence[str], matches: Sequence[Match]) -> str:
    """The line of a recipe, and the flags, that name the heads ``given`` and all others; empty where none is likely.

    A head is a module in which no tensor of its model has a counterpart in the base.
    """
    modules = [module for match in matches for module in _alone(match.extra, match.pairs.values())]
    # A layer of many is no head: with more layers than the base's, the model is another one.
    return _named(given, [module for module in modules if not module.rpartition(".")[2].isdigit()])


def keeping(given: Sequence[str], matches: Sequence[Match]) -> str:
    """The same for modules that only the base has, which heads keep as they are; never one layer of many."""
    modules = [module for match in matches for module in _alone(match.missing, match.pairs)]
    return _named(given, [module for module in modules if not any(part.isdigit() for part in module.split("."))])


def _alone(names: Iterable[str], paired: Iterable[str]) -> Iterator[str]:
    """The modules of unpaired tensors in which no tensor is paired, without output layers, which may be tied."""
    names = list(names)
    shared = {name[:end] for name in paired for end in module_ends(name)} if names else set[str]()
    for name in names:
        module = next((name[:end] for end in module_ends(name) if name[:end] not in shared), None)
        if module is not None and not name.endswith(OFTEN_TIED) and not set(module) & set("*?["):
            yield module


def _named(given: Sequence[str], modules: Iterable[str]) -> str:
    globs = dict.fromkeys([*given, *(f"{module}.*" for module in modules)])
    if len(globs) == len(given) or len(globs) > _MOST_SUGGESTED:
        return ""
    flags = " ".join(f"--head '{glob}'" for glob in globs)
    return f": `heads: {json.dumps(list(globs))}`, or {flags}"


def _has_output(base: Checkpoint) -> bool:
    """Whether the base predicts something itself: an output layer that it stores, or ties and so does not store."""
    architectures = (base.config or {}).get("architectures")
    named = [str(one) for one in architectures] if isinstance(architectures, list) else []
    return any(name.endswith(OFTEN_TIED) for name in base.tensors) or any(
        "For" in one or "LMHead" in one for one in named
    )
