"""Which token has which row, by the files of the libraries that write tokenizers.

Sources: the `tokenizer.json` of tokenizers, `added_tokens.json` and `added_tokens_decoder` of transformers, and the
ModelProto of sentencepiece (`sentencepiece_model.proto`: field 1 repeats the pieces, whose field 1 is the text), and
the ranks of tiktoken (`tiktoken/load.py`: a token in base 64 and its rank in each line).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json")
"""Files that name all tokens, the first that a folder has counts; before sentencepiece's."""
ADDED_FILE = "added_tokens.json"
SETTINGS_FILE = "tokenizer_config.json"
TEMPLATE_KEY = "chat_template"
STEPS = ("normalizer", "pre_tokenizer", "post_processor", "model")
"""Parts of a tokenizer.json that decide into which tokens a text is split."""
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")
"""Settings whose tokens a model is run with."""
SWITCHES = ("do_lower_case", "add_bos_token", "add_eos_token", "add_prefix_space", "padding_side", "model_max_length")

_RANK = re.compile(rb"[A-Za-z0-9+/]+=* [0-9]{1,9}\r?\n")


def tokens_of(name: str, content: Any) -> dict[str, int]:
    """The ids of all tokens in a parsed vocabulary: JSON as values, vocab.txt as its lines.

    Raises:
        ValueError: the content is no vocabulary.
    """
    if name == "vocab.txt":
        return {line: row for row, line in enumerate(content)}
    if not isinstance(content, Mapping):
        raise ValueError("it is no JSON object")
    if name == "vocab.json":
        return _ids(content)
    if name == "tekken.json":
        return {str(entry.get("token_bytes")): row for row, entry in enumerate(content.get("vocab") or ())}
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocabulary, list):  # Unigram: pieces with their scores, in the order of their rows
        tokens = {str(piece[0]): row for row, piece in enumerate(vocabulary) if isinstance(piece, list) and piece}
    else:
        tokens = _ids(vocabulary or {})
    added = content.get("added_tokens") or ()
    return tokens | _ids({entry.get("content"): entry.get("id") for entry in added if isinstance(entry, Mapping)})


def added_tokens_of(added: Any, settings: Any) -> dict[str, int]:
    """The ids of tokens that were added to a vocabulary, from added_tokens.json and tokenizer_config.json."""
    tokens = _ids(added) if isinstance(added, Mapping) else {}
    decoder = settings.get("added_tokens_decoder") if isinstance(settings, Mapping) else None
    for row, entry in decoder.items() if isinstance(decoder, Mapping) else ():
        if isinstance(entry, Mapping) and str(row).isdigit():
            tokens |= _ids({entry.get("content"): int(row)})
    return tokens


def special_tokens(settings: Any) -> dict[str, str]:
    """The special tokens and switches of a tokenizer_config.json, each token as its text."""
    found = {}
    for key in (*SPECIAL, *SWITCHES):
        value = settings.get(key) if isinstance(settings, Mapping) else None
        value = value.get("content") if isinstance(value, Mapping) else value
        if value is not None:
            found[key] = str(value)
    return found


def steps_of(content: Any) -> dict[str, Any]:
    """The parts of a parsed tokenizer.json that split a text, written as any version writes them."""
    if not isinstance(content, Mapping):
        return {}
    steps = {step: _plain(content.get(step)) for step in STEPS}
    if isinstance(steps["model"], dict):
        merges = steps["model"].get("merges") or ()
        steps["model"] = {"merges": [" ".join(pair) if isinstance(pair, list) else pair for pair in merges]}
    return steps


def count_tokens(data: bytes) -> int:
    """How many tokens a file `*.model` names, as far as its first layer says.

    Raises:
        ValueError: the bytes are neither a sentencepiece model nor the ranks of tiktoken.
    """
    if _are_ranks(data):
        return data.count(b"\n")
    return sum(field == 1 for field, _ in _fields(data))


def sentencepiece_tokens(data: bytes) -> dict[str, int]:
    """The ids of the pieces of a sentencepiece model, or of the ranks of tiktoken under the same name (GLM-4).

    Raises:
        ValueError: the bytes are neither.
    """
    if _are_ranks(data):
        pairs = [line.split() for line in data.splitlines() if line]
        if any(len(pair) != 2 or not pair[1].isdigit() for pair in pairs):
            raise ValueError("a line has no token with its rank")
        return {token.decode("ascii", "backslashreplace"): int(rank) for token, rank in pairs}
    pieces = [
        next((text for field, text in _fields(piece) if field == 1), b"")
        for field, piece in _fields(data)
        if field == 1
    ]
    try:
        return {piece.decode(): row for row, piece in enumerate(pieces)}
    except UnicodeDecodeError as error:
        raise ValueError("a piece is not UTF-8") from error


def _are_ranks(data: bytes) -> bool:
    """Whether the first line is a token in base 64 and its rank, as tiktoken writes them."""
    return _RANK.match(data) is not None


def _ids(table: Any) -> dict[str, int]:
    if not isinstance(table, Mapping):
        raise ValueError("its vocabulary is no mapping of tokens to ids")
    if not (set(map(type, table)) <= {str} and set(map(type, table.values())) <= {int}):
        raise ValueError("its vocabulary holds other things than tokens with their ids")
    return dict(table)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None and key not in ("vocab",)}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that hold bytes; all others are passed over."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 2:
            size, place = _varint(data, place)
            if place + size > len(data):
                raise ValueError("it is truncated")
            yield key >> 3, data[place : place + size]
            place += size
        elif kind == 0:
            _, place = _varint(data, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("it is no sentencepiece model")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("it is no sentencepiece model")
