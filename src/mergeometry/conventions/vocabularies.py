"""Which tensors have a row for each token of a vocabulary, and which keys of a configuration hold ids of tokens.

Sources: `_tied_weights_keys` and the configurations of the models of Transformers 5.23; `GenerationConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mergeometry.conventions.configs import sections
from mergeometry.conventions.ties import OUTPUT_BIASES, is_output, is_table

_OTHER_TABLES = ("text_model.embeddings.token_embedding.weight", "token_embedding.weight", "transformer.w.weight")
_ACROSS = ("final_logits_bias",)
"""Biases of the logits that are stored as one row, (1, tokens)."""
_ID_ENDS = ("_token_id", "_token_index", "_token_ids")
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens")
_ID_NESTED = ("bad_words_ids", "force_words_ids", "forced_decoder_ids")
"""Lists of lists of ids; in pairs of the last, the id comes after a place in the text."""


def vocabulary_axis(name: str, shape: Sequence[int]) -> int | None:
    """The dimension of a tensor that counts tokens, by its name; None where no dimension does."""
    if len(shape) == 2 and (is_token_table(name) or is_output(name)):
        return 0
    if len(shape) == 1 and _ends(name, OUTPUT_BIASES):
        return 0
    return 1 if len(shape) == 2 and shape[0] == 1 and _ends(name, _ACROSS) else None


def is_token_table(name: str) -> bool:
    """Whether the name is that of a table of word embeddings."""
    return is_table(name) or _ends(name, _OTHER_TABLES)


def sizes_in(config: Mapping[str, Any] | None, rows: int) -> Iterator[str]:
    """The dotted keys of a configuration that say how many rows its tables have."""
    for path, section in sections(config):
        if section.get("vocab_size") == rows:
            yield f"{path}.vocab_size".removeprefix(".")


def moved_ids(config: Mapping[str, Any] | None, moved: Callable[[int], int | None]) -> dict[str, Any]:
    """The dotted keys of a configuration whose ids of tokens change; an id without a counterpart becomes None."""
    found = {}
    for path, section in sections(config):
        for key, value in section.items():
            new = _moved(key, value, moved)
            if new != value:
                found[f"{path}.{key}".removeprefix(".")] = new
    return found


def _moved(key: str, value: Any, moved: Callable[[int], int | None]) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if key in _ID_NESTED and isinstance(value, list):
        skipped = 1 if key == "forced_decoder_ids" else 0
        return [
            [*entry[:skipped], *(_one(item, moved) for item in entry[skipped:])] if isinstance(entry, list) else entry
            for entry in value
        ]
    if not (key.endswith(_ID_ENDS) or key in _ID_LISTS):
        return value
    if isinstance(value, list):
        return [new for item in value if (new := _one(item, moved)) is not None]
    return _one(value, moved)


def _one(value: Any, moved: Callable[[int], int | None]) -> Any:
    """Negative ids, such as -1 for none, are left."""
    return moved(value) if type(value) is int and value >= 0 else value


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)
