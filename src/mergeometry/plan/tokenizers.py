"""Compares the inputs' tokenizers and chat templates by what they say, not by their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mergeometry.conventions.folders import Kind
from mergeometry.plan.choices import Choice
from mergeometry.sources import Adapter, Checkpoint
from mergeometry.sources.tokenizer import Tokenizer, read_tokenizer

_SHOWN = 3


def tokenizer_of(model: Checkpoint | Adapter) -> Tokenizer | None:
    """The tokenizer that lies with a model's encoder, or in its folder."""
    if not any(entry.kind in (Kind.TOKENIZER, Kind.TEMPLATE) for entry in model.contents):
        return None
    return read_tokenizer(_folder(model), model.path)


def moved_tokens(choice: Choice, label: str, own: Tokenizer, base: Tokenizer) -> Iterator[str]:
    """One sentence on tokens whose rows mean others in the base, and one on tokens that the base lacks."""
    tokens, known = _tokens(own, base)
    moved = [token for token, row in tokens.items() if known.get(token, row) != row]
    new = [token for token in tokens if token not in known]
    if moved:
        shown = ", ".join(f"{token!r} ({known[token]} there, {tokens[token]} here)" for token in moved[:_SHOWN])
        yield f"{label}: {len(moved)} tokens have other ids than in the base: {shown}; {choice.ways(label)}"
    if new:
        shown = ", ".join(f"{token!r} ({tokens[token]})" for token in new[:_SHOWN])
        yield f"{label}: has {len(new)} tokens that the base lacks: {shown}; {choice.ways(label)}"


def tokenizer_remarks(label: str, own: Tokenizer, base: Tokenizer) -> Iterator[str]:
    """What else differs and changes neither a row nor the forward pass."""
    tokens, known = _tokens(own, base)
    if lacking := len(known.keys() - tokens.keys()) if tokens else 0:
        yield f"{label}: its tokenizer lacks {lacking} tokens of the base's"
    if differing := sorted(key for key in own.special.keys() | base.special.keys() if _differ(key, own, base)):
        shown = ", ".join(f"{key} {own.special.get(key)!r} (base {base.special.get(key)!r})" for key in differing)
        yield f"{label}: its tokenizer has other settings than the output's: {shown}"
    name = "tokenizer.json"
    if name in own.digests and name in base.digests and own.digests[name] != base.digests[name]:
        steps, expected = own.steps(), base.steps()
        if others := [step for step in steps if steps[step] != expected.get(step)]:
            yield f"{label}: its tokenizer splits texts otherwise than the output's ({', '.join(others)})"


def template_remarks(choice: Choice, label: str, own: Tokenizer | None, base: Tokenizer | None) -> Iterator[str]:
    """A chat template that the output will not have unless the recipe says so."""
    if choice.name is not None or own is None or not own.template:
        return
    theirs = base.template if base else None
    if own.template != theirs:
        what = "differs from the base's, which the output gets" if theirs else "is not in the base, nor in the output"
        yield f"{label}: its chat template {what}; `chat_template: {label}` takes it, `chat_template: base` is as now"


def _tokens(own: Tokenizer, base: Tokenizer) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """The tokens of both; nothing where their files are the same bytes, or where one of them has no vocabulary."""
    if own.digests == base.digests:
        return {}, {}
    tokens, known = own.tokens(), base.tokens()
    return (tokens, known) if tokens and known else ({}, {})


def _differ(key: str, own: Tokenizer, base: Tokenizer) -> bool:
    return key in own.special and key in base.special and own.special[key] != base.special[key]


def _folder(model: Checkpoint | Adapter) -> Path:
    if isinstance(model, Adapter):
        return model.path
    return model.path / next((part.folder for part in model.parts if not part.prefix), "")
