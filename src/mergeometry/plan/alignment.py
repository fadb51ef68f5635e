"""Brings inputs of differing vocabularies to one: decides the output's tokens, and maps every table to them.

Names are matched by then, and nothing after this step knows that the tables on disk have other rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mergeometry.conventions.tokenizers import SETTINGS_FILE
from mergeometry.conventions.vocabularies import is_token_table, moved_ids, sizes_in, vocabulary_axis
from mergeometry.plan.matching import Match
from mergeometry.plan.token_rows import Model, Places, map_tables, places_of, rules_of
from mergeometry.plan.tokenizers import tokenizer_of
from mergeometry.plan.transplant import combined_rows, open_donor, same_tokens
from mergeometry.plan.vocabulary import Known, Vocabulary, output_vocabulary
from mergeometry.recipe import Recipe
from mergeometry.recipe.tokenizer import TokenizerOptions
from mergeometry.sources import Adapter, Checkpoint, TensorInfo
from mergeometry.sources.checkpoint import CONFIG_FILE
from mergeometry.sources.files import naming_model
from mergeometry.sources.generation import GENERATION_FILE, read_generation
from mergeometry.sources.tokenizer import Tokenizer

_SHOWN = 3


@dataclass(frozen=True)
class OutputVocabulary:
    """What the files next to the weights must say of the output's tokens."""

    files: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    """Whole files of the tokenizer; None for one that the output does without."""
    keys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """File name to dotted keys of it."""
    digest: str = ""
    """Of all tokens and where their rows come from."""


class Alignment(NamedTuple):
    """The inputs with tables of equal shape, and what follows for the output."""

    base: Checkpoint
    models: tuple[Model, ...]
    vocabulary: OutputVocabulary | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def aligned(recipe: Recipe, base: Checkpoint, models: Sequence[Model], matches: Sequence[Match]) -> Alignment:
    """Map the tables of all inputs to the output's vocabulary; as they are, where that is everybody's.

    Raises:
        SourceError: a tokenizer's file is malformed.
    """
    unchanged = Alignment(base, tuple(models))
    options = recipe.vocabulary
    tables = {
        name: axis for name, one in base.tensors.items() if (axis := vocabulary_axis(name, one.shape)) is not None
    }
    sizes = {base.tensors[name].shape[axis] for name, axis in tables.items() if is_token_table(name)}
    inputs = _known((base, *models)) if sizes else None
    if inputs is None:
        if options is None or options.donor is None:
            return unchanged
        lacking = "a tokenizer" if sizes else "a table of tokens"
        return Alignment(
            base, tuple(models), reasons=(f"tokenizer: the model lacks {lacking} to put another's in place of",)
        )
    if len(sizes) > 1:
        differ = options is not None and any(one.ids != inputs[0].ids for one in inputs)
        text = f"tokenizer: the base has tables of {' and '.join(map(str, sorted(sizes)))} rows, and which of them has "
        return Alignment(base, tuple(models), reasons=(f"{text}the tokens of its tokenizer is not known",) * differ)
    (size,) = sizes
    tables = {name: axis for name, axis in tables.items() if base.tensors[name].shape[axis] == size}
    rows = [size, *(_rows(m, match, tables, size) for m, match in zip(models, matches, strict=True))]
    if options is None and not _only_padding_differs(inputs, rows):
        return unchanged
    options = options or TokenizerOptions(source="base")
    try:
        vocabulary, places, giver = _placed(options, (base, *models), inputs, rows, size)
    except ValueError as error:
        return Alignment(base, tuple(models), reasons=(f"tokenizer: {error}",))
    new_base, new_models, reasons = map_tables(base, models, matches, tables, places)
    if _same(base, new_base) and all(_same(*pair) for pair in zip(models, new_models, strict=True)):
        # Rows stand where they stood; a choice of a model's tokenizer copies its files.
        return unchanged
    reasons += _unnamed(base, tables, size)
    if recipe.adapt is not None and not _same(base, new_base):
        reasons.append("adapt: learning runs the base with its own tokenizer: `tokenizer: base`, or leave `adapt` out")
    output = _output(recipe, (base, *models), inputs, vocabulary, places, size, giver)
    notes = _notes(inputs, vocabulary, places, size, chosen=recipe.tokenizer is not None)
    return Alignment(new_base, new_models, output, tuple(reasons), tuple(notes))


