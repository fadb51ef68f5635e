"""Decides which tokens the output has, and writes its tokenizer where no input's serves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mergeometry.conventions.tokenizers import ADDED_FILE, SETTINGS_FILE
from mergeometry.conventions.union import added_entries, ids_of, united, with_tokens
from mergeometry.recipe.tokenizer import UNION, TokenizerOptions
from mergeometry.sources.tokenizer import Tokenizer

_FILE = "tokenizer.json"
_LISTED = "vocab.txt"
_SAVE = (
    "save it as one: `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`, or choose a model's: "
    "`tokenizer: base`, or a model's name in place of `base`"
)


@dataclass(frozen=True)
class Known:
    """An input's label, its tokenizer, and the id of each of its tokens; without a tokenizer, another's ids."""

    label: str
    tokenizer: Tokenizer | None
    ids: Mapping[str, int]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the output, and the input whose rows lie where the output's do."""

    ids: Mapping[str, int]
    source: int
    """The place of that input: 0 for the base, or one more than a model's place in the recipe."""
    files: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    """Files of the tokenizer to write in place of that input's; None for one that the output does without."""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keys of `tokenizer_config.json` that are not that input's."""


def output_vocabulary(options: TokenizerOptions, inputs: Sequence[Known]) -> Vocabulary:
    """The vocabulary that the recipe asks for.

    Raises:
        ValueError: the union has no exact meaning, or a tokenizer cannot be read or extended; the message says why.
    """
    labels = [known.label for known in inputs]
    source = 0 if options.source == UNION else labels.index(options.source)
    chosen = inputs[source]
    if options.source == UNION:
        others = [known for known in inputs[1:] if known.tokenizer is not None]
        new = any(token not in chosen.ids for known in others for token in known.ids)
    else:
        others, new = [], False
    more = [token for token in options.tokens if token not in chosen.ids]
    if not new:
        more = [token for token in more if not any(token in known.ids for known in others)]
        if not more:
            return Vocabulary(chosen.ids, source)
    content = _content(chosen)
    if new:
        content = united([(chosen.label, content), *((known.label, _content(known)) for known in others)])
    content = with_tokens(content, [token for token in more if token not in ids_of(content)])
    assert chosen.tokenizer is not None
    return Vocabulary(ids_of(content), source, _files(chosen.tokenizer, content), _settings(chosen.tokenizer, content))


def _content(known: Known) -> dict[str, Any]:
    content = known.tokenizer.parsed(_FILE) if known.tokenizer is not None else None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{known.label} has no {_FILE}, which more tokens could be written to; {_SAVE}")
    return content


def _files(tokenizer: Tokenizer, content: dict[str, Any]) -> dict[str, bytes | None]:
    """The tokenizer's files with the new content; files of other forms are kept where they still say the same."""
    files: dict[str, bytes | None] = {_FILE: json.dumps(content, ensure_ascii=False, indent=2).encode()}
    if ADDED_FILE in tokenizer.digests:
        ids = {entry["content"]: int(row) for row, entry in added_entries(content).items()}
        files[ADDED_FILE] = json.dumps(ids, ensure_ascii=False, indent=2).encode()
    before = tokenizer.parsed(_FILE)["model"]
    if before != content["model"]:
        # Slow tokenizers would split by the old vocabulary; tokenizer.json stands for all of them.
        files |= {
            name: None
            for name in tokenizer.digests
            if name in (_LISTED, "vocab.json", "merges.txt") or name.endswith(".model")
        }
    return files


def _settings(tokenizer: Tokenizer, content: dict[str, Any]) -> dict[str, Any]:
    settings = tokenizer.parsed(SETTINGS_FILE)
    if not isinstance(settings, Mapping) or "added_tokens_decoder" not in settings:
        return {}
    return {"added_tokens_decoder": {**settings["added_tokens_decoder"], **added_entries(content)}}