def _placed(
    options: TokenizerOptions, models: Sequence[Model], inputs: Sequence[Known], rows: Sequence[int], size: int
) -> tuple[Vocabulary, Places, Model]:
    """The output's tokens, where they lie in every input, and the model whose tokenizer they are.

    Raises:
        ValueError: the vocabulary that is asked for cannot be made; the message says why.
    """
    multiple = options.pad_to_multiple_of
    if options.donor is None:
        vocabulary = output_vocabulary(options, inputs)
        labels, ids = [one.label for one in inputs], [one.ids for one in inputs]
        rules = rules_of(options.tokens, vocabulary.ids, labels, ids, rows)
        places = places_of(vocabulary.ids, ids, rows, vocabulary.source, rules=rules, multiple=multiple)
        return vocabulary, places, models[vocabulary.source]
    donor, known = open_donor(options)
    # Inputs of one vocabulary, as a model beside its base, are compared with the donor's once.
    common = [same_tokens(inputs[0], known)]
    common += [common[0] if one.ids == inputs[0].ids else same_tokens(one, known) for one in inputs[1:]]
    shared = {token: row for one in reversed(common) for token, row in one.items()}
    combined = combined_rows(options, inputs[0], size, donor, known, common[0], shared)
    places = places_of(known.ids, common, rows, 0, multiple=multiple, combined=combined)
    return Vocabulary(known.ids, 0), places, donor


def _known(inputs: Sequence[Model]) -> list[Known] | None:
    """Every input's tokens; one without a tokenizer has the base's, or, where the base has none, the first's."""
    tokenizers: list[Tokenizer | None] = []
    ids: list[dict[str, int]] = []
    for model in inputs:
        with naming_model(model.label):
            tokenizer = tokenizer_of(model)
            ids.append(_tokens(tokenizer, tokenizers, ids) if tokenizer is not None else {})
            tokenizers.append(tokenizer)
    default = next((one for one in ids if one), None)
    if default is None:
        return None
    return [
        Known(model.label, tokenizer if one else None, one or default)
        for model, tokenizer, one in zip(inputs, tokenizers, ids, strict=True)
    ]


def _tokens(tokenizer: Tokenizer, earlier: Sequence[Tokenizer | None], ids: Sequence[dict[str, int]]) -> dict[str, int]:
    """A tokenizer's tokens; those of an earlier one whose files are the same bytes, which most fine-tunes keep."""
    alike = (known for one, known in zip(earlier, ids, strict=True) if one and one.digests == tokenizer.digests)
    return next(alike, None) or tokenizer.tokens()


def _rows(model: Model, match: Match, tables: Mapping[str, int], size: int) -> int:
    """How many rows a model's tables have: the base's, where it has none of its own."""
    found = set()
    for name, axis in tables.items():
        own = match.pairs.get(name)
        info = None if own is None else model.tensors[own] if isinstance(model, Checkpoint) else model.replaced.get(own)
        if isinstance(info, TensorInfo) and len(info.shape) > axis:
            found.add(info.shape[axis])
    return max(found, default=size)


def _only_padding_differs(inputs: Sequence[Known], rows: Sequence[int]) -> bool:
    """Whether tables of different sizes belong to one vocabulary, which the smallest of them holds."""
    first = inputs[0].ids
    return (
        len(set(rows)) > 1
        and all(one.tokenizer is not None and one.ids == first for one in inputs)
        and max(first.values(), default=0) < min(rows)
    )


def _same(one: Model, other: Model) -> bool:
    if isinstance(one, Adapter) and isinstance(other, Adapter):
        parts = ("deltas", "updates", "replaced", "carried")
        return all(_identical(getattr(one, part), getattr(other, part)) for part in parts)
    return isinstance(one, Checkpoint) and isinstance(other, Checkpoint) and _identical(one.tensors, other.tensors)


def _identical(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(other[name] is value for name, value in one.items())


def _unnamed(base: Checkpoint, tables: Mapping[str, int], size: int) -> list[str]:
    """Tensors that seem to have a row for each token, under names that are not known as such."""
    if base.config is None or size in _numbers(base.config):
        return []
    return [
        f"tokenizer: {name!r} has {size} rows, as many as the vocabulary, and nothing says whether they are its tokens'"
        for name, info in base.tensors.items()
        if name not in tables and info.shape[:1] == (size,)
    ]


def _numbers(value: Any) -> list[int]:
    """All sizes in a configuration but that of the vocabulary."""
    if isinstance(value, Mapping):
        kept = [item for key, item in value.items() if not str(key).endswith(("vocab_size", "_id", "_index"))]
        return [number for item in kept for number in _numbers(item)]
    return [value] if type(value) is int else []


def _output(
    recipe: Recipe,
    models: Sequence[Model],
    inputs: Sequence[Known],
    vocabulary: Vocabulary,
    places: Places,
    size: int,
    giver: Model,
) -> OutputVocabulary:
    labels = [one.label for one in inputs]
    place = labels.index(recipe.config) if recipe.config else 0
    described, before = models[place], inputs[place].ids
    keys: dict[str, dict[str, Any]] = {SETTINGS_FILE: dict(vocabulary.settings)}
    if isinstance(described, Checkpoint):
        keys[CONFIG_FILE] = dict.fromkeys(sizes_in(described.config, _declared(described.config, size)), places.count)
        if before != vocabulary.ids:
            moved, prefer = _moved(before, vocabulary.ids), places.combined is not None
            theirs = giver.config if isinstance(giver, Checkpoint) else None
            keys[CONFIG_FILE] |= _ids(described.config, moved, theirs, prefer=prefer)
            given = read_generation(described), read_generation(giver)
            keys[GENERATION_FILE] = _ids(given[0], moved, given[1], prefer=prefer)
    told = json.dumps([dict(vocabulary.ids), places.own.tolist(), places.padding], ensure_ascii=False)
    digest = hashlib.sha256(told.encode())
    if places.combined is not None:
        for part in (places.combined.targets, places.combined.sources, places.combined.shares):
            digest.update(part.numpy().tobytes())
    return OutputVocabulary(vocabulary.files, keys, digest.hexdigest())


def _declared(config: Mapping[str, Any] | None, size: int) -> int:
    config = config or {}
    text = config.get("text_config")
    found = config.get("vocab_size", text.get("vocab_size") if isinstance(text, Mapping) else None)
    return found if type(found) is int else size


def _moved(before: Mapping[str, int], after: Mapping[str, int]) -> Callable[[int], int | None]:
    tokens = {row: token for token, row in before.items()}
    return lambda row: after.get(tokens[row]) if row in tokens else row


def _ids(
    config: Mapping[str, Any] | None,
    moved: Callable[[int], int | None],
    theirs: Mapping[str, Any] | None,
    *,
    prefer: bool,
) -> dict[str, Any]:
    """The ids of tokens that change in a configuration.

    Those whose tokens the output lacks are those of the model whose vocabulary it has; with ``prefer``, all are that
    it has.
    """
    theirs, found = theirs or {}, moved_ids(config, moved)
    every = moved_ids(config, lambda _: None) if prefer else {}
    found |= {key: theirs[key] for key in every if theirs.get(key) is not None}
    return {key: theirs.get(key) if value is None else value for key, value in found.items()}


def _notes(inputs: Sequence[Known], vocabulary: Vocabulary, places: Places, size: int, *, chosen: bool) -> list[str]:
    notes = [
        f"tokenizer: the output's tables have {places.count} rows for {int(places.tokens.sum())} tokens"
        + (f", the base's {size}" if places.count != size else "")
    ]
    for index, one in enumerate(inputs):
        if places.combined is not None:
            copied, of = int((places.own[index] >= 0).sum()), int(places.tokens.sum())
            notes.append(f"{one.label}: has {copied} of the donor's {of} tokens; the rows of the others are combined")
            continue
        lacking = (places.tokens & (places.own[index] < 0)).nonzero().flatten().tolist()
        if lacking:
            shown = ", ".join(repr(places.names[row]) for row in lacking[:_SHOWN])
            notes.append(f"{one.label}: lacks {len(lacking)} tokens of the output, which it takes from others: {shown}")
        dropped = [token for token in one.ids if token not in vocabulary.ids]
        if dropped:
            shown = ", ".join(map(repr, dropped[:_SHOWN]))
            notes.append(f"{one.label}: {len(dropped)} of its tokens are not in the output: {shown}")
    if not chosen:
        notes.append("tokenizer: rows after the last token are padding; the output has as many as the base")
    return notes
